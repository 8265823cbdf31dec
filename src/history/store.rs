//! The event store: in memory, and in one append-only file whose lines carry checksums. Events are ordered by time, and
//! indexed by environment, target and key.
//!
//! The file is rewritten when it has about twice as many lines as needed. Damaged lines are skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::dora;
use super::keep::{Kept, keep, pin_key};
use super::query::{Cursor, MOST, Query};
use crate::model::cause::chain;
use crate::model::event::{Deliveries, EventKind, EventPage, EventRecord};
use crate::model::hex::sha256;
use crate::model::words;

/// When and which: microseconds since 1970, and a number that only grows.
type Place = (i64, u64);

/// The longest text that is kept of one field, in characters: bounds what one event takes.
const MAX_LENGTH: usize = 500;
/// The upper bound for one event in the file, in bytes. Pinion didn't write a file that exceeds twice the resulting total.
const LARGEST: u64 = 16 * 1024;
/// How many superfluous lines the file may always have.
const SLACK: usize = 1000;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most events.
    pub events: u64,
    /// The greatest age.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: 20_000, age: Duration::from_secs(400 * 86_400) }
    }
}

/// What went wrong with the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder can't be made, or a file in it can't be touched.
    #[error("can't write {}", path.display())]
    Folder {
        /// What can't be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process writes it.
    #[error("the history {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no history file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("can't read the history {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that writes can't be started.
    #[error("can't start the thread that writes the history")]
    Thread(#[source] io::Error),
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Record {
    /// Something has happened.
    Event {
        /// Its number.
        number: u64,
        /// What.
        event: Box<EventRecord>,
    },
    /// What a key stood for has ended; it is free again.
    Closed(String),
    /// The first key leads to the same event as the second.
    Alias(String, String),
}

/// How files are opened that only Pinion's user may read: who writes commits is in them.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// The event history; safe to share between threads.
#[derive(Debug)]
pub struct Store {
    state: Mutex<State>,
    limits: Retention,
}

impl Store {
    /// Opens the file, or makes it. What is damaged of it is left out, with a warning.
    ///
    /// # Errors
    /// [`StoreError`] if the folder can't be written, or another process writes the file.
    pub fn create(path: &Path, limits: Retention) -> Result<Self, StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Folder { path, source }
        };
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        }
        // Beside the file, which is replaced when it is written again.
        let mark = path.with_extension("lock");
        let lock = private().create(true).append(true).open(&mark).map_err(failed(&mark))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(&mark)(source)),
        }
        let file = path.display().to_string();
        let mut state = State::default();
        let mut damaged = false;
        let length = fs::metadata(path).map_or(0, |about| about.len());
        if length > limits.events.saturating_add(SLACK as u64).saturating_mul(2 * LARGEST) {
            tracing::warn!(file, "the history file is larger than its limits allow; starting a new one");
            damaged = true;
        } else {
            match state.read(path) {
                Ok(0) | Err(StoreError::Missing { .. }) => {}
                Ok(lines) => {
                    tracing::warn!(
                        file,
                        "the history file is damaged; skipped {}",
                        words::count(lines, "unreadable line")
                    );
                    damaged = true;
                }
                Err(error) => {
                    tracing::warn!(file, "{}; starting a new history file", chain(&error));
                    state = State::default();
                    damaged = true;
                }
            }
        }
        // Events beyond the limit may stay in the file until it is next rewritten.
        state.prune(limits, Timestamp::MIN);
        state.file = Some(Log { path: path.to_owned(), appended: None, needs_rewrite: damaged, _lock: lock });
        state.save(&[])?;
        Ok(Self { state: Mutex::new(state), limits })
    }

    /// A store that ends with the process.
    #[must_use]
    pub fn in_memory(limits: Retention) -> Self {
        Self { state: Mutex::default(), limits }
    }

    /// Opens a history written by a controller. It is a snapshot: later writes aren't seen.
    ///
    /// # Errors
    /// [`StoreError`] if there is none, or it can't be read.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let mut state = State::default();
        // The last line may be one that is being written.
        let _ = state.read(path)?;
        Ok(Self { state: Mutex::new(state), limits: Retention::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds up all writers.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.state()
    }

    /// Adds what is new of these notes, and removes what is too much or too old. Says how many events were added.
    ///
    /// # Errors
    /// [`StoreError`] if they can't be written. They are kept in memory then, and written with the next ones.
    pub fn append(&self, notes: Vec<EventRecord>, now: Timestamp) -> Result<usize, StoreError> {
        let mut state = self.state();
        // Drop expired events first, so that they don't make a new event look like a repeat.
        state.prune(self.limits, now);
        let mut records = Vec::new();
        for note in notes {
            records.extend(state.take(note));
        }
        state.prune(self.limits, now);
        state.save(&records)?;
        Ok(records.iter().filter(|record| matches!(record, Record::Event { .. })).count())
    }

    /// Events, newest first.
    #[must_use]
    pub fn page(&self, query: &Query) -> EventPage {
        let state = self.state();
        let least = (query.since.map_or(i64::MIN, Timestamp::as_microsecond), 0);
        let most = query.before.map_or((i64::MAX, u64::MAX), |before| (before.at, before.number));
        if least >= most {
            return EventPage::default();
        }
        match &query.scope {
            None => listed(query, state.events.range(least..most).rev()),
            Some(scope) => {
                let places = state.scopes.get(scope).into_iter().flat_map(|places| places.range(least..most).rev());
                listed(query, places.filter_map(|place| state.events.get_key_value(place)))
            }
        }
    }

    /// The DORA figures of each component.
    #[must_use]
    pub fn deliveries(&self, environment: Option<&str>, since: Timestamp, until: Timestamp) -> Deliveries {
        let state = self.state();
        let of = |event: &EventRecord| environment.is_none() || event.environment.as_deref() == environment;
        let since_then = state.events.range((since.as_microsecond(), 0)..).map(|(_, event)| event);
        let found: Vec<EventRecord> = since_then.filter(|event| of(event)).cloned().collect();
        drop(state);
        dora::deliveries(&found, since, until)
    }

    /// The targets whose last rollout has no end. AWS ends a rollout after two weeks, so older ones don't count.
    pub(super) fn unfinished(&self, now: Timestamp) -> BTreeSet<String> {
        let mut unfinished = BTreeSet::new();
        let from = now.checked_sub(Duration::from_secs(15 * 86_400)).map_or(i64::MIN, Timestamp::as_microsecond);
        for (_, event) in self.state().events.range((from, 0)..) {
            match (event.kind, &event.target) {
                (EventKind::RolloutStarted, Some(target)) => drop(unfinished.insert(target.clone())),
                (EventKind::RolloutEnded, Some(target)) => drop(unfinished.remove(target)),
                _ => {}
            }
        }
        unfinished
    }
}

/// The next page of events that match the query's kinds and component.
fn listed<'e>(query: &Query, events: impl Iterator<Item = (&'e Place, &'e EventRecord)>) -> EventPage {
    let wanted = |event: &EventRecord| {
        (query.kinds.is_empty() || query.kinds.contains(&event.kind))
            && (query.component.is_none() || query.component == event.component)
    };
    let mut page = EventPage::default();
    let mut last = None;
    for (&(at, number), event) in events.filter(|(_, event)| wanted(event)) {
        if page.events.len() == query.limit.clamp(1, MOST) {
            page.next = last;
            break;
        }
        last = Some(Cursor { at, number }.to_string());
        page.events.push(event.clone());
    }
    page
}

/// The events, their indexes, and the open file.
#[derive(Debug, Default)]
struct State {
    events: BTreeMap<Place, EventRecord>,
    scopes: BTreeMap<String, BTreeSet<Place>>,
    keys: BTreeMap<String, Place>,
    /// The number of the newest event.
    number: u64,
    /// How many lines the file has.
    lines: usize,
    /// Where it is kept; only in memory if nowhere.
    file: Option<Log>,
}

/// The file of a store that writes.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    /// Opened for appending at the first write.
    appended: Option<File>,
    /// Whether the file is incomplete or damaged, so that the next save rewrites it.
    needs_rewrite: bool,
    /// No other process writes while this one has it.
    _lock: File,
}

impl State {
    /// Takes over what a file holds. Says how many lines of it can't be read.
    fn read(&mut self, path: &Path) -> Result<usize, StoreError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { path: path.to_owned() },
            _ => StoreError::Read { path: path.to_owned(), source },
        };
        let mut damaged = 0;
        for line in BufReader::new(File::open(path).map_err(failed)?).split(b'\n') {
            let line = line.map_err(failed)?;
            self.lines += 1;
            match parse(&line) {
                Some(record) => self.replay(record),
                None => damaged += 1,
            }
        }
        Ok(damaged)
    }

    fn replay(&mut self, record: Record) {
        match record {
            Record::Event { number, event } => {
                self.number = self.number.max(number);
                self.add(number, *event);
            }
            Record::Closed(key) => drop(self.keys.remove(&key)),
            Record::Alias(key, known) => {
                if let Some(place) = self.keys.get(&known) {
                    self.keys.insert(key, *place);
                }
            }
        }
    }

    /// Keeps what is new of a note; says what to write of it.
    fn take(&mut self, note: EventRecord) -> Vec<Record> {
        let known = |key: &str| Some(self.events.get(self.keys.get(key)?)?.kind);
        let mut records = Vec::new();
        let event = match keep(note, known) {
            Kept::Nothing => return records,
            Kept::Added(event) => event,
            Kept::Closed(event, opened) => {
                self.keys.remove(&opened);
                records.push(Record::Closed(opened));
                event
            }
            Kept::Alias(key, known) => {
                let Some(place) = self.keys.get(&known).copied() else { return records };
                self.keys.insert(key.clone(), place);
                return vec![Record::Alias(key, known)];
            }
        };
        let event = short(event);
        self.number += 1;
        self.add(self.number, event.clone());
        records.push(Record::Event { number: self.number, event: Box::new(event) });
        records
    }

    fn add(&mut self, number: u64, event: EventRecord) {
        let place = (event.at.as_microsecond(), number);
        for scope in scopes(&event) {
            self.scopes.entry(scope.to_owned()).or_default().insert(place);
        }
        for key in keys(&event) {
            self.keys.insert(key, place);
        }
        self.events.insert(place, event);
    }

    /// Removes the oldest until all limits hold.
    fn prune(&mut self, limits: Retention, now: Timestamp) {
        let oldest = now.checked_sub(limits.age).map_or(i64::MIN, Timestamp::as_microsecond);
        let many = |state: &Self| u64::try_from(state.events.len()).unwrap_or(u64::MAX) > limits.events;
        while let Some(first) = self.events.first_entry().map(|first| *first.key())
            && (first.0 < oldest || many(self))
        {
            let Some(event) = self.events.remove(&first) else { return };
            for scope in scopes(&event) {
                if let Some(places) = self.scopes.get_mut(scope) {
                    places.remove(&first);
                    if places.is_empty() {
                        self.scopes.remove(scope);
                    }
                }
            }
            for key in keys(&event).chain(alias(&event)) {
                // One that was closed may stand for a later event by now.
                if self.keys.get(&key) == Some(&first) {
                    self.keys.remove(&key);
                }
            }
        }
    }

    /// Writes these at the end of the file; or all that is kept, if the file lacks some or has become too long.
    fn save(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let Some(log) = &mut self.file else { return Ok(()) };
        let all = log.needs_rewrite || self.lines + records.len() > 2 * self.events.len() + SLACK;
        if records.is_empty() && !all {
            return Ok(());
        }
        // Until it is known that all went well.
        log.needs_rewrite = true;
        let path = log.path.clone();
        let failed = |source| StoreError::Folder { path: path.clone(), source };
        if all {
            log.appended = None;
            let fresh = path.with_extension("new");
            let mut file =
                BufWriter::new(private().create(true).truncate(true).write(true).open(&fresh).map_err(failed)?);
            let lines = self.write_all(&mut file).and_then(|lines| file.flush().map(|()| lines)).map_err(failed)?;
            fs::rename(&fresh, &path).map_err(failed)?;
            self.lines = lines;
        } else {
            let mut text = Vec::new();
            for record in records {
                line(record, &mut text).map_err(failed)?;
            }
            let mut file = match log.appended.take() {
                Some(file) => file,
                None => private().create(true).append(true).open(&path).map_err(failed)?,
            };
            file.write_all(&text).map_err(failed)?;
            log.appended = Some(file);
            self.lines += records.len();
        }
        if let Some(log) = &mut self.file {
            log.needs_rewrite = false;
        }
        Ok(())
    }

    /// Writes all events in the order they arrived, then closed keys and aliases. Returns the number of lines.
    fn write_all(&self, into: &mut impl io::Write) -> io::Result<usize> {
        let mut lines = 0;
        let mut write = |record: &Record| {
            let mut text = Vec::new();
            line(record, &mut text)?;
            lines += 1;
            into.write_all(&text)
        };
        let mut ordered: Vec<(&Place, &EventRecord)> = self.events.iter().collect();
        ordered.sort_by_key(|((_, number), _)| *number);
        for ((_, number), event) in &ordered {
            write(&Record::Event { number: *number, event: Box::new((*event).clone()) })?;
        }
        for (place, event) in ordered {
            for key in keys(event).filter(|key| !self.keys.contains_key(key)) {
                write(&Record::Closed(key))?;
            }
            if let (Some(alias), Some(pin)) = (alias(event), pin_key(event))
                && self.keys.get(&alias) == Some(place)
            {
                write(&Record::Alias(alias, pin))?;
            }
        }
        Ok(lines)
    }
}

/// A line: the first eight hexadecimal digits of the rest's SHA-256, a space, JSON.
fn line(record: &Record, into: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(record)?;
    into.extend(checksum(&json).as_bytes());
    into.push(b' ');
    into.extend(json);
    into.push(b'\n');
    Ok(())
}

fn parse(line: &[u8]) -> Option<Record> {
    let (sum, rest) = line.split_at_checked(8)?;
    let json = rest.strip_prefix(b" ")?;
    if sum != checksum(json).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(bytes: &[u8]) -> String {
    sha256(bytes, 8)
}

/// The environment and the target of an event, as far as it has them.
fn scopes(event: &EventRecord) -> impl Iterator<Item = &str> {
    event.environment.iter().chain(&event.target).map(String::as_str)
}

/// The keys that find an event. A discovery is also found by its pin's key.
fn keys(event: &EventRecord) -> impl Iterator<Item = String> {
    let pin = pin_key(event).filter(|_| event.kind == EventKind::TargetDiscovered);
    Some(event.key.clone()).filter(|key| !key.is_empty()).into_iter().chain(pin)
}

/// The in-sync key of a target that was already in sync when it was discovered.
fn alias(event: &EventRecord) -> Option<String> {
    let (target, commit) = (event.target.as_ref()?, event.commit.as_ref()?);
    (event.kind == EventKind::TargetDiscovered).then(|| format!("{}|{target}|{commit}", EventKind::InSync))
}

/// The event with its texts cut to what is kept of them.
fn short(mut event: EventRecord) -> EventRecord {
    let texts = [&mut event.text, &mut event.subject, &mut event.author, &mut event.version, &mut event.previous];
    for text in texts.into_iter().flatten() {
        *text = words::shortened(std::mem::take(text), MAX_LENGTH);
    }
    event
}
