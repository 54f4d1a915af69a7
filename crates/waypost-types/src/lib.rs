#![doc = include_str!("../README.md")]

mod lease;
mod limits;
mod name;
mod outcome;
mod session;
mod time;

pub use lease::{Lease, LeaseState, Location};
pub use limits::{
    ADDRESS_BYTES_MAX, DEFAULT_FRAME_BYTES_MAX, DEFAULT_HANDSHAKE_FRAME_BYTES_MAX, DEFAULT_HEARTBEAT_DIVISOR,
    DEFAULT_INBOX_BYTES_MAX, DEFAULT_LEASE_TERM, DEFAULT_QUEUE_BYTES_MAX, DEFAULT_SEND_DEADLINE, HOPS_MAX,
    IDENTITY_BYTES_MAX, LOCATION_BYTES_MAX,
};
pub use name::{Address, Identity, NameError};
pub use outcome::{Outcome, ParseOutcomeError};
pub use session::{Incarnation, Owner, Seq, Session};
pub use time::MonoTime;
