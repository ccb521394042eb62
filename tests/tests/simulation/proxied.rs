//! Proxies in front of clients: what they say ahead of them, and how much of it arrives when.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tidegate::config::stack::ProxyLayer;
use tidegate_proto::proxy::{
    AUTHORITY, CHECKSUM, Endpoints, NOTHING, TLS, Tlv, write_v1, write_v2,
};

use crate::random::Random;

/// The network of all proxies, and somebody outside of it.
const PROXIES: &str = "127.0.0.0/8";
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

/// From where clients have connected to their proxies.
const CLIENT_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const CLIENT_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// The port of proxies that speak for others: no client of a run has it as its number.
const PORT: u16 = 60_000;

/// The layer that listeners have in such runs.
pub fn layer() -> ProxyLayer {
    let from = vec![PROXIES.parse().expect("a network")];
    // There is room for some of what proxies say, and not for all.
    ProxyLayer { from, header: Duration::from_secs(3), keep: 14, ..ProxyLayer::default() }
}

/// A proxy in front of one client.
pub struct Front {
    /// Where the connection comes from, and where the gateway has to say that it does: its port is
    /// the client's number.
    pub socket: SocketAddr,
    pub told: SocketAddr,
    /// What has yet to arrive: the rest of the header, and all that came behind it meanwhile.
    late: VecDeque<u8>,
    how: How,
}

/// How it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// As it should.
    Right,
    /// Nothing it says is believed, or can be: nobody is answered.
    Refused,
    /// The same, and of its header a part never comes.
    Silent,
    /// It says another header behind the first.
    Twice,
}

impl Front {
    /// One in front of the client with this number. Where lines are spoken, a part of a second
    /// header may be one, so there is none.
    pub fn draw(random: &mut Random, number: usize, is_http: bool) -> Self {
        let how = match random.below(40) {
            0 | 1 => How::Refused,
            2 => How::Silent,
            3 if is_http => How::Twice,
            _ => How::Right,
        };
        let port = number as u16;
        let [from_4, from_6]: [IpAddr; 2] = [CLIENT_4.into(), CLIENT_6.into()];
        let (ip, to) = random.pick(&[
            (from_4, SocketAddr::from((ELSEWHERE, 443))),
            (from_6, SocketAddr::from((Ipv6Addr::LOCALHOST, 443))),
        ]);
        let told = SocketAddr::new(ip, port);
        let endpoints = match random.below(6) {
            0 => Endpoints::Local,
            1 => Endpoints::Unknown,
            2 => Endpoints::Unix { source: b"/run/client", destination: b"/run/proxy" },
            _ => Endpoints::Tcp { source: told, destination: to },
        };
        let tells = matches!(endpoints, Endpoints::Tcp { .. });
        let seems = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let proxy = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), PORT));
        let (mut socket, told) = if tells { (proxy, told) } else { (seems, seems) };
        let mut header = write(random, &endpoints);
        match how {
            How::Right | How::Silent => {}
            How::Twice => header.extend(write(random, &endpoints)),
            How::Refused => match random.below(3) {
                0 => socket.set_ip(ELSEWHERE.into()),
                1 => header = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
                _ => header[1] ^= 0x20,
            },
        }
        Self { socket, told, late: header.into(), how }
    }

    /// Whether its client may not be served.
    pub fn is_wrong(&self) -> bool {
        self.how != How::Right
    }

    /// Whether a part of a second header may be taken for what the client says.
    pub fn is_twofold(&self) -> bool {
        self.how == How::Twice
    }

    /// Whether its client is not even answered. (Of a second header that is cut, the beginning may
    /// be what is above reads and refuses.)
    pub fn is_mute(&self) -> bool {
        matches!(self.how, How::Refused | How::Silent)
    }

    /// Whether something has yet to arrive, and will.
    pub fn is_late(&self) -> bool {
        !self.late.is_empty() && self.how != How::Silent
    }

    /// What the client says arrives behind what has yet to; what that leaves to arrive now.
    pub fn passes_on(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.late.is_empty() {
            return bytes;
        }
        self.late.extend(bytes);
        Vec::new()
    }

    /// Some of what is late arrives.
    pub fn arrives(&mut self, random: &mut Random) -> Vec<u8> {
        let most = self.late.len() - usize::from(self.how == How::Silent);
        let count = if random.chance(500) { most } else { random.below(most + 1) };
        self.late.drain(..count).collect()
    }

    /// All that is late arrives, if it ever does.
    pub fn arrives_whole(&mut self) -> Vec<u8> {
        if self.how == How::Silent { Vec::new() } else { self.late.drain(..).collect() }
    }

    /// Nothing arrives any more.
    pub fn breaks(&mut self) {
        self.late.clear();
    }
}

/// A header, of a version that has words for it.
fn write(random: &mut Random, endpoints: &Endpoints<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 536];
    let may_be_1 = matches!(endpoints, Endpoints::Tcp { .. } | Endpoints::Unknown);
    let length = if may_be_1 && random.chance(500) {
        write_v1(&mut bytes, endpoints)
    } else {
        let filling = vec![0; random.below(100)];
        let tls = b"\x01\0\0\0\0\x21\0\x07TLSv1.3";
        let all = [
            (AUTHORITY, &b"gateway.test"[..]),
            (CHECKSUM, &[0; 4]),
            (NOTHING, &filling),
            (TLS, tls),
        ];
        let tlvs = all.map(|(number, value)| Tlv { number, value });
        write_v2(&mut bytes, endpoints, &tlvs[..random.below(tlvs.len() + 1)])
    };
    bytes.truncate(length.expect("there is room"));
    bytes
}
