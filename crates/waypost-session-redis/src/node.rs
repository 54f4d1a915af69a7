//! One server: its connection, made again when it is lost, and requests with a deadline.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{Client, Pipeline, Value};
use tokio::time::{Instant, timeout_at};
use waypost_session::ErrorKind;

use crate::dial::{Dialler, Live};
use crate::fault::{Fault, Redactor};

/// How long a failure to connect is answered to all who ask before somebody tries again: no storm on a server that
/// comes up, and no caller waits for what has just failed.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What a server must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A master: a replica would serve old records.
    Master,
    /// Whatever it is: a node of a Cluster redirects by itself, a sentinel has no data.
    Any,
}

/// One server.
pub(crate) struct Node {
    addr: String,
    client: Client,
    role: Role,
    connect_timeout: Duration,
    redactor: Redactor,
    live: Mutex<Option<Live>>,
    /// Held by the one who connects; the last failure.
    dialling: tokio::sync::Mutex<Option<(Instant, Fault)>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.addr).finish()
    }
}

impl Node {
    pub(crate) fn new(
        dialler: &Dialler,
        host: &str,
        port: u16,
        role: Role,
        connect_timeout: Duration,
    ) -> Result<Arc<Self>, Fault> {
        Ok(Arc::new(Self {
            addr: address(host, port),
            client: dialler.client(host, port)?,
            role,
            connect_timeout,
            redactor: dialler.redactor.clone(),
            live: Mutex::new(None),
            dialling: tokio::sync::Mutex::new(None),
        }))
    }

    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Sends the commands in one go and waits for all the answers; an error answer is a value.
    pub(crate) async fn send(&self, commands: &Pipeline, deadline: Instant) -> Result<Vec<Value>, Fault> {
        let live = self.live(deadline).await?;
        let mut connection = live.connection.clone();
        match timeout_at(
            deadline,
            connection.send_packed_commands(commands, 0, commands.len()),
        )
        .await
        {
            Ok(Ok(values)) if values.len() == commands.len() => Ok(values),
            Ok(Ok(_)) => {
                live.give_up();
                Err(Fault::new(
                    ErrorKind::Unexpected,
                    format!("{}: an answer is missing", self.addr),
                )
                .sent())
            }
            Ok(Err(error)) => {
                live.give_up();
                Err(self.redactor.connection(&self.addr, &error).sent().moved())
            }
            Err(_) => {
                // The connection may be dead without a sign. Those who wait on it go on waiting; the next call makes
                // a new one.
                live.give_up();
                let message = format!("{}: no answer in time", self.addr);
                Err(Fault::new(ErrorKind::Timeout, message).sent().moved())
            }
        }
    }

    /// Ends the connection, if there is one.
    pub(crate) fn disconnect(&self) {
        self.slot().take();
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Live>> {
        // Nothing panics while it is held.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Live> {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(Live::is_lost) {
            *slot = None;
        }
        slot.clone()
    }

    async fn live(&self, deadline: Instant) -> Result<Live, Fault> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let Ok(mut failed) = timeout_at(deadline, self.dialling.lock()).await else {
            return Err(self.unavailable("still connecting"));
        };
        if let Some(live) = self.current() {
            return Ok(live);
        }
        if let Some((at, fault)) = &*failed
            && at.elapsed() < RETRY_PAUSE
        {
            return Err(fault.clone());
        }
        let until = deadline.min(Instant::now() + self.connect_timeout);
        let result = match timeout_at(until, self.dial()).await {
            Ok(result) => result,
            Err(_) => Err(self.unavailable("cannot connect in time")),
        };
        match result {
            Ok(live) => {
                *failed = None;
                *self.slot() = Some(live.clone());
                Ok(live)
            }
            Err(fault) => {
                let fault = fault.moved();
                *failed = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    }

    async fn dial(&self) -> Result<Live, Fault> {
        let fail = |error| self.redactor.connection(&self.addr, &error);
        let live = Live::connect(&self.client, self.connect_timeout)
            .await
            .map_err(fail)?;
        if self.role == Role::Master {
            self.check_master(&live).await?;
        }
        tracing::debug!(server = %self.addr, "connected");
        Ok(live)
    }

    async fn check_master(&self, live: &Live) -> Result<(), Fault> {
        let mut ask = Pipeline::with_capacity(1);
        ask.cmd("ROLE");
        let mut connection = live.connection.clone();
        let values = connection
            .send_packed_commands(&ask, 0, 1)
            .await
            .map_err(|error| self.redactor.connection(&self.addr, &error))?;
        match values.first() {
            Some(Value::Array(role)) if role.first().and_then(crate::reply::text) != Some("master") => {
                Err(self.unavailable("is a replica, and only a master can hold sessions"))
            }
            // Being loaded says more than a role.
            Some(Value::ServerError(error)) if error.code() != "NOPERM" && error.code() != "ERR" => {
                Err(self.redactor.reply(&self.addr, error))
            }
            // Without permission to ask, a replica shows itself at the first write.
            _ => Ok(()),
        }
    }

    fn unavailable(&self, what: &str) -> Fault {
        Fault::new(ErrorKind::Unavailable, format!("{}: {what}", self.addr)).moved()
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
