//! The ready file: tells whoever started the program that it serves, and where.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What the file says.
#[derive(Debug, Serialize)]
pub(crate) struct Ready<'a> {
    /// The server's name; none for a broker.
    pub(crate) identity: Option<&'a str>,
    pub(crate) pid: u32,
    /// Endpoints with the ports that they really got.
    pub(crate) listen: &'a [String],
    /// The store's URL without its password; none where there is no store.
    pub(crate) store: Option<&'a str>,
}

/// A ready file that goes away with the program.
#[derive(Debug)]
pub(crate) struct ReadyFile {
    path: Option<PathBuf>,
}

impl ReadyFile {
    /// Writes the file, if one is asked for, so that a reader sees all of it or nothing.
    pub(crate) fn write(path: Option<&Path>, ready: &Ready<'_>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { path: None });
        };
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}", std::process::id()));
        let write = || -> Result<()> {
            let mut file = std::fs::File::create(&partial)?;
            serde_json::to_writer(&mut file, ready)?;
            file.write_all(b"\n")?;
            drop(file);
            std::fs::rename(&partial, path)?;
            Ok(())
        };
        write().with_context(|| {
            let _ = std::fs::remove_file(&partial);
            format!("cannot write the ready file {}", path.display())
        })?;
        Ok(Self {
            path: Some(path.to_owned()),
        })
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
