//! Addresses for simulators. A controller that outlives its simulator, such as one whose test was killed, goes on asking the
//! address that it was given. The system soon gives the port to another simulator, of this test or of another run of the
//! tests on this machine, and every simulator takes the same keys: the controller would write there. So each simulator has an
//! address of its own out of 127.0.0.0/8.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// An address with a free port that no other simulator is likely to have had: one of 16 million, by the number of this
/// process and how many it has been given.
pub(crate) fn own() -> SocketAddr {
    let mut hasher = DefaultHasher::new();
    (std::process::id(), GIVEN.fetch_add(1, Ordering::Relaxed)).hash(&mut hasher);
    let [a, b, c, ..] = hasher.finish().to_le_bytes();
    // The first and the last address of the network aren't those of a machine, and 127.0.0.1 is everybody's.
    (Ipv4Addr::new(127, a.clamp(1, 254), b, c), 0).into()
}
