//! A terminal that is none: what a program draws on it is kept, and keys are pressed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::{Child, Command};

use super::world::until;

/// A terminal with a program on it.
pub struct Terminal {
    pub child: Child,
    keys: File,
    /// The other side, by which the program has it.
    side: File,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program on a terminal of this size.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let side =
            OpenOptions::new().read(true).write(true).custom_flags(OFlags::NOCTTY.bits() as i32).open(path).unwrap();
        let given = || Stdio::from(side.try_clone().unwrap());
        let child = command.stdin(given()).stdout(given()).stderr(given()).spawn().unwrap();
        let keys = File::from(ours);
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (keys.try_clone().unwrap(), drawn.clone());
        // It ends with the terminal.
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut piece) {
                kept.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { child, keys, side, drawn }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// All that was drawn.
    pub fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// What stands there since the last time that it was drawn over.
    pub fn frame(&self) -> String {
        let drawn = self.drawn();
        // What is still being drawn is none.
        let whole = drawn.rfind("\u{1b}[J").map_or("", |end| &drawn[..end]);
        let frame = whole.rsplit("\u{1b}[H").next().unwrap_or_default().replace("\u{1b}[K", "");
        // A terminal begins each line anew by itself, too.
        frame.replace("\r\r\n", "\r\n")
    }

    /// Waits for a frame that is as wanted.
    pub async fn until(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        until(&format!("{what} in {}", self.frame()), async || Some(self.frame()).filter(|frame| is_there(frame))).await
    }

    /// Whether keys are shown, and come a line at a time, as a shell wants it.
    pub fn is_as_before(&self) -> bool {
        tcgetattr(&self.side).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}
