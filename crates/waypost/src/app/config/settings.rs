//! Every setting there is: the one list behind flags, environment and file.

use super::super::Program;

/// How often a setting may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// One value.
    One,
    /// A list: repeat the flag, separate by commas, or write a TOML array.
    Many,
    /// On or off; the flag alone means on.
    Switch,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file; the flag is `--KEY`, the variable `WAYPOST_KEY` in capitals with `_` for `-`.
    pub key: &'static str,
    /// What its value is called in the help.
    pub value: &'static str,
    /// How often it may be given.
    pub arity: Arity,
    /// Which executables have a use for it. The others take it in the environment and in a file that they share, and
    /// refuse it as a flag.
    pub programs: &'static [Program],
    /// Its line in the help.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("WAYPOST_{}", self.key.to_ascii_uppercase().replace('-', "_"))
    }
}

const ALL: &[Program] = &[Program::Broker, Program::Server, Program::Brokerless];
const SERVERS: &[Program] = &[Program::Server, Program::Brokerless];
const NODES: &[Program] = &[Program::Broker, Program::Brokerless];

const fn setting(
    key: &'static str,
    value: &'static str,
    arity: Arity,
    programs: &'static [Program],
    help: &'static str,
) -> Setting {
    Setting {
        key,
        value,
        arity,
        programs,
        help,
    }
}

/// All of them, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    setting(
        "identity",
        "NAME",
        Arity::One,
        SERVERS,
        "This server's name in the cluster [default: server-ID]",
    ),
    setting(
        "listen",
        "URL",
        Arity::Many,
        NODES,
        "Where to listen: tcp://HOST:PORT (port 0 takes a free one), unix:PATH, or tls://HOST:PORT in a build with the feature tls; \
         may be repeated [default: tcp://127.0.0.1:4600 for a broker, tcp://127.0.0.1:0 for a server]",
    ),
    setting(
        "advertise",
        "URL",
        Arity::One,
        NODES,
        "Where the others reach this node, if not at its first --listen",
    ),
    setting(
        "store",
        "URL",
        Arity::One,
        NODES,
        "The session store, the same for the whole cluster [default: embedded:PATH in your state directory, if \
         compiled in]",
    ),
    setting(
        "broker",
        "URL",
        Arity::Many,
        &[Program::Server],
        "A broker to attach to: tcp://HOST:PORT, unix:PATH, or tls://HOST:PORT in a build with the feature tls; may be repeated \
         [default: tcp://127.0.0.1:4600]",
    ),
    setting(
        "lease-term",
        "TIME",
        Arity::One,
        ALL,
        "How long a server counts as alive unheard [default: 10s]",
    ),
    setting(
        "heartbeat",
        "TIME",
        Arity::One,
        ALL,
        "How often a lease is renewed [default: a third of lease-term]",
    ),
    setting(
        "send-deadline",
        "TIME",
        Arity::One,
        ALL,
        "How long a send may take [default: 5s]",
    ),
    setting(
        "queue-bytes",
        "SIZE",
        Arity::One,
        ALL,
        "Bound of a link's outgoing queue [default: 4MiB]",
    ),
    setting(
        "inbox-bytes",
        "SIZE",
        Arity::One,
        ALL,
        "Bound of an inbox [default: 4MiB]",
    ),
    setting(
        "frame-bytes",
        "SIZE",
        Arity::One,
        ALL,
        "Largest frame on a link [default: 1MiB]",
    ),
    setting(
        "stall",
        "TIME",
        Arity::One,
        ALL,
        "How long a full queue is waited for before its messages fail [default: 100ms]",
    ),
    setting(
        "announce-per-second",
        "NUMBER",
        Arity::One,
        ALL,
        "Sessions announced again per second after an outage [default: 10000]",
    ),
    setting(
        "claims-per-second",
        "NUMBER",
        Arity::One,
        NODES,
        "Clients connected per second beside others' messages, and from other servers [default: 20000]",
    ),
    setting(
        "connects-max",
        "NUMBER",
        Arity::One,
        SERVERS,
        "Connects of a server under way at once; more are refused [default: 1048576]",
    ),
    setting(
        "when-store-is-lost",
        "CHOICE",
        Arity::One,
        ALL,
        "serve: known routes go on; fence: deliver nothing until the store answers [default: serve]",
    ),
    setting(
        "cluster-key",
        "TEXT",
        Arity::One,
        ALL,
        "Links only with nodes that know this key; other users may see flags, so prefer the file",
    ),
    setting(
        "cluster-key-file",
        "FILE",
        Arity::One,
        ALL,
        "Reads the cluster key from a file, without its last newline",
    ),
    setting(
        "tls-cert",
        "FILE",
        Arity::One,
        ALL,
        "This node's certificate chain, PEM, for tls:// links; needs tls-key, tls-ca and a build with the feature tls",
    ),
    setting(
        "tls-key",
        "FILE",
        Arity::One,
        ALL,
        "The private key of tls-cert, PEM",
    ),
    setting(
        "tls-ca",
        "FILE",
        Arity::One,
        ALL,
        "The authority of all nodes' certificates, PEM: both sides of a link check the other",
    ),
    setting(
        "drain-deadline",
        "TIME",
        Arity::One,
        ALL,
        "How long moving out may take at the end [default: 10s]",
    ),
    setting(
        "log",
        "FILTER",
        Arity::One,
        ALL,
        "What to log to stderr: info, waypost=debug, ... [default: info, and only warnings of Couchbase's client]",
    ),
    setting(
        "log-format",
        "FORMAT",
        Arity::One,
        ALL,
        "text or json [default: text]",
    ),
    setting(
        "ready-file",
        "FILE",
        Arity::One,
        ALL,
        "Writes identity, pid, listen and store to this file, as JSON, once ready; removes it at the end",
    ),
    setting(
        "stdio",
        "BOOL",
        Arity::Switch,
        SERVERS,
        "Serves by JSON lines on stdin and stdout, not by the demo",
    ),
];

/// The setting of that name.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Whether `program` has a use for the setting of that name.
pub(super) fn applies(key: &str, program: Program) -> bool {
    find(key).is_some_and(|setting| setting.programs.contains(&program))
}
