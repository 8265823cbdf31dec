//! The record of every AWS call that was made.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// From 1, without gaps.
    pub(crate) sequence: u64,
    /// RFC 3339.
    pub(crate) at: String,
    /// Engine milliseconds.
    pub(crate) engine: u64,
    pub(crate) account: Option<String>,
    /// The caller's ARN; a role session's name is its last part.
    #[serde(default)]
    pub(crate) caller: Option<String>,
    pub(crate) service: String,
    pub(crate) region: String,
    pub(crate) operation: String,
    /// Whether the operation changes an account's resources.
    pub(crate) write: bool,
    pub(crate) params: Value,
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    /// The action that no policy allows, if the call was refused for that.
    #[serde(default)]
    pub(crate) denied: Option<String>,
    pub(crate) request_id: String,
}

/// All calls, oldest first; also in a file, one JSON line each, if the simulator keeps its state.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
    file: Option<File>,
}

impl Journal {
    /// Goes on with the journal in a file, as far as the world in the state file knows of it. What was noted after that
    /// world was saved never took effect: a crash came between, and nobody was answered.
    pub(crate) fn open(path: &Path, known: u64) -> std::io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        // A line that was cut off by a crash is no entry.
        let entries: Vec<Entry> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let all = entries.len();
        let entries: Vec<Entry> = entries.into_iter().filter(|entry| entry.sequence <= known).collect();
        if entries.len() < all || text.lines().count() > all {
            let mut kept = Vec::new();
            for entry in &entries {
                serde_json::to_writer(&mut kept, entry)?;
                kept.push(b'\n');
            }
            super::state::replace(path, &kept)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { entries, file: Some(file) })
    }

    /// The number of the newest entry.
    pub(crate) fn last(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.sequence)
    }

    /// Adds an entry under the next number.
    pub(crate) fn add(&mut self, mut entry: Entry) {
        entry.sequence = self.last() + 1;
        if let Some(file) = &mut self.file
            && let Ok(mut line) = serde_json::to_vec(&entry)
        {
            line.push(b'\n');
            if let Err(error) = file.write_all(&line) {
                tracing::warn!(%error, "the simulator's journal can't be written");
            }
        }
        self.entries.push(entry);
    }

    /// Entries after a number.
    pub(crate) fn since(&self, sequence: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip_while(move |entry| entry.sequence <= sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(operation: &str) -> Entry {
        Entry {
            sequence: 0,
            at: "2026-01-01T00:00:00Z".to_owned(),
            engine: 0,
            account: None,
            caller: None,
            service: "autoscaling".to_owned(),
            region: "us-west-1".to_owned(),
            operation: operation.to_owned(),
            write: true,
            params: Value::Null,
            status: 200,
            code: None,
            denied: None,
            request_id: String::new(),
        }
    }

    #[test]
    fn what_the_saved_world_does_not_know_of_never_happened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, 0).unwrap();
        ["first", "second", "third"].iter().for_each(|operation| journal.add(entry(operation)));
        // Killed while the fourth line was being written, and before the world with the third call was saved.
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "{\"sequence\":4,").unwrap();
        let mut journal = Journal::open(&path, 2).unwrap();
        journal.add(entry("again"));
        let journal = Journal::open(&path, 3).unwrap();
        let told: Vec<_> = journal.since(0).map(|entry| (entry.sequence, entry.operation.as_str())).collect();
        assert_eq!(told, [(1, "first"), (2, "second"), (3, "again")]);
    }
}
