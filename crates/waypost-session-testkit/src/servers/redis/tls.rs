//! A certificate for a server of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where certificate and key are.
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// The certificate's file in a server's directory.
pub(super) fn certificate(dir: &Path) -> PathBuf {
    dir.join("cert.pem")
}

/// Makes a self-signed certificate for `localhost` and `127.0.0.1`.
pub(super) fn make(dir: &Path) -> io::Result<Files> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let files = Files {
        cert: certificate(dir),
        key: dir.join("key.pem"),
    };
    fs::write(&files.cert, made.cert.pem())?;
    fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok(files)
}
