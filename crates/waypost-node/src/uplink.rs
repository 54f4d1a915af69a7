//! An attached peer's link to one of its brokers: opened again and again, with jittered back-off.

use std::sync::Arc;
use std::time::Duration;

use waypost_router::Whose;
use waypost_wire::Role;

use crate::driver::Driver;
use crate::link::{handshake_settings, open, serve};
use crate::link_writer::LinkHandle;

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Keeps a link open to one of `brokers` until the driver ends.
pub(crate) async fn keep(driver: Arc<Driver>, brokers: Vec<String>) {
    let settings = handshake_settings(&driver, Role::Peer);
    let mut pause = PAUSE_FIRST;
    for broker in brokers.iter().cycle() {
        match open(broker, &driver.link_settings.dial, &settings).await {
            Ok(established) => {
                tracing::info!(broker, "attached");
                let opened_at = tokio::time::Instant::now();
                let handle = Arc::new(LinkHandle::new(Whose::Endpoint));
                driver.set_uplink(Some(Arc::clone(&handle)));
                serve(&driver, Whose::Endpoint, established, &handle).await;
                driver.set_uplink(None);
                tracing::warn!(broker, "the link to the broker is down");
                if opened_at.elapsed() > PAUSE_MAX {
                    pause = PAUSE_FIRST;
                }
            }
            Err(error) => tracing::warn!(broker, error, "cannot attach"),
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
