#![doc = include_str!("../README.md")]

mod builder;
pub mod cases;
mod ctx;
pub mod decorators;
mod rng;
mod run;
pub mod servers;
mod stop;

pub use builder::{ByUrl, Datastore, MemoryBuilder, Outage, StartError, StoreBuilder};
pub use cases::{CASES, Case};
pub use ctx::Ctx;
pub use rng::Rng;
pub use run::{Report, Verdict, run_case, run_one, run_suite};
pub use stop::Stop;
