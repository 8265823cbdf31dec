//! Child processes that end with the test, and whose output can be read while they run.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take for what takes a moment, on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// The time that limits are measured by.
pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
    Instant::now()
}

/// Says a figure that is to be seen also where what passing tests print is kept back.
pub(crate) fn figure(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A running program. It is killed when it is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints on either stream goes into `log`, after what stands there.
    pub(crate) fn start(name: &str, command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// All that it has printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until `find` finds something in what the program has printed from byte `from` on.
    pub(crate) fn wait_for<T>(&mut self, what: &str, from: usize, find: impl Fn(&str) -> Option<T>) -> T {
        let limit = now() + TIMEOUT;
        loop {
            let output = self.output();
            if let Some(found) = find(output.get(from..).unwrap_or_default()) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended ({ended:?}) before it said {what}:\n{}", self.name, self.output());
            assert!(now() < limit, "{} doesn't say {what}:\n{output}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, `HUP`, `USR1`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success(), "{} can't be sent SIG{signal}", self.name);
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, within: Duration) -> ExitStatus {
        let limit = now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(now() < limit, "{} still runs after {within:?}:\n{}", self.name, self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program under test, with nothing of this machine's environment but the path.
pub(crate) fn pinion(home: &Path) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_pinion")), home)
}

/// A command with nothing of this machine's environment but the path.
pub(crate) fn clean(mut command: Command, home: &Path) -> Command {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(home);
    command
}

/// A clock that jumps, for programs that are started with it: libfaketime reads from a file how far it is off.
pub(crate) struct FakeTime {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl FakeTime {
    pub(crate) fn new() -> Self {
        let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|library| library.exists());
        let library = library.expect("libfaketime is missing; install Debian's package `faketime`");
        let time = Self { folder: tempfile::TempDir::new().unwrap(), library };
        time.jump(0);
        time
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// From now on it is so many hours later than it really is, or earlier.
    pub(crate) fn jump(&self, hours: i32) {
        // In one step, as it is read all the time.
        let next = self.folder.path().join("next");
        std::fs::write(&next, format!("{:+}\n", hours * 3600)).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    /// Lets a program have this time.
    pub(crate) fn lend(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_NO_CACHE", "1")
            // Waits and time limits go on as they did.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}
