//! Ports of servers that are ended and started again on the same one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that the system gives to nobody else, whether its server is running or not.
///
/// It is held by a socket that is bound, with `SO_REUSEADDR`, and never listens. Beside that a server can listen which
/// sets `SO_REUSEADDR` too, as tokio, `std` and `redis-server` do, while the system passes the port by when it chooses
/// one for somebody (Linux, `inet_csk_find_open_port` and `__inet_hash_connect`).
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    /// Not listening.
    _socket: TcpSocket,
}

impl ReservedPort {
    /// Reserves a port that is free.
    ///
    /// # Errors
    /// When there is none.
    pub fn new() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let number = socket.local_addr()?.port();
        Ok(Self {
            number,
            _socket: socket,
        })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// As `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_server_listens_there_again_and_again() {
        let port = ReservedPort::new().unwrap();
        let place = (Ipv4Addr::LOCALHOST, port.number());
        for _ in 0..3 {
            let server = TcpListener::bind(place).unwrap();
            let client = TcpStream::connect(place).unwrap();
            let (accepted, _) = server.accept().unwrap();
            // The server's side ends first, as when its process is killed: its end stays with the system for a while.
            drop((accepted, server));
            drop(client);
            TcpStream::connect(place).unwrap_err();
        }
    }

    #[test]
    fn nobody_else_is_given_it_while_its_server_is_away() {
        let port = ReservedPort::new().unwrap();
        // As the system checks the ports that it chooses: what was bound with `SO_REUSEADDR` is no reason to share.
        let other = TcpSocket::new_v4().unwrap();
        let error = other
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port.number())))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
