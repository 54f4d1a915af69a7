//! The file of a unix socket that this process listens on: taken over when stale, never from a live process.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// How often a bind is tried against other processes that start at the same moment.
const ATTEMPTS: u32 = 3;

/// Removed when dropped, if the file is still the one that was bound.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode; `None` when they could not be read, and the file is then left alone.
    id: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A process that took the path over has another inode there.
        if self.id.is_some() && self.id == file_id(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds `path`. A socket on which nobody listens is replaced.
///
/// # Errors
/// `AddrInUse` when somebody listens on it, or when the file is not a socket; the file is then as it was.
pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    for _ in 0..ATTEMPTS {
        match UnixListener::bind(path) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                let file = SocketFile {
                    path: path.to_owned(),
                    id: file_id(path),
                };
                return Ok((listener, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => clear_stale(path)?,
            Err(error) => return Err(error),
        }
    }
    Err(in_use(
        "other processes keep binding this socket: give each its own path",
    ))
}

/// Removes the socket at `path` if nobody listens on it.
///
/// Two processes may do this at once, and the file that is removed must be the one that was found stale and not the
/// other's new one. So it is moved aside first and looked at again there, where nobody else touches it.
fn clear_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(in_use(
            "the path exists and is not a socket: remove it or choose another",
        ));
    }
    if is_live(path)? {
        return Err(in_use(
            "another process listens on this socket: stop it or choose another path",
        ));
    }
    let aside = aside(path);
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match is_live(&aside) {
        Ok(false) => fs::remove_file(&aside),
        other => {
            // A link, as a rename would overwrite what a third process may have put there.
            let restored = fs::hard_link(&aside, path);
            fs::remove_file(&aside)?;
            restored?;
            other.and_then(|_| {
                Err(in_use(
                    "another process listens on this socket: stop it or choose another path",
                ))
            })
        }
    }
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

/// In the same directory, so that the rename is atomic.
fn aside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{:07x}", rand::random::<u32>() >> 4))
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

fn in_use(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, text)
}
