//! The file of a unix socket that this process listens on: taken over when stale, never from a live process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::{Instant, sleep};

/// How long other processes that start in the same directory are waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// Removed when dropped, if the file is still the one that was bound. Drop it before the listener: while that lives,
/// nobody takes the path over.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode; `None` when they could not be read, and the file is then left alone.
    id: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.id.is_some() && self.id == file_id(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds `path`. A socket on which nobody listens is replaced.
///
/// # Errors
/// `AddrInUse` when somebody listens on it, or when the file is not a socket; the file is then as it was.
pub(super) async fn bind(path: &Path) -> io::Result<(SocketFile, UnixListener)> {
    // Two processes that find the same stale file must not remove each other's new one, and one that is between its bind
    // and its listen looks stale.
    let _lock = lock_directory(path).await;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            clear_stale(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    let file = SocketFile {
        path: path.to_owned(),
        id: file_id(path),
    };
    listener.set_nonblocking(true)?;
    Ok((file, listener))
}

/// Locks the directory of `path` itself, so that no lock file is left behind. Without a lock (the directory cannot be
/// read, or a stranger holds its lock) it goes on: the lock only settles races.
async fn lock_directory(path: &Path) -> Option<File> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(directory).ok()?;
    let deadline = Instant::now() + LOCK_WAIT;
    while flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= deadline {
            tracing::debug!(path = %path.display(), "the socket's directory is locked by another program");
            return None;
        }
        sleep(LOCK_RETRY).await;
    }
    Some(directory)
}

/// Removes the socket at `path` if nobody listens on it.
fn clear_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use(
            "the path exists and is not a socket: remove it or choose another",
        ));
    }
    if is_live(path)? {
        return Err(in_use(
            "another process listens on this socket: stop it or choose another path",
        ));
    }
    fs::remove_file(path)
}

/// It does not block, as a live process whose queue of connections is full would make it wait.
fn is_live(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            // Its queue of connections is full.
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

fn in_use(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, text)
}
