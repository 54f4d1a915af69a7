//! Datastores that run in a container: the compose files of `deploy/`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::needs;
use crate::output::say;
use crate::workspace::run_shown;

/// How long a node that has been started may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_secs(1);

/// A datastore with a compose file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Couchbase,
    Riak,
}

/// Ways to run a compose file, best first: the command, and what answers only when its engine runs.
const WAYS: [(&[&str], &[&str]); 3] = [
    (&["docker", "compose"], &["docker", "info"]),
    (&["docker-compose"], &["docker", "info"]),
    (&["podman", "compose"], &["podman", "info"]),
];

/// What was found of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// The engine's program is installed.
    engine: bool,
    /// So is what runs compose files.
    compose: bool,
    /// The engine answers.
    answers: bool,
}

/// Whether a datastore can be started, and if so which of [`WAYS`] to take.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Take(usize),
    /// Why not, and what to do.
    Cannot(String),
}

/// Decides from what was found of each way.
fn decide(found: [Found; WAYS.len()]) -> Decision {
    let ready = found
        .iter()
        .position(|found| found.engine && found.compose && found.answers);
    if let Some(way) = ready {
        return Decision::Take(way);
    }
    let name = |way: usize| WAYS[way].1[0];
    if let Some(way) = found.iter().position(|found| found.engine && found.compose) {
        return Decision::Cannot(format!(
            "{0} is installed and its engine does not answer (`{0} info` says why): start it",
            name(way)
        ));
    }
    Decision::Cannot(match found.iter().position(|found| found.engine) {
        Some(way) => format!(
            "{0} is installed and cannot run compose files: install its compose plugin (Debian: apt-get install docker-compose)",
            name(way)
        ),
        None => {
            "neither docker nor podman is installed: install one of them with its compose plugin".to_owned()
        }
    })
}

impl Service {
    /// As in `--store NAME`, and the directory in `deploy/`.
    const fn name(self) -> &'static str {
        match self {
            Self::Couchbase => "couchbase",
            Self::Riak => "riak",
        }
    }

    /// The store URL of what the compose file starts.
    pub(crate) const fn url(self) -> &'static str {
        match self {
            Self::Couchbase => "couchbase://server:open-sesame@127.0.0.1/waypost",
            Self::Riak => "riak+http://127.0.0.1:8098",
        }
    }

    /// What succeeds inside the node's container once the node can be used: its health check. Asked for by `exec`, since not
    /// everything that runs compose files can wait for one (`--wait`).
    const fn ready(self) -> &'static [&'static str] {
        match self {
            Self::Couchbase => &[
                "sh",
                "-c",
                "curl -sf -u server:open-sesame http://127.0.0.1:8091/pools/default/buckets/waypost | grep -q healthy",
            ],
            Self::Riak => &["riak-admin", "test"],
        }
    }

    fn refusal(self, why: &str) -> String {
        let name = self.name();
        let yours = match self {
            Self::Couchbase => "couchbase://USER:PASSWORD@HOST/BUCKET",
            Self::Riak => "riak+http://HOST:8098",
        };
        format!(
            "`--store {name}` runs a node in a container (deploy/{name}/compose.yml), and {why}. Or start a server yourself and name \
             it by its URL, as in --store {yours}"
        )
    }

    /// How to run compose files here.
    ///
    /// # Errors
    ///
    /// When nothing can; the message says what to do.
    pub(crate) fn way(self) -> Result<&'static [&'static str]> {
        match decide(WAYS.map(look)) {
            Decision::Take(way) => Ok(WAYS[way].0),
            Decision::Cannot(why) => bail!(self.refusal(&why)),
        }
    }

    /// Starts the node, unless it runs already, waits until it is healthy and returns its store URL. It stays when the cluster
    /// goes.
    ///
    /// # Errors
    ///
    /// When there is no container engine, or the node does not start.
    pub(crate) fn start(self, interrupted: impl Fn() -> bool) -> Result<String> {
        let way = self.way()?;
        let name = self.name();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/{name}/compose.yml"));
        let compose = |arguments: &[&str]| {
            let mut compose = command(way);
            compose.arg("-f").arg(&file).args(arguments);
            compose
        };
        if !run_shown(&mut compose(&["up", "--detach"]))?.success() {
            bail!("the {name} node does not start; see what the container engine says above");
        }
        let end = format!("{} -f deploy/{name}/compose.yml", way.join(" "));
        say!("cluster | waiting until the {name} node is ready");
        let deadline = Instant::now() + PATIENCE;
        // Nobody types here: without a terminal of its own.
        while !succeeds(compose(&["exec", "-T", name]).args(self.ready())) {
            if interrupted() {
                bail!("interrupted while the {name} node was starting; to end it: {end} down");
            }
            if Instant::now() >= deadline {
                bail!(
                    "the {name} node is not ready after {} s; see what it says: {end} logs",
                    PATIENCE.as_secs()
                );
            }
            thread::sleep(PAUSE);
        }
        say!("cluster | the {name} node stays when the cluster goes; to end it: {end} down");
        Ok(self.url().to_owned())
    }
}

fn look((compose, info): (&[&str], &[&str])) -> Found {
    let engine = needs::find(info[0]).is_some();
    let compose = engine && needs::find(compose[0]).is_some() && succeeds(command(compose).arg("version"));
    Found {
        engine,
        compose,
        answers: compose && succeeds(&mut command(info)),
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Found = Found {
        engine: false,
        compose: false,
        answers: false,
    };
    const READY: Found = Found {
        engine: true,
        compose: true,
        answers: true,
    };
    const ASLEEP: Found = Found {
        answers: false,
        ..READY
    };
    const BARE: Found = Found {
        compose: false,
        ..ASLEEP
    };

    fn why(found: [Found; 3]) -> String {
        match decide(found) {
            Decision::Cannot(why) => Service::Riak.refusal(&why),
            Decision::Take(way) => panic!("takes {way}"),
        }
    }

    #[test]
    fn the_first_way_that_is_ready_is_taken() {
        assert_eq!(decide([READY, READY, READY]), Decision::Take(0));
        assert_eq!(decide([BARE, READY, NOTHING]), Decision::Take(1));
        assert_eq!(decide([ASLEEP, ASLEEP, READY]), Decision::Take(2));
    }

    #[test]
    fn what_cannot_be_started_says_what_is_missing_and_what_else_to_do() {
        for (found, says) in [
            ([NOTHING; 3], "neither docker nor podman is installed"),
            (
                [BARE, BARE, NOTHING],
                "docker is installed and cannot run compose files",
            ),
            (
                [NOTHING, NOTHING, BARE],
                "podman is installed and cannot run compose files",
            ),
            ([ASLEEP, BARE, NOTHING], "`docker info` says why"),
            ([BARE, BARE, ASLEEP], "`podman info` says why"),
        ] {
            let why = why(found);
            assert!(why.contains(says), "{found:?}: {why}");
            assert!(why.contains("--store riak+http://HOST:8098"), "{why}");
        }
    }

    /// The compose files must say what their URLs promise.
    #[test]
    fn every_service_has_a_compose_file_with_its_port_and_a_health_check() {
        for (service, port) in [
            (Service::Riak, "127.0.0.1:8098:8098"),
            (Service::Couchbase, "127.0.0.1:11210:11210"),
        ] {
            let path = format!(
                "{}/../deploy/{}/compose.yml",
                env!("CARGO_MANIFEST_DIR"),
                service.name()
            );
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(port) && text.contains("healthcheck:"), "{path}");
            assert!(
                text.contains(&format!("\n  {}:\n", service.name())),
                "{path} has no service of that name"
            );
            let check = text
                .lines()
                .find(|line| line.trim().starts_with("test: ["))
                .unwrap();
            for word in service
                .ready()
                .iter()
                .filter(|word| !["sh", "-c"].contains(*word))
            {
                assert!(check.contains(word), "{path}: {check}");
            }
        }
    }
}
