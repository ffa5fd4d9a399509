//! For the tests of this module.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

thread_local! {
    /// What this thread has logged since it began to listen; `None` while it does not.
    static HEARD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Everything that this thread logs while `run` runs, a line an event.
///
/// One subscriber serves all threads for as long as the process lives. One a test would come and go, and whether an event is
/// of interest is remembered for all threads: a test could miss what it logs because of what others do at that moment.
pub(super) fn logged(run: impl FnOnce()) -> Vec<String> {
    struct Ear;
    impl Write for Ear {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            HEARD.with_borrow_mut(|heard| heard.iter_mut().for_each(|heard| heard.extend_from_slice(bytes)));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(|| Ear)
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_max_level(tracing::Level::DEBUG)
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");
    });
    tracing::callsite::rebuild_interest_cache();
    HEARD.set(Some(Vec::new()));
    run();
    let text = String::from_utf8(HEARD.take().unwrap_or_default()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}
