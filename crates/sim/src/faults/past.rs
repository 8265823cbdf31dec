//! What the world was like a while ago: for reads that lag behind writes.

use std::collections::VecDeque;

use crate::world::World;

/// The world at earlier times, oldest first. Kept only while some fault makes reads lag.
#[derive(Debug, Default)]
pub(crate) struct Past(VecDeque<(u64, World)>);

impl Past {
    /// Keeps the world as it is now for as long as it may be asked for: `longest` milliseconds of engine time.
    pub(crate) fn note(&mut self, world: &mut World, longest: u64) {
        if longest == 0 {
            return self.forget();
        }
        // The log is long, and nobody reads it by AWS's operations.
        let log = std::mem::take(&mut world.log);
        self.0.push_back((world.now, world.clone()));
        world.log = log;
        // One that is older than asked for stays: it shows how things were until the next one.
        while self.0.get(1).is_some_and(|(at, _)| at.saturating_add(longest) < world.now) {
            self.0.pop_front();
        }
    }

    /// Keeps nothing of what was.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// The world as it was `lag` milliseconds before `now`, or as long ago as is known.
    pub(crate) fn at(&self, now: u64, lag: u64) -> Option<World> {
        let then = now.saturating_sub(lag);
        let known = self.0.iter().rev().find(|(at, _)| *at <= then).or_else(|| self.0.front());
        known.map(|(_, world)| world.clone())
    }
}
