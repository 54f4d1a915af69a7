//! Several processes on one store at once, some of them killed at any instant.
//!
//! This test program starts itself again as the other processes, with the role in an environment variable.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use waypost_session::{ErrorKind, Released, Renewal, SessionStore};
use waypost_session_embedded::{EmbeddedOptions, EmbeddedStore};
use waypost_types::{Address, Identity, Location, Owner, Seq};

const ROLE: &str = "WAYPOST_TEST_ROLE";
const DIR: &str = "WAYPOST_TEST_DIR";
const NAME: &str = "WAYPOST_TEST_NAME";
const ADDRESSES: u64 = 200;
const DEADLINE: Duration = Duration::from_secs(60);

/// Another process; killed when dropped, so that a failed test leaves none.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(role: &str, dir: &Path, name: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "other_process", "--nocapture", "--test-threads", "1"])
            .env(ROLE, role)
            .env(DIR, dir)
            .env(NAME, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            log: log_of(dir, name),
        }
    }

    /// Waits until it has written down `lines` more lines. For one that goes on writing: what it has written by now does not count.
    fn wait_for_progress(&mut self, lines: usize) {
        self.wait_for_lines(self.lines() + lines);
    }

    /// Waits until it has written down so many lines since it was started.
    fn wait_for_lines(&mut self, goal: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.lines() < goal {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "{} ended by itself",
                self.log.display()
            );
            assert!(
                Instant::now() < deadline,
                "{} does not get on",
                self.log.display()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn lines(&self) -> usize {
        fs::read(&self.log)
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(dir: &Path, name: &str) -> PathBuf {
    dir.with_extension(format!("{name}.log"))
}

fn address(number: u64) -> Address {
    Address::new(&format!("client/{number}")).unwrap()
}

fn location() -> Location {
    Location::new("unix:/run/test.sock").unwrap()
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, EmbeddedOptions::default()).unwrap()
}

/// What the other processes run. In the test program itself there is no role, and nothing to do.
#[tokio::test]
async fn other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let name = std::env::var(NAME).unwrap();
    match role.as_str() {
        "hammer" => hammer(&dir, &name).await,
        "flood" => flood(&dir, &log_of(&dir, &name)).await,
        "hold" => hold_writer_lock(&dir, &log_of(&dir, &name)),
        other => panic!("no such role: {other}"),
    }
}

/// Claims, releases, looks up, renews and reclaims until it is killed, and writes down every acknowledged claim.
async fn hammer(dir: &Path, name: &str) {
    let mut log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_of(dir, name))
        .unwrap();
    let store = open(dir);
    let identity = Identity::new(name).unwrap();
    let register = async || {
        let incarnation = store
            .register(&identity, &location(), Duration::from_millis(200))
            .await
            .unwrap();
        Owner::new(identity.clone(), incarnation)
    };
    let mut owner = register().await;
    let mut random = u64::from(std::process::id()) | 1 << 40;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    loop {
        let mut batch: Vec<u64> = (0..=next(40)).map(|_| next(ADDRESSES)).collect();
        batch.sort_unstable();
        batch.dedup();
        let addresses: Vec<Address> = batch.iter().map(|number| address(*number)).collect();
        let claimed = store.claim_many(&owner, &addresses).await.unwrap();
        let mut lines = String::new();
        for (number, claimed) in batch.iter().zip(&claimed) {
            lines.push_str(&format!("{number} {}\n", claimed.seq));
        }
        log.write_all(lines.as_bytes()).unwrap();
        let held: Vec<(Address, Seq)> = addresses
            .iter()
            .cloned()
            .zip(claimed.iter().map(|claimed| claimed.seq))
            .step_by(3)
            .collect();
        store.release_many(&owner, &held).await.unwrap();
        store.lookup_many(&addresses).await.unwrap();
        let renewed = store
            .renew(core::slice::from_ref(&owner), &location())
            .await
            .unwrap();
        if renewed.renewals != [Renewal::Renewed] {
            owner = register().await;
        }
        store.reclaim(50).await.unwrap();
    }
}

/// Claims large batches from several tasks, so that there is always more to write.
async fn flood(dir: &Path, log: &Path) {
    let store = Arc::new(open(dir));
    let identity = Identity::new("flood").unwrap();
    let incarnation = store.register(&identity, &location(), DEADLINE).await.unwrap();
    let owner = Owner::new(identity, incarnation);
    fs::write(log, "begun\n").unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_u64 {
        let (store, owner) = (Arc::clone(&store), owner.clone());
        tasks.spawn(async move {
            let batch: Vec<Address> = (0..1024).map(|i| address(1000 + task * 1024 + i)).collect();
            loop {
                // Whether each of these is in time is not the question here.
                let _ = store.claim_many(&owner, &batch).await;
            }
        });
    }
    tasks.join_all().await;
}

#[expect(
    unsafe_code,
    reason = "opens the environment as LMDB itself does, to hold its lock"
)]
fn hold_writer_lock(dir: &Path, log: &Path) {
    // SAFETY: the other process on this directory uses LMDB too.
    let env = unsafe { heed::EnvOpenOptions::new().map_size(4 << 30).max_dbs(5).open(dir) }.unwrap();
    let _txn = env.write_txn().unwrap();
    fs::write(log, "held\n").unwrap();
    // Until the other side kills this process or goes away.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn processes_that_are_killed_leave_the_store_sound_and_usable() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    let store = open(&dir);
    let mut names = 0;
    let mut start = || {
        names += 1;
        Process::start("hammer", &dir, &format!("server-{names}"))
    };
    let mut processes: Vec<Process> = (0..4).map(|_| start()).collect();
    for round in 0..6 {
        for process in &mut processes {
            process.wait_for_progress(300);
        }
        // At two at once, in the middle of whatever they do.
        processes.remove(round % processes.len()).kill();
        processes.remove(round % processes.len()).kill();
        assert_eq!(
            store.check().unwrap().problems,
            Vec::<String>::new(),
            "a snapshot is sound at any moment"
        );
        processes.push(start());
        processes.push(start());
    }
    for process in &mut processes {
        process.wait_for_progress(300);
    }
    processes.into_iter().for_each(Process::kill);

    let report = store.check().unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    let mut seqs = HashSet::new();
    let mut greatest: HashMap<u64, u64> = HashMap::new();
    for name in 1..=names {
        let log = fs::read_to_string(log_of(&dir, &format!("server-{name}"))).unwrap();
        for line in log.lines() {
            let (number, seq) = line.split_once(' ').unwrap();
            let (number, seq): (u64, u64) = (number.parse().unwrap(), seq.parse().unwrap());
            assert!(seqs.insert(seq), "seq {seq} was given twice");
            assert!(seq <= report.clock);
            let last = greatest.entry(number).or_default();
            *last = seq.max(*last);
        }
    }
    assert!(seqs.len() > 1000);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let identity = Identity::new("last").unwrap();
        let incarnation = store.register(&identity, &location(), DEADLINE).await.unwrap();
        let owner = Owner::new(identity, incarnation);
        for (number, greatest) in greatest {
            let claimed = store.claim(&owner, &address(number)).await.unwrap();
            assert!(claimed.seq.0 > greatest);
            // Whoever stood there last claimed last: no acknowledged claim was lost under an older one.
            if let Some(displaced) = claimed.displaced {
                assert!(
                    displaced.seq.0 >= greatest,
                    "an acknowledged claim of {number} was lost"
                );
            }
        }
        let everything = async {
            while store.reclaim(1000).await.unwrap().more || store.check().unwrap().leases > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, everything)
            .await
            .expect("the killed ones lapse and are reclaimed");
        store.close().await;
    });
    let store = open(&dir);
    let report = store.check().unwrap();
    assert_eq!((report.problems.len(), report.leases, report.dead), (0, 1, 0));
}

#[tokio::test]
async fn a_writer_lock_that_another_process_keeps_times_out_writes_alone_until_it_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    let timeout = Duration::from_millis(300);
    let store = EmbeddedStore::open(&dir, EmbeddedOptions::default().timeout(timeout)).unwrap();
    let identity = Identity::new("server").unwrap();
    let incarnation = store.register(&identity, &location(), DEADLINE).await.unwrap();
    let owner = Owner::new(identity, incarnation);
    let claimed = store.claim(&owner, &address(1)).await.unwrap();

    let mut holder = Process::start("hold", &dir, "holder");
    holder.wait_for_lines(1);

    let started = Instant::now();
    let error = store.claim(&owner, &address(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.may_have_applied());
    assert!(started.elapsed() < timeout * 10);
    assert_eq!(
        store.lookup(&address(1)).await.unwrap().unwrap().seq,
        claimed.seq,
        "reads wait for nobody"
    );

    holder.kill();
    assert_eq!(
        store.release(&owner, &address(1), claimed.seq).await.unwrap(),
        Released::Released
    );
    assert_eq!(
        store.lookup(&address(2)).await.unwrap(),
        None,
        "what was given up is not done later"
    );
    assert_eq!(store.check().unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_busy_process_does_not_shut_the_others_out() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    let store = open(&dir);
    let identity = Identity::new("server").unwrap();
    let incarnation = store.register(&identity, &location(), DEADLINE).await.unwrap();
    let owner = Owner::new(identity, incarnation);
    let mut flood = Process::start("flood", &dir, "flood");
    flood.wait_for_progress(1);
    for _ in 0..50 {
        let renewed = store
            .renew(core::slice::from_ref(&owner), &location())
            .await
            .expect("in time");
        assert_eq!(renewed.renewals, [Renewal::Renewed]);
    }
    flood.kill();
}
