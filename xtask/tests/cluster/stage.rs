//! A stage for one test: stand-ins, a target directory of its own, and the commands under test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

const STAND_IN: &str = r#"#!/bin/sh
kind=${0##*/}
here=${0%/*}
me=$1
ready= broker= store=
[ "$kind" = waypost-broker ] && me=broker
while [ $# -gt 0 ]; do
    case $1 in
        --ready-file) ready=$2; shift ;;
        --broker) broker=$2; shift ;;
        --store) store=$2; shift ;;
    esac
    shift
done
echo "log line of $me" >&2
if [ -e "$here/fail-$me" ]; then
    echo "the store cannot be reached" >&2
    exit 69
fi
trap 'echo drained; echo $kind >> "$here/drained"; exit 0' TERM
case $ready in
    *broker-1.ready) listen='"tcp://127.0.0.1:1111"' ;;
    *broker-2.ready) listen='"tcp://127.0.0.1:2222"' ;;
    *) listen= ;;
esac
[ -n "$broker" ] && echo "broker $broker"
[ -n "$store" ] && echo "store $store"
[ -n "$WAYPOST_STORE" ] && echo "store from the environment $WAYPOST_STORE"
if [ "$kind" != waypost-broker ]; then
    for word in one two three four five six seven; do
        count=$((count + 1))
        echo "Received: $word $count"
    done
fi
echo "{\"identity\":\"$me\",\"pid\":$$,\"listen\":[$listen]}" > "$ready.new"
mv "$ready.new" "$ready"
while :; do sleep 0.1; done
"#;

/// What a finished command printed, stdout and stderr.
pub(crate) struct Finished {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

pub(crate) struct Stage {
    dir: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["waypost-broker", "waypost-server", "waypost-brokerless"] {
            let path = dir.path().join(name);
            fs::write(&path, STAND_IN).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    /// Makes the server of this number fail at its start.
    pub(crate) fn fail_server(&self, number: u32) {
        fs::write(self.dir.path().join(format!("fail-{number}")), "").unwrap();
    }

    /// Puts container engines into `PATH` before any others: `docker` is this shell script, and the rest fail.
    pub(crate) fn container_engine(&self, docker: &str) {
        fs::create_dir_all(self.engines()).unwrap();
        for (name, script) in [
            ("docker", docker),
            ("docker-compose", "exit 1"),
            ("podman", "exit 1"),
        ] {
            let path = self.engines().join(name);
            fs::write(
                &path,
                format!(
                    "#!/bin/sh\necho \"$@\" >> '{}/called'\n{script}\n",
                    self.dir.path().display()
                ),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// With what the compose file of a datastore was run, one call after the other.
    pub(crate) fn composed(&self, datastore: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.dir.path().join("called")).unwrap();
        let file = format!("deploy/{datastore}/compose.yml ");
        calls
            .lines()
            .filter_map(|line| Some(line.strip_prefix("compose -f ")?.split_once(&file)?.1.to_owned()))
            .collect()
    }

    fn engines(&self) -> PathBuf {
        self.dir.path().join("engines")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let mut path = self.engines().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path);
        command
            .arg("cluster")
            .args(arguments)
            .env("CARGO_TARGET_DIR", self.dir.path().join("target"))
            .env("WAYPOST_XTASK_BIN_DIR", self.dir.path())
            .env_remove("WAYPOST_STORE")
            .env_remove("CLICOLOR_FORCE")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let output = self.command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Finished {
            ok: output.status.success(),
            text: String::from_utf8(text).unwrap(),
        }
    }

    /// `cluster up` in the foreground.
    pub(crate) fn up(&self, arguments: &[&str]) -> Up {
        let mut child = self
            .command(&[&["up"], arguments].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        let (close, closed) = channel();
        std::thread::spawn(move || forward(stdout, &sender, &closed));
        Up {
            child,
            lines,
            close: Some(close),
            text: String::new(),
        }
    }

    fn cluster_dir(&self) -> PathBuf {
        self.dir.path().join("target/cluster")
    }

    pub(crate) fn state_text(&self) -> String {
        fs::read_to_string(self.cluster_dir().join("state.json")).unwrap()
    }

    /// The processes of the running cluster; none where there is no cluster.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let Ok(text) = fs::read_to_string(self.cluster_dir().join("state.json")) else {
            return Vec::new();
        };
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pid =
            |member: &serde_json::Value| u32::try_from(member["process"]["pid"].as_u64().unwrap()).unwrap();
        state["members"].as_array().unwrap().iter().map(pid).collect()
    }

    /// The kinds of stand-ins in the order in which they drained.
    pub(crate) fn drained(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("drained")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// No process, no state, no store, no ready file: logs alone.
    pub(crate) fn assert_nothing_left(&self, pids: &[u32]) {
        for pid in pids {
            assert!(!runs(*pid), "process {pid} is left");
        }
        let mut left = Vec::new();
        for entry in fs::read_dir(self.cluster_dir()).unwrap() {
            let path = entry.unwrap().path();
            assert!(path.is_dir(), "{} is left", path.display());
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
        left.retain(|path| {
            !path
                .extension()
                .is_some_and(|extension| extension == "log" || extension == "out")
        });
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A failed test leaves nothing behind either.
        let _ = self.command(&["down"]).output();
    }
}

/// Whether the process runs; its unreaped remains do not count.
fn runs(pid: u32) -> bool {
    let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let remains = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    test_kill_process(raw).is_ok() && !remains
}

/// Hands lines on until told to close its end of the pipe.
fn forward(mut stdout: BufReader<std::process::ChildStdout>, sender: &Sender<String>, closed: &Receiver<()>) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    loop {
        if !matches!(closed.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
            return;
        }
        if stdout.buffer().is_empty() {
            let mut fds = [PollFd::new(stdout.get_ref(), PollFlags::IN)];
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            if poll(&mut fds, Some(&wait)).unwrap() == 0 {
                continue;
            }
        }
        let mut line = String::new();
        if stdout.read_line(&mut line).unwrap() == 0 || sender.send(line).is_err() {
            return;
        }
    }
}

/// A `cluster up` in the foreground.
pub(crate) struct Up {
    child: Child,
    lines: Receiver<String>,
    close: Option<Sender<()>>,
    text: String,
}

impl Up {
    /// Waits for a line that contains `part`, also one that has come already.
    pub(crate) fn wait_for(&mut self, part: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.text.contains(part) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.text.push_str(&line),
                Err(_) => panic!("`{part}` did not come; there came:\n{}", self.text),
            }
        }
    }

    /// All that it has printed so far.
    pub(crate) fn text(&mut self) -> &str {
        self.text.extend(self.lines.try_iter());
        &self.text
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn close_stdout(&mut self) {
        self.close = None;
    }

    /// Waits for its end and for the end of its output.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "`cluster up` does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.text.push_str(&line);
        }
        status
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
