//! A process that we started, told from a later one that was given the same id.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process id with the time the process started, in the system's own units: together they name one process for as
/// long as the machine is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pid: u32,
    started: String,
}

impl ProcessId {
    /// The process that has this id now. A child of ours that has ended keeps its id until it is reaped.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let (started, _) = inspect(pid).with_context(|| format!("there is no process {pid}"))?;
        Ok(Self { pid, started })
    }

    /// From what was saved earlier.
    pub(crate) fn saved(pid: u32, started: String) -> Self {
        Self { pid, started }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn started(&self) -> &str {
        &self.started
    }

    /// Whether this very process still runs; one that has ended and was not reaped does not.
    pub(crate) fn is_alive(&self) -> bool {
        start_time(self.pid).is_some_and(|started| started == self.started)
    }

    /// Sends the signal if this very process still runs; says whether it did.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool> {
        if !self.is_alive() {
            return Ok(false);
        }
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(false);
        };
        match kill_process(pid, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }
}

/// When a running process started; `None` where there is none, or only its unreaped remains.
fn start_time(pid: u32) -> Option<String> {
    inspect(pid).filter(|(_, runs)| *runs).map(|(started, _)| started)
}

/// When a process started, and whether it still runs.
#[cfg(target_os = "linux")]
fn inspect(pid: u32) -> Option<(String, bool)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 22 (start time) and 3 (state) of `/proc/PID/stat`. The second field is the program's name in parentheses and
/// may itself hold spaces and parentheses.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &str) -> Option<(String, bool)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let runs = !matches!(fields.next()?, "Z" | "X" | "x");
    Some((fields.nth(18)?.to_owned(), runs))
}

/// When a process started, and whether it still runs.
#[cfg(not(target_os = "linux"))]
fn inspect(pid: u32) -> Option<(String, bool)> {
    let output = std::process::Command::new("ps")
        .args(["-o", "state=", "-o", "lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    Some((started.trim().to_owned(), !state.starts_with('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn this_process_is_alive_under_its_own_start_time_only() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let recycled = ProcessId::saved(own.pid(), "1".to_owned());
        assert!(!recycled.is_alive());
    }

    #[test]
    fn a_recycled_pid_is_never_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let real = ProcessId::of(child.id()).unwrap();
        let other = ProcessId::saved(child.id(), format!("{}0", real.started()));
        assert!(!other.signal(Signal::KILL).unwrap());
        assert!(child.try_wait().unwrap().is_none());
        assert!(real.signal(Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!real.is_alive());
    }

    #[test]
    fn an_unreaped_process_is_dead() {
        let mut child = Command::new("true").spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let id = ProcessId::of(child.id()).unwrap();
        while id.is_alive() {
            assert!(std::time::Instant::now() < deadline, "`true` did not end");
            std::thread::yield_now();
        }
        assert_eq!(ProcessId::of(child.id()).unwrap(), id);
        child.wait().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn stat_is_parsed_past_a_name_with_spaces_and_parentheses() {
        let fields = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21";
        assert_eq!(
            parse_stat(&format!("42 (a (b) c) S {fields}")),
            Some(("777".to_owned(), true))
        );
        assert_eq!(
            parse_stat(&format!("42 (a) Z {fields}")),
            Some(("777".to_owned(), false))
        );
        assert_eq!(parse_stat("42 (a) S 1 2 3"), None);
        assert_eq!(parse_stat(""), None);
    }
}
