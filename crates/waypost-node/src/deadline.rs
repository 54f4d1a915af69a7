//! Points in time that never overflow.

use std::time::Duration;

use tokio::time::Instant;

/// So far away is as good as never.
const NEVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// The point `duration` from now, however long that is.
pub(crate) fn after(duration: Duration) -> Instant {
    Instant::now() + duration.min(NEVER)
}
