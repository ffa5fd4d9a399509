//! What a NATS server says: however it is cut, the same is read, a message is as long as the limits allow, and an error is one
//! printable line. A payload that is an entry is one again when it is written and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promferry::cloud_foundry::entry::{Entry, entries_from_yaml, entries_to_yaml};
use promferry::net::nats::protocol::{Decoder, INFO_BYTES_MAX, LINE_BYTES_MAX, Op, PAYLOAD_BYTES_MAX};

fn read(data: &[u8], piece: usize) -> (Vec<Op>, Option<String>) {
    let (mut decoder, mut ops) = (Decoder::default(), Vec::new());
    for piece in data.chunks(piece) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_op() {
                Ok(Some(op)) => ops.push(op),
                Ok(None) => break,
                Err(error) => return (ops, Some(error.to_string())),
            }
        }
        let kept = LINE_BYTES_MAX.max(INFO_BYTES_MAX).max(PAYLOAD_BYTES_MAX + 2);
        assert!(decoder.buffer().len() <= kept + piece.len());
    }
    (ops, None)
}

fn entry(payload: &[u8]) {
    match Entry::from_yaml(payload) {
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
        Ok(entry) => {
            let written = entry.to_yaml();
            assert_eq!(Entry::from_yaml(written.as_bytes()).as_ref(), Ok(&entry), "{written}");
            let list = entries_to_yaml(&[entry.clone(), entry.clone()]);
            let read = entries_from_yaml(&"file".into(), list.as_bytes());
            assert_eq!(read, Ok((vec![entry.clone(), entry], vec![])), "{list}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (ops, error) = read(data, usize::MAX);
    for piece in [1, 3, 17] {
        assert_eq!(read(data, piece), (ops.clone(), error.clone()), "{piece}");
    }
    if let Some(error) = error {
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    for op in ops {
        if let Op::Msg(payload) = op {
            assert!(payload.len() <= PAYLOAD_BYTES_MAX);
            entry(&payload);
        }
    }
    entry(data);
});
