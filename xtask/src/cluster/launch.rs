//! Starting a cluster's processes and learning where they listen.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::build::Executables;
use super::options::{Topology, UpOptions};
use super::state::{Home, Member, Role, State};
use super::store::{StoreChoice, has_credentials, redacted};
use super::{redis, tail};
use crate::interrupt::Interrupt;
use crate::needs;
use crate::process::ProcessId;

const POLL: Duration = Duration::from_millis(10);
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Another program may take the port that was chosen for Redis before Redis does.
const REDIS_ATTEMPTS: u32 = 5;

/// Settings that differ from process to process: set for all of them, they would make one of the cluster's processes out
/// of each. Others, such as `WAYPOST_LOG` and `WAYPOST_LEASE_TERM`, are the user's to set.
const OWN_SETTINGS: &[&str] = &[
    "WAYPOST_ADVERTISE",
    "WAYPOST_BROKER",
    "WAYPOST_CONFIG",
    "WAYPOST_IDENTITY",
    "WAYPOST_LISTEN",
    "WAYPOST_READY_FILE",
    "WAYPOST_STDIO",
    "WAYPOST_STORE",
];

/// A cluster being started or held by this process.
#[derive(Debug)]
pub(crate) struct Cluster<'a> {
    home: &'a Home,
    interrupt: &'a Interrupt,
    pub(crate) state: State,
    children: Vec<(String, Child)>,
    /// A command that lets one more server join, driven by hand.
    pub(crate) join: String,
}

impl<'a> Cluster<'a> {
    pub(crate) fn new(home: &'a Home, interrupt: &'a Interrupt, state: State) -> Self {
        Self {
            home,
            interrupt,
            state,
            children: Vec::new(),
            join: String::new(),
        }
    }

    /// Starts the datastore where it is ours, then brokers, then servers; returns when all are ready.
    pub(crate) fn start(&mut self, options: &UpOptions, executables: &Executables) -> Result<()> {
        let store = self.store(&options.store)?;
        let brokers: Vec<String> = (1..=options.brokers)
            .map(|number| format!("broker-{number}"))
            .collect();
        for name in &brokers {
            let mut command = Command::new(executables.path("waypost-broker")?);
            command.args(["--listen", "tcp://127.0.0.1:0"]);
            add_store(&mut command, &store);
            self.spawn_waypost(name, Role::Broker, command)?;
        }
        let mut addresses = Vec::new();
        for name in &brokers {
            addresses.push(self.wait_ready(name)?);
        }
        let servers: Vec<String> = (1..=options.servers)
            .map(|number| format!("server-{number}"))
            .collect();
        for (index, name) in servers.iter().enumerate() {
            let place = [(index + 1).to_string(), options.servers.to_string()];
            let command = match options.topology {
                Topology::Broker => {
                    let mut command = Command::new(executables.path("waypost-server")?);
                    // Each begins with another broker, so that messages cross from one to the other.
                    let turn = index % addresses.len().max(1);
                    addresses.rotate_left(turn);
                    command.args(place).args(["--broker", &addresses.join(",")]);
                    addresses.rotate_right(turn);
                    command
                }
                Topology::Brokerless => {
                    let mut command = Command::new(executables.path("waypost-brokerless")?);
                    command.args(place).args(["--listen", "tcp://127.0.0.1:0"]);
                    add_store(&mut command, &store);
                    command
                }
            };
            self.spawn_waypost(name, Role::Server, command)?;
        }
        for name in &servers {
            self.wait_ready(name)?;
        }
        self.join = match options.topology {
            Topology::Broker => {
                let server = executables.path("waypost-server")?.display();
                format!(
                    "{server} --stdio --identity guest --broker {}",
                    addresses.join(",")
                )
            }
            Topology::Brokerless => {
                let server = executables.path("waypost-brokerless")?.display();
                format!("{server} --stdio --identity guest --store {}", self.state.store)
            }
        };
        Ok(())
    }

    /// The URL for the processes.
    fn store(&mut self, choice: &StoreChoice) -> Result<String> {
        match choice {
            StoreChoice::Embedded => {
                let dir = self.state.dir.join("store");
                fs::create_dir(&dir).context("cannot create the store's directory")?;
                let url = format!("embedded:{}", percent_encoded(&dir.to_string_lossy()));
                url.clone_into(&mut self.state.store);
                Ok(url)
            }
            StoreChoice::StartRedis => self.start_redis(),
            StoreChoice::Container(service) => {
                let url = service.start(|| self.interrupt.requested())?;
                self.state.store = redacted(&url);
                Ok(url)
            }
            StoreChoice::Url { url, .. } => Ok(url.clone()),
        }
    }

    fn start_redis(&mut self) -> Result<String> {
        let program = needs::redis_server()?;
        let dir = self.state.dir.join("redis-data");
        fs::create_dir(&dir).context("cannot create the directory of redis")?;
        for _ in 0..REDIS_ATTEMPTS {
            let port = redis::free_port()?;
            self.spawn("redis", Role::Datastore, redis::command(&program, port, &dir))?;
            let deadline = Instant::now() + READY_DEADLINE;
            while Instant::now() < deadline {
                self.check_interrupt()?;
                if self.exited("redis")?.is_some() {
                    break;
                }
                if redis::answers(port) && self.exited("redis")?.is_none() {
                    let url = format!("redis://127.0.0.1:{port}");
                    self.set_address("redis", &url)?;
                    url.clone_into(&mut self.state.store);
                    self.home.save(&self.state)?;
                    return Ok(url);
                }
                std::thread::sleep(POLL);
            }
            if self.exited("redis")?.is_none() {
                bail!(
                    "redis-server did not answer within {} s",
                    READY_DEADLINE.as_secs()
                );
            }
            self.forget("redis");
        }
        let log = tail::last_lines(&self.state.dir.join("redis.out"), 5).join("\n  ");
        bail!("redis-server does not start; its last lines:\n  {log}")
    }

    fn spawn_waypost(&mut self, name: &str, role: Role, mut command: Command) -> Result<()> {
        command.arg("--ready-file").arg(self.ready_file(name));
        for variable in OWN_SETTINGS {
            if !command.get_envs().any(|(name, _)| name == *variable) {
                command.env_remove(variable);
            }
        }
        self.spawn(name, role, command)
    }

    /// Starts one in a process group of its own: Ctrl-C in a terminal reaches us alone, and the order in which the
    /// others stop is ours.
    fn spawn(&mut self, name: &str, role: Role, mut command: Command) -> Result<()> {
        self.check_interrupt()?;
        let path = |suffix: &str| -> PathBuf { self.state.dir.join(format!("{name}.{suffix}")) };
        let (out, log) = (path("out"), path("log"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&out).with_context(|| format!("cannot create {}", out.display()))?)
            .stderr(File::create(&log).with_context(|| format!("cannot create {}", log.display()))?)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
        let id = ProcessId::of(child.id())?;
        self.children.push((name.to_owned(), child));
        self.state.members.push(Member {
            name: name.to_owned(),
            role,
            id,
            address: String::new(),
            out,
            log,
        });
        self.home.save(&self.state)
    }

    fn ready_file(&self, name: &str) -> PathBuf {
        self.state.dir.join(format!("{name}.ready"))
    }

    /// Waits until the process has said where it listens, and gives that address: empty where it listens nowhere.
    fn wait_ready(&mut self, name: &str) -> Result<String> {
        let file = self.ready_file(name);
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            self.check_interrupt()?;
            if let Ok(text) = fs::read_to_string(&file) {
                let address =
                    ready_address(&text).with_context(|| format!("{name} wrote a bad ready file"))?;
                self.set_address(name, &address)?;
                return Ok(address);
            }
            if let Some(status) = self.exited(name)? {
                bail!(
                    "{name} ended before it was ready ({status}){}",
                    self.last_words(name)
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "{name} is not ready after {} s{}",
                    READY_DEADLINE.as_secs(),
                    self.last_words(name)
                );
            }
            std::thread::sleep(POLL);
        }
    }

    fn check_interrupt(&self) -> Result<()> {
        if self.interrupt.requested() {
            bail!("interrupted while starting");
        }
        Ok(())
    }

    fn set_address(&mut self, name: &str, address: &str) -> Result<()> {
        if let Some(member) = self.state.members.iter_mut().find(|member| member.name == name) {
            address.clone_into(&mut member.address);
        }
        self.home.save(&self.state)
    }

    fn forget(&mut self, name: &str) {
        self.children.retain(|(child, _)| child != name);
        self.state.members.retain(|member| member.name != name);
    }

    /// Reaps the process if it has ended.
    fn exited(&mut self, name: &str) -> Result<Option<ExitStatus>> {
        match self.children.iter_mut().find(|(child, _)| child == name) {
            Some((_, child)) => child.try_wait().with_context(|| format!("cannot watch {name}")),
            None => Ok(None),
        }
    }

    /// Those that have ended since the last call.
    pub(crate) fn newly_ended(&mut self) -> Result<Vec<(String, ExitStatus)>> {
        let mut ended = Vec::new();
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait().with_context(|| format!("cannot watch {name}"))? {
                ended.push((name.clone(), status));
            }
        }
        self.children
            .retain(|(name, _)| ended.iter().all(|(other, _)| other != name));
        Ok(ended)
    }

    /// The last lines of a process's log, for a message about its end.
    pub(crate) fn last_words(&self, name: &str) -> String {
        let Ok(member) = self.state.member(name) else {
            return String::new();
        };
        let lines = tail::last_lines(&member.log, 5);
        if lines.is_empty() {
            return "; its log is empty".to_owned();
        }
        format!(
            "; last lines of {}:\n  {}",
            self.home.shown(&member.log),
            lines.join("\n  ")
        )
    }
}

/// A path as a part of a URL, where some characters mean something else.
fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for character in path.chars() {
        match character {
            '%' | '?' | '#' | ' ' | '@' => encoded.push_str(&format!("%{:02X}", u32::from(character))),
            other => encoded.push(other),
        }
    }
    encoded
}

/// A password goes through the environment: arguments are for everybody to read.
fn add_store(command: &mut Command, url: &str) {
    if has_credentials(url) {
        command.env("WAYPOST_STORE", url);
    } else {
        command.args([OsString::from("--store"), url.into()]);
    }
}

fn ready_address(text: &str) -> Result<String> {
    let value: Value = serde_json::from_str(text.trim())?;
    match &value["listen"] {
        Value::Null => Ok(String::new()),
        Value::Array(addresses) => Ok(addresses
            .first()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()),
        _ => bail!("'listen' is not a list"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_file_gives_the_first_address_or_none() {
        let text = r#"{"identity":"b","pid":1,"listen":["tcp://127.0.0.1:5","unix:/x"],"store":"s"}"#;
        assert_eq!(ready_address(text).unwrap(), "tcp://127.0.0.1:5");
        assert_eq!(ready_address(r#"{"listen":[]}"#).unwrap(), "");
        assert_eq!(ready_address(r#"{"identity":"s"}"#).unwrap(), "");
        assert!(ready_address(r#"{"listen":7}"#).is_err());
        assert!(ready_address("").is_err());
    }

    #[test]
    fn a_path_with_special_characters_becomes_a_url() {
        assert_eq!(
            percent_encoded("/a b/50%/c?d#e@f/ö"),
            "/a%20b/50%25/c%3Fd%23e%40f/ö"
        );
    }

    #[test]
    fn a_password_is_not_among_the_arguments() {
        let mut command = Command::new("x");
        add_store(&mut command, "redis://:secret@h");
        assert_eq!(command.get_args().count(), 0);
        let mut command = Command::new("x");
        add_store(&mut command, "redis://h");
        assert_eq!(command.get_args().count(), 2);
    }
}
