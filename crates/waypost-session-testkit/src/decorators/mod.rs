//! Stores around a store: one that breaks on demand, one that counts.

mod fault;
mod record;
mod verb;

pub use fault::{Fault, FaultStore, Faults};
pub use record::{Calls, RecordStore};
pub use verb::Verb;
