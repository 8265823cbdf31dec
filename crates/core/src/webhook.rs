//! Push events of a forge: whether one is signed by a holder of the secret, and which branch moved. Pure.

pub mod push;
pub mod signature;
