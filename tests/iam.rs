//! The policies that `pinion iam` generates are enough, and not more than enough: the built program converges every kind

//! of target against a simulator that enforces exactly these, and misses every part of them that is taken away.

mod cases;
mod documents;
mod limits;
mod removal;
mod world;
