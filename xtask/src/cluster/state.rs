//! The state file: what runs, so that another `cargo xtask cluster ...` can act on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::process::ProcessId;
use crate::workspace::Workspace;

/// What a process of the cluster is; also the order in which they stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Server,
    Broker,
    Datastore,
}

impl Role {
    pub(crate) const STOP_ORDER: [Self; 3] = [Self::Server, Self::Broker, Self::Datastore];

    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Broker => "broker",
            Self::Datastore => "datastore",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        Self::STOP_ORDER
            .into_iter()
            .find(|role| role.name() == name)
            .with_context(|| format!("the state file names an unknown role '{name}'"))
    }
}

/// One process of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) id: ProcessId,
    /// Where it listens, once it is ready; empty for a server attached to a broker.
    pub(crate) address: String,
    /// Its stdout.
    pub(crate) out: PathBuf,
    /// Its stderr.
    pub(crate) log: PathBuf,
}

/// A cluster that has been started and not yet cleaned up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The run's own directory: logs, ready files, the embedded store.
    pub(crate) dir: PathBuf,
    pub(crate) topology: String,
    /// Without its password.
    pub(crate) store: String,
    /// The `cluster up` that starts or holds it; none for a detached cluster.
    pub(crate) owner: Option<ProcessId>,
    pub(crate) members: Vec<Member>,
}

impl State {
    /// Whether anything of it still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.owner.as_ref().is_some_and(ProcessId::is_alive)
            || self.members.iter().any(|member| member.id.is_alive())
    }

    pub(crate) fn member(&self, name: &str) -> Result<&Member> {
        self.members
            .iter()
            .find(|member| member.name == name)
            .with_context(|| {
                let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
                format!(
                    "there is no '{name}' in this cluster; there are {}",
                    names.join(", ")
                )
            })
    }

    fn to_json(&self) -> Value {
        let id = |id: &ProcessId| json!({ "pid": id.pid(), "started": id.started() });
        json!({
            "dir": self.dir,
            "topology": self.topology,
            "store": self.store,
            "owner": self.owner.as_ref().map(id),
            "members": self.members.iter().map(|member| json!({
                "name": member.name,
                "role": member.role.name(),
                "process": id(&member.id),
                "address": member.address,
                "out": member.out,
                "log": member.log,
            })).collect::<Vec<_>>(),
        })
    }

    fn from_json(value: &Value) -> Result<Self> {
        let members = value["members"].as_array().context("no members")?;
        Ok(Self {
            dir: text(value, "dir")?.into(),
            topology: text(value, "topology")?,
            store: text(value, "store")?,
            owner: if value["owner"].is_null() {
                None
            } else {
                Some(process_id(&value["owner"])?)
            },
            members: members
                .iter()
                .map(|member| {
                    Ok(Member {
                        name: text(member, "name")?,
                        role: Role::parse(&text(member, "role")?)?,
                        id: process_id(&member["process"])?,
                        address: text(member, "address")?,
                        out: text(member, "out")?.into(),
                        log: text(member, "log")?.into(),
                    })
                })
                .collect::<Result<_>>()?,
        })
    }
}

fn text(value: &Value, key: &str) -> Result<String> {
    value[key]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no text '{key}'"))
}

fn process_id(value: &Value) -> Result<ProcessId> {
    let pid = value["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .context("no pid")?;
    Ok(ProcessId::saved(pid, text(value, "started")?))
}

/// `target/cluster/`, where the state file and the runs' directories are.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    root: PathBuf,
}

impl Home {
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        Ok(Self {
            dir: workspace.target_dir()?.join("cluster"),
            root: workspace.root().to_owned(),
        })
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// A path as seen from the repository's root, for messages.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// The cluster of the state file, running or not; `None` where there is no file.
    pub(crate) fn load(&self) -> Result<Option<State>> {
        let file = self.state_file();
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        serde_json::from_slice(&bytes)
            .map_err(anyhow::Error::from)
            .and_then(|value| State::from_json(&value))
            .map(Some)
            .with_context(|| format!("{} is damaged: remove it", file.display()))
    }

    /// Replaces the state file in one step.
    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let file = self.state_file();
        let fresh = self.dir.join(format!("state.json.{}", std::process::id()));
        fs::write(&fresh, format!("{:#}\n", state.to_json()))
            .and_then(|()| fs::rename(&fresh, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Fails when a cluster runs.
    pub(crate) fn check_free(&self) -> Result<()> {
        if self.load()?.is_some_and(|state| state.is_running()) {
            bail!("a cluster is running already: `cargo xtask cluster down` ends it, `status` shows it");
        }
        Ok(())
    }

    /// Takes the place of the one running cluster and makes a directory for it. What earlier runs left is removed.
    pub(crate) fn begin(&self, topology: &str, store: &str) -> Result<State> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        // Two `up` at once: the second waits here and then finds the first one's state. The lock is on the directory
        // itself, so that no lock file is left.
        let lock = File::open(&self.dir).context("cannot open the cluster directory")?;
        flock(&lock, FlockOperation::LockExclusive).context("cannot lock the cluster directory")?;
        self.check_free()?;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let dir = self.dir.join(format!("{since}-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let state = State {
            dir,
            topology: topology.to_owned(),
            store: store.to_owned(),
            owner: Some(ProcessId::of(std::process::id())?),
            members: Vec::new(),
        };
        self.save(&state)?;
        Ok(state)
    }

    /// Removes all that the cluster left but its logs: its store with the lock in it, its ready files, the state file.
    pub(crate) fn end(&self, state: &State) -> Result<()> {
        let logs: Vec<&Path> = state
            .members
            .iter()
            .flat_map(|member| [member.out.as_path(), &member.log])
            .collect();
        if let Ok(entries) = fs::read_dir(&state.dir) {
            for entry in entries {
                let path = entry?.path();
                if logs.contains(&path.as_path()) {
                    continue;
                }
                let removed = if path.is_dir() {
                    fs::remove_dir_all(&path)
                } else {
                    fs::remove_file(&path)
                };
                removed.with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        match fs::remove_file(self.state_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove the cluster's state file")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &Path) -> Home {
        Home {
            dir: dir.join("cluster"),
            root: dir.to_owned(),
        }
    }

    fn member(state: &State, name: &str, id: ProcessId) -> Member {
        let path = |suffix: &str| state.dir.join(format!("{name}.{suffix}"));
        Member {
            name: name.to_owned(),
            role: Role::Server,
            id,
            address: "tcp://127.0.0.1:1".to_owned(),
            out: path("out"),
            log: path("log"),
        }
    }

    #[test]
    fn state_survives_saving_and_loading() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        assert_eq!(home.load().unwrap(), None);
        let mut state = home.begin("broker", "redis://***@h").unwrap();
        state
            .members
            .push(member(&state, "server-1", ProcessId::saved(7, "8".to_owned())));
        home.save(&state).unwrap();
        assert_eq!(home.load().unwrap(), Some(state.clone()));
        assert_eq!(state.member("server-1").unwrap().id.pid(), 7);
        assert!(
            state
                .member("server-9")
                .unwrap_err()
                .to_string()
                .contains("there are server-1")
        );
    }

    #[test]
    fn a_second_cluster_is_refused_while_the_first_runs() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        home.begin("brokerless", "embedded:x").unwrap();
        let error = home.begin("brokerless", "embedded:x").unwrap_err().to_string();
        assert!(error.contains("cluster down"), "{error}");
    }

    #[test]
    fn what_a_dead_cluster_left_does_not_stand_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let mut state = home.begin("brokerless", "embedded:x").unwrap();
        let recycled = ProcessId::saved(std::process::id(), "1".to_owned());
        state.owner = Some(recycled.clone());
        state.members.push(member(&state, "server-1", recycled));
        home.save(&state).unwrap();
        fs::write(state.dir.join("server-1.log"), "x").unwrap();
        home.begin("brokerless", "embedded:x").unwrap();
    }

    #[test]
    fn ending_keeps_the_logs_and_nothing_else_and_may_be_done_twice() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let mut state = home.begin("brokerless", "embedded:x").unwrap();
        state
            .members
            .push(member(&state, "server-1", ProcessId::saved(7, "8".to_owned())));
        fs::create_dir(state.dir.join("store")).unwrap();
        for file in ["store/lock.mdb", "server-1.log", "server-1.out", "server-1.ready"] {
            fs::write(state.dir.join(file), "x").unwrap();
        }
        home.end(&state).unwrap();
        home.end(&state).unwrap();
        let mut left: Vec<_> = fs::read_dir(&state.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["server-1.log", "server-1.out"]);
        assert_eq!(home.load().unwrap(), None);
    }

    #[test]
    fn a_damaged_state_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        fs::create_dir_all(&home.dir).unwrap();
        fs::write(home.state_file(), "{").unwrap();
        assert!(home.load().unwrap_err().to_string().contains("damaged"));
    }
}
