//! Tasks that have names, so that it can be said which one failed.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinError, JoinSet};

/// A set of named tasks.
#[derive(Debug, Default)]
pub(super) struct Crew {
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Crew {
    pub(super) fn spawn(&mut self, name: String, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// The next task that ends, and how; `None` if there is none. Nothing is lost when this is dropped.
    pub(super) async fn ended(&mut self) -> Option<(String, Result<(), JoinError>)> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.names.remove(&id).unwrap_or_default(), ended))
    }
}
