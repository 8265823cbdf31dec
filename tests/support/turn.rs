//! Turns, for tests that keep the whole machine busy and those that measure time: never two of them at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Waits for the others that take turns. Hold what it returns as long as the test is busy.
pub(crate) fn mine() -> MutexGuard<'static, ()> {
    // A test that has failed has had its turn.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
