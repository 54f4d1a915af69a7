//! Bounds that hold in every process, and the defaults of the settings that every program shares.

use core::time::Duration;

/// Longest address, in bytes of UTF-8. The shortest is one byte.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Longest identity, in bytes of UTF-8. The shortest is one byte.
pub const IDENTITY_BYTES_MAX: usize = 128;
/// Longest location (a URL such as `tcp://10.0.0.1:4500`), in bytes of UTF-8. The shortest is one byte.
pub const LOCATION_BYTES_MAX: usize = 512;
/// How many nodes may pass one message on before it is given up; a bounce counts as a hop.
pub const HOPS_MAX: u8 = 8;

/// How long a lease is valid after its last renewal.
pub const DEFAULT_LEASE_TERM: Duration = Duration::from_secs(10);
/// A heartbeat comes every lease term divided by this.
pub const DEFAULT_HEARTBEAT_DIVISOR: u32 = 3;
/// How long a send may take before its outcome is `Expired` or `Unknown`.
pub const DEFAULT_SEND_DEADLINE: Duration = Duration::from_secs(5);
/// Bound of one link's outgoing queue, in bytes of encoded frames.
pub const DEFAULT_QUEUE_BYTES_MAX: usize = 4 << 20;
/// Bound of one inbox, in bytes.
pub const DEFAULT_INBOX_BYTES_MAX: usize = 4 << 20;
/// Largest frame on an established link, in bytes without its length prefix.
pub const DEFAULT_FRAME_BYTES_MAX: usize = 1 << 20;
/// Largest frame before the other side has been authenticated, in bytes without its length prefix.
pub const DEFAULT_HANDSHAKE_FRAME_BYTES_MAX: usize = 4 << 10;
