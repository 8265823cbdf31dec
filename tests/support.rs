//! What the tests share: real servers, the built program, and what they see of the simulator.

pub(crate) mod aws;
pub(crate) mod forge;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod loopback;
pub(crate) mod masked;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod promtool;
pub(crate) mod python;
pub(crate) mod shop;
pub(crate) mod stage;
pub(crate) mod terminal;
pub(crate) mod turn;
pub(crate) mod typed;
pub(crate) mod view;
