//! The configuration: flags over environment over file over defaults.

pub mod layers;
pub mod settings;
mod text;

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use waypost_node::transport::EndpointUrl;
use waypost_peer::{Settings, TlsFiles, WhenStoreIsLost};
use waypost_types::{Identity, Location};

use super::Program;
use layers::{Layer, Source};

const DEFAULT_BROKER: &str = "tcp://127.0.0.1:4600";
const DEFAULT_SERVER_LISTEN: &str = "tcp://127.0.0.1:0";
const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Shortest lease: what every store can keep.
const LEASE_TERM_MIN: Duration = Duration::from_millis(100);
/// Smallest frame and queue that make sense: two addresses and a little more.
const BYTES_MIN: usize = 4 << 10;
/// Largest of either.
const BYTES_MAX: usize = 1 << 30;

/// Something that `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden<T>(pub T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Couchbase's own client says at `info` what it does, at every start and for each connection.
const DEFAULT_LOG: &str = "info,couchbase=warn,couchbase_core=warn";

/// How log records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line a record, for people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Plays the demo as server `id` of `total`.
    Demo {
        /// 1 to `total`.
        id: u32,
        /// How many servers play.
        total: u32,
    },
    /// Obeys JSON lines.
    Stdio,
}

/// Everything an executable was told, checked.
#[derive(Debug)]
pub struct Config {
    /// The server's name; none for a broker.
    pub identity: Option<Identity>,
    /// Endpoints to listen on.
    pub listen: Vec<String>,
    /// Where others reach this node.
    pub advertise: Option<String>,
    /// The store's URL; the default store if none.
    pub store: Option<Hidden<String>>,
    /// Brokers to attach to.
    pub brokers: Vec<String>,
    /// Settings of the node.
    pub settings: Settings,
    /// The cluster's key.
    pub cluster_key: Option<Hidden<Vec<u8>>>,
    /// What secures `tls://` links.
    pub tls: Option<TlsFiles>,
    /// How long moving out may take.
    pub drain_deadline: Duration,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Where to write that the program is ready.
    pub ready_file: Option<PathBuf>,
    /// What a server does.
    pub mode: Mode,
}

/// The positional arguments of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Positions {
    /// `ID`.
    pub id: Option<u32>,
    /// `TOTAL`.
    pub total: Option<u32>,
}

impl Config {
    /// Checks what was given.
    ///
    /// # Errors
    /// Says which setting is wrong, where it was given and what it takes.
    pub fn new(program: Program, positions: Positions, layer: &Layer) -> Result<Self> {
        let values = Values { layer };
        let stdio = values.one("stdio", text::switch)?.unwrap_or(false);
        let (mode, identity) = if program.is_server() {
            let mode = mode(stdio, positions)?;
            let identity = values.one("identity", |text| {
                Identity::new(text).map_err(|error| error.to_string())
            })?;
            (
                mode,
                Some(identity.map_or_else(|| default_identity(positions), Ok)?),
            )
        } else {
            (Mode::Stdio, None)
        };
        let default_listen = if program == Program::Broker {
            DEFAULT_BROKER
        } else {
            DEFAULT_SERVER_LISTEN
        };
        let (listen, advertise) = places(program, &values, default_listen)?;
        Ok(Self {
            identity,
            listen,
            advertise,
            store: values.one("store", string)?.map(Hidden),
            brokers: values.endpoints(program, "broker", DEFAULT_BROKER)?,
            settings: node_settings(&values)?,
            cluster_key: cluster_key(&values)?.map(Hidden),
            tls: tls_files(&values)?,
            drain_deadline: values
                .one("drain-deadline", text::duration)?
                .unwrap_or(DEFAULT_DRAIN_DEADLINE),
            log: values
                .one("log", string)?
                .unwrap_or_else(|| DEFAULT_LOG.to_owned()),
            log_format: values.one("log-format", log_format)?.unwrap_or(LogFormat::Text),
            ready_file: values.one("ready-file", string)?.map(PathBuf::from),
            mode,
        })
    }
}

/// Where to listen, and where others reach this node if not there. Both are checked here although the node checks them too: a
/// wrong one is told before a store is waited for.
fn places(
    program: Program,
    values: &Values<'_>,
    default_listen: &str,
) -> Result<(Vec<String>, Option<String>)> {
    let listen = values.endpoints(program, "listen", default_listen)?;
    if !settings::applies("advertise", program) {
        return Ok((listen, None));
    }
    let advertise = values.one("advertise", |text| {
        if endpoint(text)?.is_wildcard() {
            return Err("nobody can dial it: name one address of this machine".to_owned());
        }
        Location::new(text).map_err(|error| error.to_string())?;
        Ok(text.to_owned())
    })?;
    let everywhere = |url: &String| endpoint(url).is_ok_and(|url| url.is_wildcard());
    if advertise.is_none() && listen.first().is_some_and(everywhere) {
        bail!("advertise: it listens on every interface, so say by which URL the other nodes reach it");
    }
    Ok((listen, advertise))
}

fn mode(stdio: bool, positions: Positions) -> Result<Mode> {
    if let Positions {
        id: Some(id),
        total: Some(total),
    } = positions
    {
        if id == 0 || id > total {
            bail!("ID is {id}: give 1 to TOTAL, which is {total}");
        }
        if !stdio {
            return Ok(Mode::Demo { id, total });
        }
    } else if !stdio {
        bail!("give ID and TOTAL, the demo's server and how many there are, for example `1 3`; or --stdio");
    }
    Ok(Mode::Stdio)
}

fn default_identity(positions: Positions) -> Result<Identity> {
    let id = positions
        .id
        .ok_or_else(|| anyhow!("which server is this? give --identity NAME, or ID"))?;
    Ok(Identity::new(&format!("server-{id}"))?)
}

fn node_settings(values: &Values<'_>) -> Result<Settings> {
    let defaults = Settings::default();
    let bytes =
        |text: &str| text::size(text).and_then(|bytes| within(bytes, BYTES_MIN..=BYTES_MAX, "4KiB to 1GiB"));
    let lease_term = values.one("lease-term", |text| {
        text::duration(text).and_then(|term| within(term, LEASE_TERM_MIN..=Duration::MAX, "at least 100ms"))
    })?;
    let lease_term = lease_term.unwrap_or(defaults.lease_term);
    let positive = |text: &str| {
        text::duration(text)
            .and_then(|time| within(time, Duration::from_millis(1)..=Duration::MAX, "at least 1ms"))
    };
    let heartbeat = values.one("heartbeat", |text| {
        positive(text).and_then(|every| {
            within(
                every,
                Duration::ZERO..=lease_term / 2,
                "at most half of lease-term",
            )
        })
    })?;
    let number = |text: &str| {
        text.parse()
            .ok()
            .filter(|&number: &u32| number > 0)
            .ok_or_else(|| "not a number of at least 1".to_owned())
    };
    let queue_bytes_max = values
        .one("queue-bytes", bytes)?
        .unwrap_or(defaults.queue_bytes_max);
    let frame_bytes_max = values
        .one("frame-bytes", bytes)?
        .unwrap_or(defaults.frame_bytes_max);
    if frame_bytes_max > queue_bytes_max {
        bail!(
            "frame-bytes is {frame_bytes_max} and queue-bytes {queue_bytes_max}: a queue must hold a frame"
        );
    }
    Ok(Settings {
        lease_term,
        heartbeat: heartbeat.or(defaults.heartbeat),
        send_deadline: values
            .one("send-deadline", positive)?
            .unwrap_or(defaults.send_deadline),
        queue_bytes_max,
        inbox_bytes_max: values
            .one("inbox-bytes", bytes)?
            .unwrap_or(defaults.inbox_bytes_max),
        frame_bytes_max,
        announce_per_second: values
            .one("announce-per-second", number)?
            .unwrap_or(defaults.announce_per_second),
        claims_per_second: values
            .one("claims-per-second", number)?
            .unwrap_or(defaults.claims_per_second),
        connects_max: values
            .one("connects-max", number)?
            .map_or(defaults.connects_max, |number| {
                usize::try_from(number).unwrap_or(usize::MAX)
            }),
        stall: values.one("stall", positive)?.unwrap_or(defaults.stall),
        when_store_is_lost: values
            .one("when-store-is-lost", when_store_is_lost)?
            .unwrap_or(defaults.when_store_is_lost),
    })
}

fn cluster_key(values: &Values<'_>) -> Result<Option<Vec<u8>>> {
    // The value itself is in no error.
    let key = values.one("cluster-key", |text| {
        if text.is_empty() {
            Err("is empty".to_owned())
        } else {
            Ok(text.as_bytes().to_vec())
        }
    })?;
    let Some(path) = values.one("cluster-key-file", string)? else {
        return Ok(key);
    };
    if key.is_some() {
        bail!("cluster-key and cluster-key-file are both given: give one");
    }
    let mut key = std::fs::read(&path).with_context(|| format!("cannot read the cluster key from {path}"))?;
    if key.last() == Some(&b'\n') {
        key.pop();
        if key.last() == Some(&b'\r') {
            key.pop();
        }
    }
    if key.is_empty() {
        bail!("cluster-key-file: {path} is empty");
    }
    Ok(Some(key))
}

fn tls_files(values: &Values<'_>) -> Result<Option<TlsFiles>> {
    let file = |key| Ok::<_, anyhow::Error>(values.one(key, string)?.map(PathBuf::from));
    match (file("tls-cert")?, file("tls-key")?, file("tls-ca")?) {
        (None, None, None) => Ok(None),
        (Some(cert), Some(key), Some(ca)) => Ok(Some(TlsFiles { cert, key, ca })),
        _ => bail!("tls-cert, tls-key and tls-ca go together: give all three or none"),
    }
}

fn endpoint(text: &str) -> Result<EndpointUrl, String> {
    text.parse::<EndpointUrl>().map_err(|error| error.to_string())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("neither text nor json: {text:?}")),
    }
}

fn when_store_is_lost(text: &str) -> Result<WhenStoreIsLost, String> {
    match text {
        "serve" => Ok(WhenStoreIsLost::Serve),
        "fence" => Ok(WhenStoreIsLost::Fence),
        _ => Err(format!("neither serve nor fence: {text:?}")),
    }
}

fn within<T: PartialOrd>(value: T, range: core::ops::RangeInclusive<T>, wanted: &str) -> Result<T, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("out of range: give {wanted}"))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a reader of values, like the others")]
fn string(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A value that is wrong, by the name of its setting as it was given.
fn wrong(key: &str, source: &Source, message: &str) -> anyhow::Error {
    match source {
        Source::Flag => anyhow!("--{key}: {message}"),
        Source::Environment => {
            let variable = settings::find(key)
                .map(settings::Setting::variable)
                .unwrap_or_default();
            anyhow!("{variable}: {message}")
        }
        Source::File(path) => anyhow!("{}: {key}: {message}", path.display()),
    }
}

/// Reads values and says where a wrong one was given.
struct Values<'a> {
    layer: &'a Layer,
}

impl Values<'_> {
    fn one<T>(&self, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>> {
        let Some(given) = self.layer.get(key) else {
            return Ok(None);
        };
        let text = given.values.first().map_or("", String::as_str);
        read(text)
            .map(Some)
            .map_err(|message| wrong(key, &given.source, &message))
    }

    /// A list of endpoints; what this program has no use for is not looked at.
    fn endpoints(&self, program: Program, key: &str, default: &str) -> Result<Vec<String>> {
        let urls = self.many(key, default);
        if let Some(given) = self.layer.get(key)
            && settings::applies(key, program)
        {
            for url in &urls {
                endpoint(url).map_err(|message| wrong(key, &given.source, &message))?;
            }
        }
        Ok(urls)
    }

    fn many(&self, key: &str, default: &str) -> Vec<String> {
        match self.layer.get(key) {
            Some(given) if !given.values.is_empty() => given.values.clone(),
            _ => vec![default.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests;
