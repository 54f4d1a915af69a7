//! The directory of an environment: that it is one, and that its data can be trusted after a restart of the machine.
//!
//! Without `sync` the kernel writes pages back in any order, so that a crash of the machine (never one of a process) may
//! leave a data file that is not consistent. Leases do not survive such a restart anyway, therefore the first process
//! that opens the directory after one starts afresh. A marker file says in which run of the machine the data were
//! written, and how.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use waypost_session::{ErrorKind, StoreError};

use crate::error::from_file;

/// Says which run of the machine wrote the data: `<boot id> <sync|nosync>`.
const MARKER: &str = "waypost.boot";
/// Locked while the marker is looked at and changed.
const LOCK: &str = "waypost.lock";
/// Locked in common by every process that has the environment open.
const USERS: &str = "waypost.users";
/// LMDB's own two files.
const DATA: [&str; 2] = ["data.mdb", "lock.mdb"];

/// Proof that this process takes part; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Membership(#[expect(dead_code, reason = "held for its lock")] File);

/// Creates the directory with its parents and returns its one canonical name.
pub(crate) fn create(path: &Path) -> Result<PathBuf, StoreError> {
    if path.as_os_str().is_empty() {
        return Err(StoreError::new(
            ErrorKind::ConfigInvalid,
            "open",
            "the path is empty: name a directory",
        ));
    }
    fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .map_err(|error| {
            from_file(
                "open",
                &format!("cannot create the directory {}", path.display()),
                error,
            )
        })
}

/// Joins those who use the environment, after removing data which a crash of the machine may have damaged.
pub(crate) fn join(dir: &Path, sync: bool, timeout: Duration) -> Result<Membership, StoreError> {
    join_in_boot(dir, sync, timeout, &boot_id()?)
}

fn join_in_boot(dir: &Path, sync: bool, timeout: Duration, boot: &str) -> Result<Membership, StoreError> {
    let failed = |error| {
        from_file(
            "open",
            &format!("cannot prepare the directory {}", dir.display()),
            error,
        )
    };
    let lock = lock_file(&dir.join(LOCK)).map_err(failed)?;
    let deadline = Instant::now() + timeout;
    while !try_lock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(failed)? {
        if Instant::now() >= deadline {
            return Err(StoreError::new(
                ErrorKind::Timeout,
                "open",
                format!(
                    "another process keeps {} locked: is it stopped?",
                    dir.join(LOCK).display()
                ),
            )
            .with_may_have_applied(false));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let users = lock_file(&dir.join(USERS)).map_err(failed)?;
    let marker = match fs::read_to_string(dir.join(MARKER)) {
        Ok(marker) => Some(marker),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let same_boot = marker
        .as_deref()
        .and_then(|marker| marker.split_once(' '))
        .map(|(id, mode)| (id == boot, mode));
    let next_mode = match same_boot {
        None if marker.is_some() || dir.join(DATA[0]).exists() => {
            return Err(StoreError::new(
                ErrorKind::ConfigInvalid,
                "open",
                format!(
                    "{} holds data that are not a session store's: name another directory",
                    dir.display()
                ),
            ));
        }
        None => mode_name(sync),
        // Once a run of the machine has written without sync, only a fresh start makes the data trustworthy again.
        Some((true, mode)) => {
            if mode == "sync" {
                mode_name(sync)
            } else {
                mode_name(false)
            }
        }
        Some((false, mode)) => {
            if mode != "sync" {
                if !try_lock(&users, FlockOperation::NonBlockingLockExclusive).map_err(failed)? {
                    return Err(StoreError::new(
                        ErrorKind::ConfigInvalid,
                        "open",
                        format!(
                            "{} is in use on another machine or under another kernel: it is for one",
                            dir.display()
                        ),
                    ));
                }
                for name in DATA {
                    remove(&dir.join(name)).map_err(failed)?;
                }
            }
            mode_name(sync)
        }
    };
    let next = format!("{boot} {next_mode}");
    if marker.as_deref() != Some(&next) {
        write_marker(dir, &next).map_err(failed)?;
    }
    // Waits for nobody: exclusive locks are taken only by those who hold `lock`.
    flock(&users, FlockOperation::LockShared).map_err(|error| failed(error.into()))?;
    Ok(Membership(users))
}

const fn mode_name(sync: bool) -> &'static str {
    if sync { "sync" } else { "nosync" }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}

fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK || error == rustix::io::Errno::INTR => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// On the disk before anything else is: a marker from before a crash must never vouch for data from after it.
fn write_marker(dir: &Path, text: &str) -> io::Result<()> {
    let new = dir.join("waypost.boot.new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(MARKER))?;
    File::open(dir)?.sync_all()
}

/// Which run of the machine this is.
#[cfg(target_os = "linux")]
fn boot_id() -> Result<String, StoreError> {
    let path = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(path)
        .map(|id| id.trim().to_owned())
        .map_err(|error| {
            from_file(
                "open",
                &format!("cannot read {path}, which tells a restart of the machine"),
                error,
            )
        })
}

/// Other systems: not told apart, see the crate's documentation.
#[cfg(not(target_os = "linux"))]
fn boot_id() -> Result<String, StoreError> {
    Ok("unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn join_then_leave(dir: &Path, sync: bool, boot: &str) {
        join_in_boot(dir, sync, SHORT, boot).unwrap();
    }

    fn with_data(dir: &Path) -> PathBuf {
        let data = dir.join("data.mdb");
        fs::write(&data, "data").unwrap();
        data
    }

    #[test]
    fn unsynced_data_of_an_earlier_run_of_the_machine_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        join_then_leave(dir.path(), false, "a");
        let data = with_data(dir.path());
        join_then_leave(dir.path(), false, "a");
        assert!(data.exists(), "the same run keeps them");
        join_then_leave(dir.path(), true, "b");
        assert!(!data.exists());
    }

    #[test]
    fn synced_data_are_kept_until_somebody_writes_without_sync() {
        let dir = tempfile::tempdir().unwrap();
        join_then_leave(dir.path(), true, "a");
        let data = with_data(dir.path());
        join_then_leave(dir.path(), true, "b");
        assert!(data.exists());
        join_then_leave(dir.path(), false, "b");
        join_then_leave(dir.path(), true, "b");
        assert!(data.exists());
        join_then_leave(dir.path(), true, "c");
        assert!(!data.exists());
    }

    #[test]
    fn data_in_use_are_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let _member = join_in_boot(dir.path(), false, SHORT, "a").unwrap();
        let data = with_data(dir.path());
        let error = join_in_boot(dir.path(), false, SHORT, "b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(data.exists());
    }

    #[test]
    fn a_strangers_data_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = with_data(dir.path());
        assert_eq!(
            join_in_boot(dir.path(), false, SHORT, "a").unwrap_err().kind(),
            ErrorKind::ConfigInvalid
        );
        assert!(data.exists());
    }

    #[test]
    fn a_lock_that_is_kept_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_file(&dir.path().join(LOCK)).unwrap();
        assert!(try_lock(&held, FlockOperation::NonBlockingLockExclusive).unwrap());
        assert_eq!(
            join_in_boot(dir.path(), false, SHORT, "a").unwrap_err().kind(),
            ErrorKind::Timeout
        );
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(create(&file).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert_eq!(
            create(Path::new("")).unwrap_err().kind(),
            ErrorKind::ConfigInvalid
        );
    }
}
