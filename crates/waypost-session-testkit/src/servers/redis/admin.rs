//! Single commands to a server, as `redis-cli` would send them.

use core::time::Duration;
use std::io;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// How long one command may take, so that a server that hangs is noticed.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends one command through a server's unix socket.
pub(super) async fn by_socket(
    path: &Path,
    password: Option<&str>,
    command: &[&str],
) -> io::Result<Vec<String>> {
    within(async { exchange(UnixStream::connect(path).await?, password, command).await }).await
}

/// Sends one command to a port of this machine.
pub(super) async fn by_port(port: u16, command: &[&str]) -> io::Result<Vec<String>> {
    within(async { exchange(TcpStream::connect(("127.0.0.1", port)).await?, None, command).await }).await
}

async fn within<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(COMMAND_TIMEOUT, exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The texts and numbers of the answer, one after the other.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    password: Option<&str>,
    command: &[&str],
) -> io::Result<Vec<String>> {
    let mut request = Vec::new();
    if let Some(password) = password {
        encode(&mut request, &["AUTH", password]);
    }
    encode(&mut request, command);
    stream.write_all(&request).await?;
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = received.as_slice();
        let mut answer = Vec::new();
        let whole = (password.is_none() || take(&mut rest, &mut Vec::new()).is_some())
            && take(&mut rest, &mut answer).is_some();
        if !whole {
            continue;
        }
        return match answer.first().and_then(|line| line.strip_prefix('-')) {
            Some(error) => Err(io::Error::other(format!("{}: {error}", command.join(" ")))),
            None => Ok(answer),
        };
    }
}

/// Takes one answer off the front, flattened; `None` when it is not whole. An error keeps its `-`. A long text is given
/// line by line.
fn take(rest: &mut &[u8], out: &mut Vec<String>) -> Option<()> {
    let line = take_line(rest)?;
    let (kind, text) = line.split_at_checked(1)?;
    match kind {
        "-" => out.push(line.to_owned()),
        "*" => {
            for _ in 0..text.parse().unwrap_or(0) {
                take(rest, out)?;
            }
        }
        "$" => {
            if let Ok(len) = text.parse::<usize>() {
                let text = rest.get(..len)?;
                *rest = rest.get(len + 2..)?;
                let text = String::from_utf8_lossy(text);
                out.extend(text.lines().map(str::to_owned));
            }
        }
        _ => out.push(text.to_owned()),
    }
    Some(())
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = core::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 2..];
    Some(line)
}

fn encode(out: &mut Vec<u8>, command: &[&str]) {
    out.extend(format!("*{}\r\n", command.len()).bytes());
    for word in command {
        out.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
}
