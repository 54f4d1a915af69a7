//! Links that no honest node would open.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use waypost_wire::Preface;

/// What a stranger sends to a listening node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostile {
    /// Bytes that are no preface.
    Garbage,
    /// A request for a web page.
    Http,
    /// A good preface, and a frame of 2 GiB by its length.
    HugeFrame,
    /// A good preface, and a frame whose length never ends.
    EndlessLength,
    /// A good preface, and a frame of bytes that are no frame.
    BadFrame,
    /// Half of a preface.
    HalfPreface,
    /// Nothing at all.
    Silence,
}

impl Hostile {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Garbage,
        Self::Http,
        Self::HugeFrame,
        Self::EndlessLength,
        Self::BadFrame,
        Self::HalfPreface,
        Self::Silence,
    ];

    /// Whether a node can tell at once that this is wrong, without waiting for more.
    #[must_use]
    pub const fn is_evident(self) -> bool {
        !matches!(self, Self::HalfPreface | Self::Silence)
    }

    fn bytes(self) -> Vec<u8> {
        let preface = Preface::new(1 << 20).encode();
        let after_preface = |rest: &[u8]| [&preface[..], rest].concat();
        match self {
            Self::Garbage => (0..4096u32)
                .map(|i| u8::try_from(i * 37 % 251).unwrap_or(0) | 0x80)
                .collect(),
            Self::Http => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            Self::HugeFrame => after_preface(&[0x80, 0x80, 0x80, 0x80, 0x08, 1, 2, 3]),
            Self::EndlessLength => after_preface(&[0xff; 64]),
            Self::BadFrame => after_preface(&[&[16][..], &[0xff; 16]].concat()),
            Self::HalfPreface => preface[..7].to_vec(),
            Self::Silence => Vec::new(),
        }
    }

    /// Connects to a `tcp://` endpoint and sends it.
    ///
    /// # Errors
    /// When the endpoint does not take connections.
    pub fn open(self, endpoint: &str) -> Result<TcpStream> {
        let address = endpoint.strip_prefix("tcp://").context("not a tcp endpoint")?;
        let mut stream = TcpStream::connect(address)?;
        // It may be closed before all is written.
        let _ = stream.write_all(&self.bytes());
        Ok(stream)
    }

    /// The same, and waits until the node has closed the link.
    ///
    /// # Errors
    /// When it does not within `patience`.
    pub fn open_and_be_refused(self, endpoint: &str, patience: Duration) -> Result<()> {
        let mut stream = self.open(endpoint)?;
        stream.set_read_timeout(Some(patience))?;
        let mut answer = [0; 4096];
        loop {
            match stream.read(&mut answer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    let in_time = !matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                    ensure!(in_time, "{self:?}: the link is still open after {patience:?}");
                    return Ok(());
                }
            }
        }
    }
}

/// Resident memory of a process, in KiB.
///
/// # Errors
/// When the process is gone.
pub fn rss_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS line")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
