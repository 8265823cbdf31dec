//! A program at a terminal: a real one of the operating system, at which a person reads and types.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::process::{TIMEOUT, now};

/// A program whose input, output and errors are a terminal. It is killed when it is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What is on the screen.
    shown: String,
    /// How much of it has been read.
    read: usize,
}

impl Terminal {
    /// Starts a program.
    pub(crate) fn start(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let copy = || theirs.try_clone().unwrap();
        let child = command.env("TERM", "xterm").stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        // Once nobody but the program has their end, reading ends with it.
        drop((command, theirs));
        let keyboard = File::from(ours);
        let mut output = keyboard.try_clone().unwrap();
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, shown: String::new(), read: 0 }
    }

    /// Waits until this is shown, and gives all that was shown since the last time.
    pub(crate) fn waits_for(&mut self, text: &str) -> String {
        let limit = now() + TIMEOUT;
        loop {
            let new = &self.shown[self.read..];
            if let Some(at) = new.find(text) {
                let seen = new[..at + text.len()].to_owned();
                self.read += seen.len();
                return seen;
            }
            let wait = limit.saturating_duration_since(now());
            match self.screen.recv_timeout(wait) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes).replace('\r', "")),
                Err(error) => panic!("`{text}` isn't shown ({error}):\n{}", self.shown),
            }
        }
    }

    /// Types a line and presses Enter.
    pub(crate) fn types(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Presses a key with Ctrl.
    pub(crate) fn presses_ctrl(&mut self, key: u8) {
        self.keyboard.write_all(&[key & 0x1f]).unwrap();
    }

    /// Waits for the program's end: its exit code, and all that was shown since the last time.
    pub(crate) fn ends(mut self) -> (i32, String) {
        while let Ok(bytes) = self.screen.recv_timeout(TIMEOUT) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes).replace('\r', ""));
        }
        let code = self.child.wait().unwrap().code().unwrap();
        (code, self.shown[self.read..].to_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
