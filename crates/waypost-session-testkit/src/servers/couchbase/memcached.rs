//! The documents in a `memcached` process: Debian's, which Couchbase Server's own protocol comes from. What it answers is not
//! ours, so it shows where our own documents answer otherwise.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::bucket::{Name, VALUE_MAX};
use super::frame::{Answer, HEAD, Request};
use super::opcode::{self, status};

const EXECUTABLE_VARIABLE: &str = "WAYPOST_TEST_MEMCACHED";
const UP_WITHIN: Duration = Duration::from_secs(10);
const REQUEST: u8 = 0x80;
const ANSWER: u8 = 0x81;

/// A running process. Its drop kills it and removes its socket.
#[derive(Debug)]
pub(super) struct Memcached {
    _process: Child,
    dir: TempDir,
}

impl Memcached {
    /// Starts one that listens on a socket of its own; returns when it answers.
    pub(super) async fn start() -> io::Result<Self> {
        let program = std::env::var_os(EXECUTABLE_VARIABLE)
            .filter(|program| !program.is_empty())
            .unwrap_or_else(|| "memcached".into());
        let dir = TempDir::new()?;
        let process = Command::new(&program)
            // The user matters to root alone.
            .args([
                "-u", "root", "-B", "binary", "-U", "0", "-t", "2", "-m", "256", "-I", "21m",
            ])
            .arg("-s")
            .arg(socket(&dir))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                let message = format!(
                    "cannot start {} ({error}): `cargo xtask test` gets it where it may; else install it \
                     (`apt-get install memcached`), or name one in {EXECUTABLE_VARIABLE}",
                    program.to_string_lossy()
                );
                io::Error::new(error.kind(), message)
            })?;
        let mut memcached = Self {
            _process: process,
            dir,
        };
        let until = Instant::now() + UP_WITHIN;
        while memcached.connect().await.is_err() {
            if let Some(status) = memcached._process.try_wait()? {
                return Err(io::Error::other(format!("memcached ended at once: {status}")));
            }
            if Instant::now() > until {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "memcached does not listen",
                ));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(memcached)
    }

    pub(super) async fn connect(&self) -> io::Result<Link> {
        Ok(Link(BufStream::new(
            UnixStream::connect(socket(&self.dir)).await?,
        )))
    }
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("socket")
}

/// A connection, on which one request follows the other.
#[derive(Debug)]
pub(super) struct Link(BufStream<UnixStream>);

impl Link {
    /// Passes a request on and translates the answer where the two protocols have grown apart.
    pub(super) async fn serve(&mut self, (collection, key): &Name, request: &Request) -> io::Result<Answer> {
        if request.value.len() > VALUE_MAX {
            return Ok(Answer::status(status::TOO_BIG));
        }
        let mut name = vec![u8::try_from(*collection).unwrap_or(u8::MAX)];
        name.extend_from_slice(key);
        // There is no GET_META here: what it answers is told from the document.
        let code = match request.opcode {
            opcode::GET_META => opcode::GET,
            code => code,
        };
        let extras: &[u8] = if code == opcode::GET { &[] } else { &request.extras };
        let body = extras.len() + name.len() + request.value.len();
        let mut head = [0; HEAD];
        head[0] = REQUEST;
        head[1] = code;
        head[2..4].copy_from_slice(&u16::try_from(name.len()).map_err(io::Error::other)?.to_be_bytes());
        head[4] = u8::try_from(extras.len()).map_err(io::Error::other)?;
        head[8..12].copy_from_slice(&u32::try_from(body).map_err(io::Error::other)?.to_be_bytes());
        head[16..24].copy_from_slice(&request.cas.to_be_bytes());
        for part in [&head[..], extras, &name, &request.value] {
            self.0.write_all(part).await?;
        }
        self.0.flush().await?;
        let answer = self.read().await?;
        Ok(match request.opcode {
            _ if answer.status != status::OK => Answer::status(answer.status),
            opcode::TOUCH => Answer {
                extras: Vec::new(),
                ..answer
            },
            opcode::GET_META => {
                let flags = answer.extras.get(..4).unwrap_or(&[0; 4]);
                Answer::meta(flags, answer.cas)
            }
            _ => answer,
        })
    }

    async fn read(&mut self) -> io::Result<Answer> {
        let mut head = [0; HEAD];
        self.0.read_exact(&mut head).await?;
        if head[0] != ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no answer"));
        }
        let number = |range: core::ops::Range<usize>| {
            head[range]
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let len = usize::try_from(number(8..12)).map_err(io::Error::other)?;
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).await?;
        let (extras, key) = (
            usize::from(head[4]),
            usize::try_from(number(2..4)).map_err(io::Error::other)?,
        );
        if extras + key > len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "lengths that do not fit",
            ));
        }
        let value = body.split_off(extras + key);
        body.truncate(extras);
        Ok(Answer {
            status: u16::from_be_bytes([head[6], head[7]]),
            cas: number(16..24),
            extras: body,
            value,
        })
    }
}
