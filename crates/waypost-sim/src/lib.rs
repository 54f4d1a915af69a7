//! A whole Waypost cluster in virtual time.
//!
//! A [`World`] holds processes (the pure machines of `waypost-router`), the links between them and a session store, and
//! plays for each process the part of its driver. The next thing to happen is always the next event in virtual time, and
//! everything that could go one way or another is drawn from one seed: the same seed and the same calls give the same
//! run, which [`World::fingerprint`] shows.
//!
//! An [`Oracle`] watches every run: a delivery to a client that the server does not hold, a second delivery, a delivery out
//! of order, a second outcome or an outcome that is not true panics where it happens.

mod driver;
mod net;
mod oracle;
mod process;
mod rng;
mod store;
mod trace;
mod world;

pub use oracle::Oracle;
pub use process::{Kind, ProcessId, Ticket};
pub use rng::Rng;
pub use store::{Store, StoreMode};
pub use world::World;
