//! Stopping a cluster: servers, then brokers, then the datastore, each with a deadline.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;

use super::state::{Member, Role, State};

const POLL: Duration = Duration::from_millis(20);

/// How long a process may take to drain before it is killed.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

/// Ends every process of the cluster that still runs, and names those that had to be killed. `hurry` is asked all the
/// time; once it says yes, nothing is waited for any longer.
pub(crate) fn stop_all(state: &State, hurry: impl Fn() -> bool) -> Result<Vec<String>> {
    stop_within(state, DRAIN_DEADLINE, hurry)
}

fn stop_within(state: &State, drain: Duration, hurry: impl Fn() -> bool) -> Result<Vec<String>> {
    let mut killed = Vec::new();
    let mut first_error = None;
    for role in Role::STOP_ORDER {
        let members: Vec<&Member> = state
            .members
            .iter()
            .filter(|member| member.role == role)
            .collect();
        for member in &members {
            // One that cannot be signalled must not keep the others alive.
            if let Err(error) = member.id.signal(Signal::TERM) {
                first_error.get_or_insert(error);
            }
        }
        let deadline = Instant::now() + drain;
        while members.iter().any(|member| member.id.is_alive()) && Instant::now() < deadline && !hurry() {
            std::thread::sleep(POLL);
        }
        for member in &members {
            match member.id.signal(Signal::KILL) {
                Ok(true) => killed.push(member.name.clone()),
                Ok(false) => {}
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while members.iter().any(|member| member.id.is_alive()) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
    first_error.map_or(Ok(killed), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessId;
    use std::process::{Child, Command};

    fn member(name: &str, role: Role, child: &Child) -> Member {
        Member {
            name: name.to_owned(),
            role,
            id: ProcessId::of(child.id()).unwrap(),
            address: String::new(),
            out: "out".into(),
            log: "log".into(),
        }
    }

    fn state(members: Vec<Member>) -> State {
        State {
            dir: "dir".into(),
            topology: "broker".to_owned(),
            store: "embedded:x".to_owned(),
            owner: None,
            members,
        }
    }

    #[test]
    fn processes_that_obey_are_not_killed() {
        let mut server = Command::new("sleep").arg("60").spawn().unwrap();
        let mut broker = Command::new("sleep").arg("60").spawn().unwrap();
        let state = state(vec![
            member("b", Role::Broker, &broker),
            member("s", Role::Server, &server),
        ]);
        assert!(stop_all(&state, || false).unwrap().is_empty());
        assert!(server.wait().unwrap().code().is_none());
        assert!(broker.wait().unwrap().code().is_none());
    }

    #[test]
    fn a_process_that_ignores_the_signal_is_killed_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        let script = format!(
            "trap '' TERM; : > '{}'; while :; do sleep 1; done",
            ready.display()
        );
        let mut child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !ready.exists() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(POLL);
        }
        let state = state(vec![member("stubborn", Role::Server, &child)]);
        let killed = stop_within(&state, Duration::from_millis(100), || false).unwrap();
        assert_eq!(killed, ["stubborn"]);
        child.wait().unwrap();
        assert!(stop_all(&state, || false).unwrap().is_empty());
    }
}
