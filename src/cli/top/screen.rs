//! The terminal: an alternate screen that is drawn over, and keys. It is as it was when this ends.

use std::io::{self, IsTerminal, Read, Write};

use tokio::sync::mpsc;

use super::view::View;
use crate::cli::System;

/// Bytes of one key press or paste that are looked at.
const PRESS_BYTES_MAX: usize = 64;
/// Where nobody knows how large the terminal is.
const SIZE_UNKNOWN: (usize, usize) = (80, 24);

/// To the alternate screen, without cursor and without wrapping lines.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// And back.
const CLOSE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// `q`, where it is no text.
    Quit,
    /// A character.
    Char(char),
    Enter,
    Backspace,
    Escape,
}

/// The screen while it is ours.
pub(super) struct Screen {
    system: System,
    keys: mpsc::Receiver<Key>,
    /// While text is typed, `q` is a letter.
    is_typing: bool,
}

impl Screen {
    /// Goes over to the alternate screen, without cursor and without wrapping lines.
    pub(super) fn open(system: System) -> io::Result<Self> {
        let (sender, keys) = mpsc::channel(PRESS_BYTES_MAX);
        // From here on its end puts right what was begun.
        let screen = Self { system, keys, is_typing: false };
        if io::stdin().is_terminal() && (system.set_keys)(true) {
            // It ends with the process: nothing wakes a thread that reads a terminal.
            std::thread::Builder::new().name("keys".into()).spawn(move || read_keys(io::stdin(), &sender))?;
        }
        put(OPEN)?;
        Ok(screen)
    }

    /// Puts the terminal right, stops the process until somebody lets it go on, and has the terminal again.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        put(CLOSE)?;
        (self.system.set_keys)(false);
        (self.system.stop)();
        if io::stdin().is_terminal() {
            (self.system.set_keys)(true);
        }
        put(OPEN)
    }

    /// Draws over what is there.
    pub(super) fn draw(&mut self, view: &View) -> io::Result<()> {
        self.is_typing = view.is_typing();
        let (width, height) = (self.system.terminal_size)().unwrap_or(SIZE_UNKNOWN);
        let mut frame = String::from("\x1b[H");
        for (at, line) in view.lines(width, height).iter().take(height).enumerate() {
            frame.push_str(if at == 0 { "" } else { "\r\n" });
            frame.push_str(line);
            // To the end of the line: what was longer before goes.
            frame.push_str("\x1b[K");
        }
        frame.push_str("\x1b[J");
        put(&frame)
    }

    /// The next key; never, where there are none.
    pub(super) async fn key(&mut self) -> Option<Key> {
        match self.keys.recv().await {
            Some(Key::Char('q')) if !self.is_typing => Some(Key::Quit),
            Some(key) => Some(key),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to put right.
        let _ = put(CLOSE);
        (self.system.set_keys)(false);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn read_keys(mut input: impl Read, keys: &mpsc::Sender<Key>) {
    let mut press = [0; PRESS_BYTES_MAX];
    loop {
        let length = match input.read(&mut press) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        for key in keys_of(press.get(..length).unwrap_or_default()) {
            if keys.blocking_send(key).is_err() {
                return;
            }
        }
    }
}

/// The keys in what came at once.
fn keys_of(press: &[u8]) -> Vec<Key> {
    match press {
        [0x1b] => vec![Key::Escape],
        // An arrow or another key that is none of ours.
        [0x1b, ..] => Vec::new(),
        press => String::from_utf8_lossy(press)
            .chars()
            .filter_map(|c| match c {
                '\r' | '\n' => Some(Key::Enter),
                '\u{7f}' | '\u{8}' => Some(Key::Backspace),
                c if c.is_control() || c == char::REPLACEMENT_CHARACTER => None,
                c => Some(Key::Char(c)),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_a_terminal_sends_them() {
        assert_eq!(keys_of(b"/a\x7f\r"), [Key::Char('/'), Key::Char('a'), Key::Backspace, Key::Enter]);
        assert_eq!(keys_of(b"\x1b"), [Key::Escape]);
        assert_eq!(keys_of(b"\x1b[A"), []);
        assert_eq!(keys_of("é\x01\u{9b}".as_bytes()), [Key::Char('é')]);
        assert_eq!(keys_of(b"\xff"), []);
    }
}
