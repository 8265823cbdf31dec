//! Lets a fetch be given up: by a shutdown, or because the other side has gone quiet.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pinion_core::model::escape::stripped;

/// What a fetching thread and its watcher share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Set to make gix give up at its next look.
    pub(super) stop: AtomicBool,
    /// Set when the server asked for credentials that we didn't send or that it didn't like.
    pub(super) challenged: AtomicBool,
    waiting: AtomicU64,
    moved: AtomicU64,
    peer: Mutex<Option<Peer>>,
    said: Mutex<Vec<u8>>,
    listener: Mutex<Option<Receiver<()>>>,
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
                // Already gone is as good.
                let _ = child.kill();
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
            let _ = child.kill();
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

/// A stream that tells its [`Watch`] when it waits.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) watch: Arc<Watch>,
}

impl<S: Read> Read for Watched<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.watch.during(|| self.stream.read(buffer))
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
