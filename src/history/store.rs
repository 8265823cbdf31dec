//! The store: one redb file. Events stand in the order of their time; two indexes lead to those of one environment or
//! target, and to each by its key.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    WriteTransaction,
};
use thiserror::Error;

use super::dora;
use super::keep::{Kept, keep, pin_key};
use super::query::{Cursor, MOST, Query};
use crate::model::event::{Deliveries, Event, EventKind, EventPage};

/// When and which: microseconds since 1970, and a number that only grows.
type Place = (i64, u64);

const EVENTS: TableDefinition<'_, Place, &[u8]> = TableDefinition::new("events");
const SCOPES: TableDefinition<'_, (&str, i64, u64), ()> = TableDefinition::new("scopes");
const KEYS: TableDefinition<'_, &str, Place> = TableDefinition::new("keys");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The number of this layout. A file of another one is begun anew.
const LAYOUT: u64 = 1;
/// How much memory the store may use for pages.
const CACHE: usize = 4 * 1024 * 1024;
/// The longest text that is kept of one field, in characters: bounds what one event takes.
const LONGEST: usize = 500;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most events.
    pub events: u64,
    /// The greatest age.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 100_000, age: Duration::from_secs(400 * 86_400) }
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
    /// Another process has it open.
    #[error("the history {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no history {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read as a history.
    #[error("can't open the history {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// Reading or writing failed.
    #[error("the history can't be read or written")]
    Access(#[source] Box<redb::Error>),
    /// The thread that writes can't be started.
    #[error("can't start the thread that writes the history")]
    Thread(#[source] io::Error),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Access(Box::new(error.into()))
    }
}

/// The store.
pub struct Store {
    database: Access,
    limits: Limits,
}

enum Access {
    Writable(Database),
    ReadOnly(redb::ReadOnlyDatabase),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the file, or makes it. One that is damaged, or of another layout, is replaced, with a warning.
    ///
    /// # Errors
    /// [`StoreError`] if the folder can't be written, or another process has the file open.
    pub fn create(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Folder { path, source }
        };
        let file = path.display().to_string();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        // A damaged file might end the process that reads it. The mark tells the next one not to try again.
        let mark = path.with_extension("opening");
        if mark.exists() {
            tracing::warn!(file, "the history could not be opened the last time: it is begun anew");
            remove(path)?;
        }
        fs::write(&mark, b"").map_err(failed(&mark))?;
        let opened = match Self::open(path, limits) {
            Err(error @ (StoreError::InUse { .. } | StoreError::Folder { .. })) => Err(error),
            Err(error) => {
                tracing::warn!(file, "{}; it is begun anew", super::chain(&error));
                remove(path).and_then(|()| Self::open(path, limits))
            }
            opened => opened,
        };
        remove(&mark)?;
        opened
    }

    fn open(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let failed = |error: DatabaseError| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
            error => StoreError::Open { path: path.to_owned(), source: Box::new(error.into()) },
        };
        let corrupt = |what: &str| {
            let source = redb::StorageError::Corrupted(what.to_owned());
            failed(DatabaseError::Storage(source))
        };
        let mut database = Database::builder().set_cache_size(CACHE).create(path).map_err(failed)?;
        if !database.check_integrity().map_err(failed)? {
            return Err(corrupt("its checksums are wrong"));
        }
        let store = Self { database: Access::Writable(database), limits };
        match store.prepare()? {
            LAYOUT => Ok(store),
            other => Err(corrupt(&format!("its layout is {other}, not {LAYOUT}"))),
        }
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    /// [`StoreError`], if not even memory serves.
    pub fn in_memory(limits: Limits) -> Result<Self, StoreError> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().set_cache_size(CACHE).create_with_backend(backend)?;
        let store = Self { database: Access::Writable(database), limits };
        store.prepare()?;
        Ok(store)
    }

    /// Opens a file that no controller has open, to read it only.
    ///
    /// # Errors
    /// [`StoreError`] if there is none, it is damaged, or a controller has it open.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        let database = Database::builder().set_cache_size(CACHE).open_read_only(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
            error => StoreError::Open { path: path.to_owned(), source: Box::new(error.into()) },
        })?;
        Ok(Self { database: Access::ReadOnly(database), limits: Limits::default() })
    }

    /// Makes the tables that are missing; says the layout.
    fn prepare(&self) -> Result<u64, StoreError> {
        let transaction = self.begin_write()?;
        let layout = {
            transaction.open_table(EVENTS)?;
            transaction.open_table(SCOPES)?;
            transaction.open_table(KEYS)?;
            let mut meta = transaction.open_table(META)?;
            let layout = meta.get("layout")?.map(|layout| layout.value());
            if layout.is_none() {
                meta.insert("layout", LAYOUT)?;
            }
            layout.unwrap_or(LAYOUT)
        };
        transaction.commit()?;
        Ok(layout)
    }

    fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        match &self.database {
            Access::Writable(database) => Ok(database.begin_write()?),
            Access::ReadOnly(_) => {
                let refused = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
                Err(StoreError::Access(Box::new(redb::Error::Io(refused))))
            }
        }
    }

    /// Holds up whoever wants to write.
    #[cfg(test)]
    pub(super) fn hold(&self) -> WriteTransaction {
        self.begin_write().expect("a write")
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, StoreError> {
        Ok(match &self.database {
            Access::Writable(database) => database.begin_read()?,
            Access::ReadOnly(database) => database.begin_read()?,
        })
    }

    /// Adds what is new of these notes, and removes what is too much or too old. Says how many events were added.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was added.
    pub fn append(&self, notes: Vec<Event>, now: Timestamp) -> Result<usize, StoreError> {
        let transaction = self.begin_write()?;
        let (added, changed) = {
            let mut tables = Tables::open(&transaction)?;
            let mut added = 0;
            for note in notes {
                added += usize::from(tables.take(note)?);
            }
            tables.prune(self.limits, now)?;
            (added, tables.changed)
        };
        // What is known already isn't worth a wait for the disk.
        if changed {
            transaction.commit()?
        } else {
            transaction.abort()?
        }
        Ok(added)
    }

    /// Events, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn page(&self, query: &Query) -> Result<EventPage, StoreError> {
        let transaction = self.begin_read()?;
        let events = transaction.open_table(EVENTS)?;
        let least = (query.since.map_or(i64::MIN, Timestamp::as_microsecond), 0);
        let most = query.before.map_or((i64::MAX, u64::MAX), |before| (before.at, before.number));
        let mut page = EventPage::default();
        let limit = query.limit.clamp(1, MOST);
        // `true` once there are enough.
        let mut take = |(at, number): Place, bytes: &[u8]| {
            // What can't be read is left out: it was written by a later version, maybe.
            let Ok(event) = serde_json::from_slice::<Event>(bytes) else { return false };
            let wanted = (query.kinds.is_empty() || query.kinds.contains(&event.kind))
                && (query.component.is_none() || query.component == event.component);
            if wanted && page.events.len() == limit {
                return true;
            }
            if wanted {
                page.next = Some(Cursor { at, number }.to_string());
                page.events.push(event);
            }
            false
        };
        let mut more = false;
        if least < most {
            match &query.scope {
                None => {
                    for entry in events.range(least..most)?.rev() {
                        let (place, bytes) = entry?;
                        more = take(place.value(), bytes.value());
                        if more {
                            break;
                        }
                    }
                }
                Some(scope) => {
                    let scopes = transaction.open_table(SCOPES)?;
                    let range = (scope.as_str(), least.0, least.1)..(scope.as_str(), most.0, most.1);
                    for entry in scopes.range(range)?.rev() {
                        let (key, ()) = entry.map(|(key, value)| (key, value.value()))?;
                        let (_, at, number) = key.value();
                        let Some(bytes) = events.get((at, number))? else { continue };
                        more = take((at, number), bytes.value());
                        if more {
                            break;
                        }
                    }
                }
            }
        }
        if !more {
            page.next = None;
        }
        Ok(page)
    }

    /// The DORA figures of each component.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn deliveries(
        &self,
        environment: Option<&str>,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Deliveries, StoreError> {
        let transaction = self.begin_read()?;
        let events = transaction.open_table(EVENTS)?;
        let mut found = Vec::new();
        for entry in events.range((since.as_microsecond(), 0)..)? {
            let (_, bytes) = entry?;
            let Ok(event) = serde_json::from_slice::<Event>(bytes.value()) else { continue };
            if environment.is_none() || event.environment.as_deref() == environment {
                found.push(event);
            }
        }
        Ok(dora::deliveries(&found, since, until))
    }

    /// The targets whose last rollout has no end. AWS ends a rollout after two weeks, so older ones don't count.
    pub(super) fn unfinished(&self, now: Timestamp) -> Result<BTreeSet<String>, StoreError> {
        let transaction = self.begin_read()?;
        let mut unfinished = BTreeSet::new();
        let from = now.checked_sub(Duration::from_secs(15 * 86_400)).map_or(i64::MIN, Timestamp::as_microsecond);
        for entry in transaction.open_table(EVENTS)?.range((from, 0)..)? {
            let (_, bytes) = entry?;
            let Ok(event) = serde_json::from_slice::<Event>(bytes.value()) else { continue };
            match (event.kind, event.target) {
                (EventKind::RolloutStarted, Some(target)) => drop(unfinished.insert(target)),
                (EventKind::RolloutEnded, Some(target)) => drop(unfinished.remove(&target)),
                _ => {}
            }
        }
        Ok(unfinished)
    }
}

/// The tables of one write.
struct Tables<'t> {
    events: redb::Table<'t, Place, &'static [u8]>,
    scopes: redb::Table<'t, (&'static str, i64, u64), ()>,
    keys: redb::Table<'t, &'static str, Place>,
    meta: redb::Table<'t, &'static str, u64>,
    /// Whether anything was written.
    changed: bool,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            events: transaction.open_table(EVENTS)?,
            scopes: transaction.open_table(SCOPES)?,
            keys: transaction.open_table(KEYS)?,
            meta: transaction.open_table(META)?,
            changed: false,
        })
    }

    /// Keeps what is new of a note; says whether anything was.
    fn take(&mut self, note: Event) -> Result<bool, StoreError> {
        let kept = keep(note, |key| self.kind_of(key).ok().flatten());
        let event = match kept {
            Kept::Nothing => return Ok(false),
            Kept::Added(event) => event,
            Kept::Closed(event, opened) => {
                self.keys.remove(opened.as_str())?;
                event
            }
            Kept::Alias(key, known) => {
                let place = self.keys.get(known.as_str())?.map(|place| place.value());
                if let Some(place) = place {
                    self.keys.insert(key.as_str(), place)?;
                    self.changed = true;
                }
                return Ok(false);
            }
        };
        self.add(short(event))?;
        Ok(true)
    }

    fn kind_of(&self, key: &str) -> Result<Option<EventKind>, StoreError> {
        let Some(place) = self.keys.get(key)?.map(|place| place.value()) else { return Ok(None) };
        let Some(bytes) = self.events.get(place)? else { return Ok(None) };
        Ok(serde_json::from_slice::<Event>(bytes.value()).ok().map(|event| event.kind))
    }

    fn add(&mut self, event: Event) -> Result<(), StoreError> {
        self.changed = true;
        let number = self.meta.get("number")?.map_or(0, |number| number.value()) + 1;
        self.meta.insert("number", number)?;
        let place = (event.at.as_microsecond(), number);
        let Ok(bytes) = serde_json::to_vec(&event) else { return Ok(()) };
        self.events.insert(place, bytes.as_slice())?;
        for scope in scopes(&event) {
            self.scopes.insert((scope, place.0, place.1), ())?;
        }
        for key in keys(&event) {
            self.keys.insert(key.as_str(), place)?;
        }
        Ok(())
    }

    /// Removes the oldest until all limits hold.
    fn prune(&mut self, limits: Limits, now: Timestamp) -> Result<(), StoreError> {
        let oldest = now.checked_sub(limits.age).map_or(i64::MIN, Timestamp::as_microsecond);
        let mut left = self.events.len()?;
        loop {
            let Some((place, bytes)) =
                self.events.first()?.map(|(place, bytes)| (place.value(), bytes.value().to_vec()))
            else {
                return Ok(());
            };
            if left <= limits.events && place.0 >= oldest {
                return Ok(());
            }
            self.changed = true;
            self.events.remove(place)?;
            left -= 1;
            let Ok(event) = serde_json::from_slice::<Event>(&bytes) else { continue };
            for scope in scopes(&event) {
                self.scopes.remove((scope, place.0, place.1))?;
            }
            for key in keys(&event).chain(alias(&event)) {
                // One that was closed may stand for a later event by now.
                if self.keys.get(key.as_str())?.is_some_and(|found| found.value() == place) {
                    self.keys.remove(key.as_str())?;
                }
            }
        }
    }
}

/// The environment and the target of an event, as far as it has them.
fn scopes(event: &Event) -> impl Iterator<Item = &str> {
    event.environment.iter().chain(&event.target).map(String::as_str)
}

/// The keys that lead to an event. A target that was found was found with its pin.
fn keys(event: &Event) -> impl Iterator<Item = String> {
    let pin = pin_key(event).filter(|_| event.kind == EventKind::TargetFound);
    Some(event.key.clone()).filter(|key| !key.is_empty()).into_iter().chain(pin)
}

/// The key under which a target that was found in sync is known to be.
fn alias(event: &Event) -> Option<String> {
    let (target, commit) = (event.target.as_ref()?, event.commit.as_ref()?);
    (event.kind == EventKind::TargetFound).then(|| format!("{}|{target}|{commit}", EventKind::InSync))
}

/// The event with its texts cut to what is kept of them.
fn short(mut event: Event) -> Event {
    let texts = [&mut event.text, &mut event.subject, &mut event.author, &mut event.version, &mut event.previous];
    for text in texts.into_iter().flatten() {
        if let Some((at, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(at);
            text.push('…');
        }
    }
    event
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Folder { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
