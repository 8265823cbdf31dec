//! What the forge tells Pinion, and what Pinion tells the forge and others: the built program, a real Git server, and a
//! real HTTP server in the place of the forge, which fails when the test says so.

mod hooks;
mod ledger;
mod notifications;
mod statuses;
