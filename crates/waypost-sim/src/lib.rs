//! A whole Waypost cluster in virtual time.
//!
//! A [`World`] holds processes (the pure machines of `waypost-router`), the links between them and a session store, and
//! plays for each process the part of its driver. The next thing to happen is always the next event in virtual time, and
//! everything that could go one way or another is drawn from one seed: the same seed and the same calls give the same
//! run, line by line.
//!
//! An [`Oracle`] watches every run and panics where a promise is broken. A [`Story`](story) is a whole run of its own: what
//! the cluster is, what its programs do and what goes wrong, all from one seed.

mod calls;
mod driver;
mod faults;
mod links;
mod net;
mod oracle;
mod process;
mod program;
mod rng;
mod store;
pub mod story;
mod trace;
mod view;
mod world;

pub use oracle::{CALM_TERMS, Oracle, Trouble};
pub use process::{Kind, ProcessId, Ticket};
pub use rng::Rng;
pub use store::{Store, StoreFlaw, StoreMode};
pub use world::World;
