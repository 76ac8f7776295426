//! A listener that only this person's programs reach: a loopback address is open to everybody on a machine.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};

/// Connections as the kernel knows them, where it tells; Linux does.
const CONNECTIONS: &str = "/proc/net/tcp";

/// Listens on 127.0.0.1, and takes connections of this user and of root, where the system says whose they are.
pub struct OwnOnly {
    listener: TcpListener,
    user: u32,
}

impl OwnOnly {
    /// Begins to listen; port 0 is one that is free.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(Self { listener, user: rustix::process::getuid().as_raw() })
    }

    /// Returns the port.
    pub fn port(&self) -> io::Result<u16> {
        self.listener.local_addr().map(|address| address.port())
    }

    /// Returns whether whoever is at the other end of a connection is nobody else.
    fn is_own(&self, peer: SocketAddr) -> bool {
        let (SocketAddr::V4(peer), Ok(SocketAddr::V4(here))) = (peer, self.listener.local_addr()) else { return false };
        let Ok(connections) = fs::read_to_string(CONNECTIONS) else { return true };
        owner(&connections, peer, here).is_none_or(|owner| owner == self.user || owner == 0)
    }
}

impl Listener for OwnOnly {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if self.is_own(peer) {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Returns the user whose socket is bound to `from` and connected to `to`, by the kernel's table (proc_pid_net(5)).
fn owner(connections: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    // The kernel prints an address as the number that its bytes are on this machine.
    let written =
        |address: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let (from, to) = (written(from), written(to));
    connections.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_it = words.next() == Some(&*from) && words.next() == Some(&*to);
        // State, queues, timer and retransmissions stand between.
        if is_it { words.nth(4)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_whose_a_connection_is() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 22 1 0 20 4 0 10 -1\n\
            \x20  2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 23 1 0 20 4 0 10 -1\n";
        let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(owner(table, at(50000), at(8080)), Some(1001));
        assert_eq!(owner(table, at(8080), at(50000)), Some(1000));
        assert_eq!(owner(table, at(50001), at(8080)), None);
    }

    #[tokio::test]
    async fn our_own_connections_are_taken() {
        let mut listener = OwnOnly::bind(0).await.unwrap();
        let _here = TcpStream::connect((Ipv4Addr::LOCALHOST, listener.port().unwrap())).await.unwrap();
        let (_, peer) = listener.accept().await;
        if let Ok(table) = fs::read_to_string(CONNECTIONS) {
            let (SocketAddr::V4(peer), SocketAddr::V4(here)) = (peer, listener.local_addr().unwrap()) else { return };
            assert_eq!(owner(&table, peer, here), Some(rustix::process::getuid().as_raw()));
        }
    }
}
