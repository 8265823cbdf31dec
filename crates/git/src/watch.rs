//! Lets a fetch be given up: by a shutdown, or because the other side has gone quiet.

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::pack::{LeftOut, Missing, Refusal, Wire};
use pinion_core::model::escape::stripped;

/// What a fetching thread and its watcher share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Set to make gix give up at its next look.
    pub(super) stop: AtomicBool,
    /// Set when the server asked for credentials that we didn't send or that it didn't like.
    pub(super) challenged: AtomicBool,
    bounds: Mutex<Bounds>,
    /// The files that the mirror lacks, as they were left out of an earlier pack.
    missing: Mutex<Missing>,
    left_out: Mutex<Vec<LeftOut>>,
    waiting: AtomicU64,
    moved: AtomicU64,
    peer: Mutex<Option<Peer>>,
    said: Mutex<Vec<u8>>,
    listener: Mutex<Option<Receiver<()>>>,
}

/// How much may be received.
#[derive(Debug, Default)]
struct Bounds {
    /// How many bytes may still be received, and how many were allowed.
    left: u64,
    allowed: u64,
    /// Why no more is received.
    refused: Option<Refusal>,
}

#[derive(Debug)]
enum Peer {
    Child(Child),
    Socket(TcpStream),
}

/// How long a program may take to say its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The most that is kept of what a program writes to its standard error.
const MAX_WORDS: usize = 4096;

impl Watch {
    /// From now on at most this many bytes are received; who reads more gets an error.
    pub(super) fn allow(&self, bytes: u64) {
        let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        (bounds.left, bounds.allowed) = (bytes, bytes);
    }

    /// Why no more is received, if what was sent is refused.
    pub(super) fn refused(&self) -> Option<Refusal> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    /// The mirror lacks these files: the server may build on them.
    pub(super) fn lacks(&self, missing: Missing) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = missing;
    }

    /// The files that were left out of what was received.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wire(&self) -> Wire {
        let mut wire = Wire::default();
        wire.lacks(self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone());
        wire
    }

    /// Looks at what was received before anybody else sees it, and adds to `out` what they are to see of it.
    fn received(&self, wire: &mut Wire, bytes: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        if self.stop.load(Ordering::SeqCst) {
            // gix looks at `stop` only while it reads a pack.
            return Err(std::io::Error::other("the conversation was given up"));
        }
        let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        if bounds.refused.is_none() {
            bounds.refused = match bounds.left.checked_sub(bytes.len() as u64) {
                None => Some(Refusal::sent(bounds.allowed)),
                Some(left) => {
                    bounds.left = left;
                    wire.feed(bytes, out).err()
                }
            };
        }
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).extend(wire.left_out());
        match bounds.refused {
            Some(_) => Err(std::io::Error::other("what the server sends is refused")),
            None => Ok(()),
        }
    }

    /// `child` leads a process group of its own.
    pub(super) fn owns_child(&self, child: Child) {
        self.owns(Peer::Child(child));
    }

    pub(super) fn owns_socket(&self, socket: TcpStream) {
        self.owns(Peer::Socket(socket));
    }

    fn owns(&self, peer: Peer) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
        // We may have been given up before there was anything to end.
        if self.stop.load(Ordering::SeqCst) {
            self.give_up();
        }
    }

    /// Makes the reader on the other side fail now.
    pub(super) fn give_up(&self) {
        self.stop.store(true, Ordering::SeqCst);
        match self.peer.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(Peer::Child(child)) => {
                end(child);
            }
            Some(Peer::Socket(socket)) => {
                let _ = socket.shutdown(Shutdown::Both);
            }
            None => {}
        }
    }

    /// Ends the program on the other side, so that it leaves no zombie.
    pub(super) fn reap(&self) {
        let peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Peer::Child(mut child)) = peer {
            end(&mut child);
            let _ = child.wait();
        }
    }

    /// How much has moved so far, if somebody waits for the other side now.
    pub(super) fn waiting_at(&self) -> Option<u64> {
        (self.waiting.load(Ordering::SeqCst) > 0).then(|| self.moved.load(Ordering::SeqCst))
    }

    /// What the program wrote to its standard error, for people: one line, printable. Waits a little for the end of it,
    /// so ask only after a failure.
    pub(super) fn words(&self) -> String {
        if let Some(ended) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Either way we take what is there.
            let _ = ended.recv_timeout(LAST_WORDS);
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&said);
        let lines = text.lines().map(|line| line.trim().trim_start_matches("remote: "));
        let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        stripped(&line)
    }

    /// Keeps what a program says until it closes its standard error.
    pub(super) fn listen(self: &Arc<Self>, mut stderr: impl Read + Send + 'static) {
        let watch = Arc::clone(self);
        let (ending, ended) = sync_channel(1);
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 512];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                let mut said = watch.said.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MAX_WORDS.saturating_sub(said.len());
                said.extend(buffer.iter().take(length.min(room)));
            }
            // Nobody may be waiting for it.
            let _ = ending.send(());
        });
    }

    fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let result = wait();
        self.moved.fetch_add(1, Ordering::SeqCst);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// Ends a program that hasn't been waited for, and all that it has started in its process group: a wrapper's children would
/// go on without it. What made itself a session of its own, such as the shared connections of `ssh`, stays.
fn end(child: &mut Child) {
    // Already gone is as good.
    let _ = child.kill();
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A stream that tells its [`Watch`] when it waits, and shows it what comes.
pub(super) struct Watched<S> {
    stream: S,
    watch: Arc<Watch>,
    wire: Wire,
    ready: Ready,
}

/// What was looked at, and wasn't read yet.
#[derive(Debug, Default)]
struct Ready {
    bytes: Vec<u8>,
    read: usize,
}

impl Ready {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.read..).unwrap_or_default()
    }

    /// Room for more, once all was read.
    fn renew(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.read = 0;
        &mut self.bytes
    }
}

/// The bytes that are read at once.
const READ: usize = 16 << 10;

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: &Arc<Watch>) -> Self {
        Self { stream, watch: Arc::clone(watch), wire: watch.wire(), ready: Ready::default() }
    }
}

impl<S: Read> Read for Watched<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut raw = [0; READ];
        // Nothing may be left of a whole piece of what came, and that isn't the end.
        while self.ready.left().is_empty() {
            let length = self.watch.during(|| self.stream.read(&mut raw))?;
            if length == 0 {
                return Ok(0);
            }
            let bytes = raw.get(..length).unwrap_or_default();
            self.watch.received(&mut self.wire, bytes, self.ready.renew())?;
        }
        let length = self.ready.left().read(buffer)?;
        self.ready.read += length;
        Ok(length)
    }
}

/// The body of an HTTP answer, shown to a [`Watch`]. reqwest's own time-out ends it when it stalls.
pub(super) struct Shown<B> {
    body: B,
    watch: Arc<Watch>,
    wire: Wire,
    ready: Ready,
}

impl<B> Shown<B> {
    pub(super) fn new(body: B, watch: &Arc<Watch>) -> Self {
        Self { body, watch: Arc::clone(watch), wire: watch.wire(), ready: Ready::default() }
    }
}

impl<B: BufRead> Read for Shown<B> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<B: BufRead> BufRead for Shown<B> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        while self.ready.left().is_empty() {
            let bytes = self.body.fill_buf()?;
            let length = bytes.len();
            if length == 0 {
                break;
            }
            self.watch.received(&mut self.wire, bytes, self.ready.renew())?;
            self.body.consume(length);
        }
        Ok(self.ready.left())
    }

    fn consume(&mut self, length: usize) {
        self.ready.read += length;
    }
}

impl<S: Write> Write for Watched<S> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.watch.during(|| self.stream.write(buffer))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.watch.during(|| self.stream.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::MAX_LISTING;

    #[test]
    fn no_more_is_received_than_is_allowed() {
        let watch = Arc::new(Watch::default());
        watch.allow(MAX_LISTING);
        let mut stream = Watched::new(std::io::repeat(b'x'), &watch);
        let mut all = vec![0; 4 << 20];
        stream.read_exact(&mut all).unwrap();
        assert_eq!(watch.refused(), None);
        stream.read_exact(&mut [0; 1]).unwrap_err();
        assert_eq!(watch.refused(), Some(Refusal::sent(MAX_LISTING)));

        for by_lines in [true, false] {
            let watch = Arc::new(Watch::default());
            watch.allow(100);
            let body = std::io::BufReader::with_capacity(16, std::io::repeat(b'x'));
            let mut body = Shown::new(body, &watch);
            let mut taken = Vec::new();
            if by_lines {
                body.read_until(b'\n', &mut taken).unwrap_err();
            } else {
                body.read_to_end(&mut taken).unwrap_err();
            }
            assert!(taken.len() <= 100, "{}", taken.len());
            assert_eq!(watch.refused(), Some(Refusal::sent(100)));
        }
    }

    #[test]
    fn who_was_given_up_reads_no_more() {
        let watch = Arc::new(Watch::default());
        watch.allow(1 << 20);
        let mut stream = Watched::new(std::io::repeat(b'x'), &watch);
        stream.read_exact(&mut [0; 10]).unwrap();
        watch.give_up();
        // What had come before may still be read.
        stream.read_exact(&mut [0; READ]).unwrap_err();
        assert_eq!(watch.refused(), None);
    }
}
