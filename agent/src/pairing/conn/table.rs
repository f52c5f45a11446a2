//! Connections by their kernel identity.
//!
//! The kernel says when a connection ends, but that record can be lost when the ring
//! is full, so the table is bounded by itself: a new connection takes the place of
//! one that is idle and was not used lately (second chance, as in page replacement).

use super::exchanges::List;
use super::http2::Session;
use crate::model::exchange::{ConnInfo, Endpoint, Side};
use remora_common::record::{self, conn_flags, family, role};
use rustc_hash::FxHashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Flags of a connection whose header compression began before it was seen. One that
/// changes from HTTP/1 to HTTP/2 begins that anew.
const JOINED_HTTP2: u8 = conn_flags::JOINED | conn_flags::HTTP2;
/// Slots looked at to find one to give up.
const SEARCH: usize = 64;

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) info: ConnInfo,
    pub(super) side: Side,
    /// Process that was seen first on it.
    pub(super) tgid: u32,
    /// Exchanges under way.
    pub(super) pending: List,
    /// What is known of it if it carries HTTP/2.
    pub(super) session: Option<Box<Session>>,
    /// Whether it carried HTTP/2 before the agent came.
    pub(super) joined_http2: bool,
    /// One more than the highest index that is finished.
    pub(super) finished: u64,
    used: bool,
}

impl Conn {
    /// Reads a CONN record; `None` if its family or role is not a known one.
    pub(super) fn new(record: &record::Conn, path: &[u8]) -> Option<Self> {
        let side = match record.role {
            role::SERVER => Side::Server,
            role::CLIENT => Side::Client,
            _ => return None,
        };
        let tcp = |address: &[u8; 16], port| {
            let ip = match record.family {
                family::INET => IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?)),
                family::INET6 => IpAddr::V6(Ipv6Addr::from(*address)).to_canonical(),
                _ => return None,
            };
            Some(Endpoint::Tcp(SocketAddr::new(ip, port)))
        };
        let (local, peer) = if record.family == family::UNIX {
            // The path is the listening socket's; the connecting one rarely has any.
            let (listening, other) = (
                Endpoint::Unix(unix_name(path)),
                Endpoint::Unix(String::new()),
            );
            if side == Side::Server {
                (listening, other)
            } else {
                (other, listening)
            }
        } else {
            let local = tcp(&record.local_addr, record.local_port)?;
            (local, tcp(&record.remote_addr, record.remote_port)?)
        };
        Some(Self {
            info: ConnInfo {
                id: record.conn,
                netns: record.netns,
                local,
                peer,
            },
            side,
            tgid: record.tgid,
            pending: List::default(),
            session: None,
            joined_http2: record.flags & JOINED_HTTP2 == JOINED_HTTP2,
            finished: 0,
            used: false,
        })
    }
}

/// A Unix socket's name as people write it, at most 108 bytes of it.
fn unix_name(path: &[u8]) -> String {
    let path = &path[..path.len().min(108)];
    match path.strip_prefix(b"\0") {
        Some(name) => format!("@{}", String::from_utf8_lossy(name)),
        // The kernel's length may count the NUL that ends a path.
        None => {
            let end = path.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&path[..end.unwrap_or(path.len())]).into_owned()
        }
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Table {
    by_id: FxHashMap<u64, u32>,
    slots: Vec<Option<Conn>>,
    free: Vec<u32>,
    hand: usize,
    max: usize,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self {
            by_id: FxHashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            max: max.clamp(1, u32::MAX as usize),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The connection with this identity.
    #[inline]
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Conn> {
        let conn = self
            .slots
            .get_mut(*self.by_id.get(&id)? as usize)?
            .as_mut()?;
        conn.used = true;
        Some(conn)
    }

    /// All connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().flatten()
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, id: u64) -> Option<Conn> {
        let slot = self.by_id.remove(&id)?;
        self.free.push(slot);
        self.slots.get_mut(slot as usize)?.take()
    }

    /// Puts a connection in that is not there yet; gives back the one it replaces.
    pub(super) fn insert(&mut self, conn: Conn) -> Option<Conn> {
        let evicted = if self.len() >= self.max {
            self.evict()
        } else {
            None
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.by_id.insert(conn.info.id, slot);
        self.slots[slot as usize] = Some(conn);
        evicted
    }

    fn evict(&mut self) -> Option<Conn> {
        let mut victim = None;
        for _ in 0..SEARCH {
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(conn) = &mut self.slots[self.hand] else {
                continue;
            };
            let idle = conn.pending.is_empty();
            let used = std::mem::replace(&mut conn.used, false);
            if victim.is_none() || !used {
                victim = Some(conn.info.id);
            }
            if idle && !used {
                break;
            }
        }
        self.remove(victim?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream;

    fn conn(id: u64) -> Conn {
        Conn::new(&stream::conn_record(id, role::SERVER), &[]).unwrap()
    }

    #[test]
    fn a_full_table_gives_up_what_was_not_used() {
        let mut table = Table::new(4);
        for id in 0..4 {
            assert!(table.insert(conn(id)).is_none());
        }
        for id in 4..100 {
            table.get_mut(2).unwrap();
            let evicted = table.insert(conn(id)).unwrap();
            assert_ne!(evicted.info.id, 2);
            assert_eq!(table.len(), 4);
        }
        assert!(table.slots.len() <= 4);
        assert!(table.remove(2).is_some());
        assert!(table.remove(2).is_none());
        assert!(table.insert(conn(2)).is_none());
    }

    #[test]
    fn addresses_of_every_family() {
        let mut record = stream::conn_record(1, role::CLIENT);
        let text = |record: &record::Conn| {
            let conn = Conn::new(record, &[]).unwrap();
            match (conn.info.local, conn.info.peer) {
                (Endpoint::Tcp(local), Endpoint::Tcp(peer)) => format!("{local} {peer}"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(text(&record), "127.0.0.1:8080 127.0.0.1:51324");
        record.family = family::INET6;
        record.local_addr = Ipv6Addr::LOCALHOST.octets();
        record.remote_addr = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
        assert_eq!(text(&record), "[::1]:8080 10.0.0.1:51324");
        record.family = 77;
        assert!(Conn::new(&record, &[]).is_none());
        record.family = family::INET;
        record.role = 0;
        assert!(Conn::new(&record, &[]).is_none());
    }

    #[test]
    fn the_name_of_a_unix_socket_is_on_the_listening_side() {
        let mut record = stream::conn_record(1, role::SERVER);
        record.family = family::UNIX;
        let unix = |name: &str| Endpoint::Unix(name.to_owned());
        let server = Conn::new(&record, b"/run/app.sock").unwrap().info;
        assert_eq!(
            (server.local, server.peer),
            (unix("/run/app.sock"), unix(""))
        );
        let counted = Conn::new(&record, b"/run/app.sock\0").unwrap().info;
        assert_eq!(counted.local, unix("/run/app.sock"));
        record.role = role::CLIENT;
        let client = Conn::new(&record, b"\0bus").unwrap().info;
        assert_eq!((client.local, client.peer), (unix(""), unix("@bus")));
    }
}
