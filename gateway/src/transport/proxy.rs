//! The layer `proxy`: a header in front of all else, in which a proxy says who its peer is (PROXY
//! protocol, `tidegate_proto::proxy`).
//!
//! Whoever may send a header may say that it is anybody, so it is known before whether one is
//! believed: of those that are not listed nothing is read at all. Once a connection's header is
//! there, its bytes are those of what is above, and nothing is kept of it here.

use std::fmt;

use ipnet::IpNet;
use tidegate_proto::proxy::{self, Endpoints, ProxyHeader, ProxyMistake, ProxyParsed};

use super::Broken;
use crate::config::stack::ProxyLayer;
use crate::kernel::{Peer, Slot, SlotSet};

/// Why a connection is closed that should have come through a proxy. Nothing goes on the wire:
/// whoever made the mistake does not read answers of what is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyRefusal {
    /// Its address is not that of a proxy.
    Stranger,
    /// Its header was not there in time.
    TimedOut,
    /// Behind its header is another one.
    Twice,
    /// What came is no header.
    Mistake(ProxyMistake),
}

/// How many there are that are no mistakes in a header.
const OTHERS: usize = 3;

impl ProxyRefusal {
    /// How many there are.
    pub const COUNT: usize = OTHERS + ProxyMistake::ALL.len();

    /// All of them, in their order.
    pub fn all() -> impl Iterator<Item = Self> {
        let others: [Self; OTHERS] = [Self::Stranger, Self::TimedOut, Self::Twice];
        others.into_iter().chain(ProxyMistake::ALL.into_iter().map(Self::Mistake))
    }

    /// Its place among all.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Stranger => 0,
            Self::TimedOut => 1,
            Self::Twice => 2,
            Self::Mistake(mistake) => OTHERS + mistake.place(),
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::TimedOut => "timed_out",
            Self::Twice => "twice",
            Self::Mistake(mistake) => mistake.name(),
        }
    }
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => out.write_str(
                "it is in none of the networks of `proxy?from`; does it come past the proxy, or is \
                 the proxy not listed?",
            ),
            Self::TimedOut => out.write_str(
                "its PROXY header was not there in time; does the proxy send one at once?",
            ),
            Self::Twice => out.write_str(
                "another PROXY header is behind the first; let one proxy of the chain send it",
            ),
            Self::Mistake(ProxyMistake::TooLong) => out.write_str(
                "its PROXY header is longer than `proxy?max` allows; raise that, or let the proxy \
                 send less with it",
            ),
            Self::Mistake(mistake) => mistake.fmt(out),
        }
    }
}

/// Who is believed, and how much they may say, as a listener's stack has it.
pub(super) struct Believed {
    /// Empty where everybody is.
    from: Vec<IpNet>,
    /// Bytes of the longest header.
    max: usize,
}

impl Believed {
    pub(super) fn new(layer: &ProxyLayer) -> Self {
        Self { from: layer.from.clone(), max: layer.max as usize }
    }

    /// Whether what a peer says of who it is holds.
    pub(super) fn has(&self, peer: Peer) -> bool {
        let is_in = |ip| self.from.iter().any(|network| network.contains(&ip));
        self.from.is_empty() || peer.ip().is_some_and(is_in)
    }
}

/// What a header has said of who the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyTold {
    /// It is this one.
    Peer(Peer),
    /// It is who it seems to be: the proxy speaks for itself, or has no words for its peer.
    Nothing,
}

impl ProxyTold {
    fn new(header: &ProxyHeader<'_>) -> Self {
        match header.endpoints {
            Endpoints::Tcp { source, .. } => Self::Peer(source.into()),
            // The names of another machine's sockets mean nothing here, and mostly there are none.
            Endpoints::Local | Endpoints::Unix { .. } | Endpoints::Unknown => Self::Nothing,
        }
    }
}

/// What a shard keeps of connections that come through proxies, whatever their listeners.
pub struct Proxied {
    /// Whose header is not all there.
    awaited: SlotSet,
    /// Whose header is there, and of what is behind it nothing yet.
    bare: SlotSet,
    /// What the header has said that was read last, and why what was read last is none; until the
    /// shard takes them.
    told: Option<ProxyTold>,
    refusal: Option<ProxyRefusal>,
}

impl Proxied {
    /// The bytes that it holds for so many slots.
    #[must_use]
    pub fn bytes(slots: u32) -> u64 {
        2 * SlotSet::bytes(slots)
    }

    /// None yet, in so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self { awaited: SlotSet::new(slots), bare: SlotSet::new(slots), told: None, refusal: None }
    }

    /// A connection has come in, which has to begin with a header.
    pub(super) fn begin(&mut self, slot: Slot) {
        self.awaited.insert(slot);
    }

    /// Whether the header of a connection is not all there.
    pub(super) fn awaits(&self, slot: Slot) -> bool {
        self.awaited.contains(slot)
    }

    /// Whether what comes next on a connection has to be looked at here.
    pub(super) fn looks_at(&self, slot: Slot) -> bool {
        self.awaited.contains(slot) || self.bare.contains(slot)
    }

    /// Reads what has come of a connection that is looked at, whose proxy is `believed`: how long
    /// its header is, if there is one and all of it is there, or nothing of it if that has come
    /// before.
    ///
    /// # Errors
    /// It is no header, or there are two: see [`Proxied::take_refusal`].
    pub(super) fn read(
        &mut self,
        believed: &Believed,
        slot: Slot,
        received: &[u8],
    ) -> Result<Option<usize>, Broken> {
        let (length, told) = match self.awaited.contains(slot) {
            false => (0, None),
            true => match proxy::parse_within(received, believed.max) {
                Ok(ProxyParsed::Incomplete) => return Ok(None),
                Ok(ProxyParsed::Whole { length, header }) => {
                    (length, Some(ProxyTold::new(&header)))
                }
                Err(mistake) => return Err(self.refuse(ProxyRefusal::Mistake(mistake))),
            },
        };
        let behind = &received[length..];
        // A header that is cut is not waited for: what is above begins as it likes, and may mean
        // what the first bytes of one are.
        if proxy::looks_like_header(behind) {
            return Err(self.refuse(ProxyRefusal::Twice));
        }
        self.awaited.remove(slot);
        self.bare.remove(slot);
        if behind.is_empty() {
            self.bare.insert(slot);
        }
        self.told = told;
        Ok(Some(length))
    }

    fn refuse(&mut self, refusal: ProxyRefusal) -> Broken {
        self.refusal = Some(refusal);
        Broken
    }

    /// What the header has said that was read just now, if there was one.
    pub fn take_told(&mut self) -> Option<ProxyTold> {
        self.told.take()
    }

    /// Why what came just now could not be read here, if it could not.
    pub fn take_refusal(&mut self) -> Option<ProxyRefusal> {
        self.refusal.take()
    }

    /// A connection has ended.
    pub(super) fn end(&mut self, slot: Slot) {
        self.awaited.remove(slot);
        self.bare.remove(slot);
    }

    /// Whether nothing is known of anyone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.awaited.is_empty() && self.bare.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tidegate_proto::proxy::{Tlv, write_v1, write_v2};

    use super::super::{OpenedInput, Transport, Transports};
    use super::*;
    use crate::config::{Config, Listener, Stack};

    const SLOT: Slot = 5;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn endpoints() -> Endpoints<'static> {
        let [source, destination] = ["192.0.2.7:4711", "192.0.2.1:443"].map(address);
        Endpoints::Tcp { source, destination }
    }

    fn version_1() -> Vec<u8> {
        let mut bytes = vec![0; 107];
        let length = write_v1(&mut bytes, &endpoints()).expect("room");
        bytes.truncate(length);
        bytes
    }

    fn version_2(endpoints: &Endpoints<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 536];
        let length = write_v2(&mut bytes, endpoints, &[]).expect("room");
        bytes.truncate(length);
        bytes
    }

    fn listener(stack: &str) -> Listener {
        Listener { stack: Stack::parse(stack).expect("a stack"), ..Listener::default() }
    }

    fn transport(stack: &str) -> Transport {
        Transport::new(&listener(stack), None, None)
    }

    /// A connection behind a proxy, of which nothing has come.
    fn begun() -> (Transport, Transports) {
        begun_behind("ws!proxy?from=10.0.0.0/8!tcp")
    }

    fn begun_behind(stack: &str) -> (Transport, Transports) {
        let listener = listener(stack);
        let mut transport = Transport::new(&listener, None, None);
        let config = Config { listeners: vec![listener], ..Config::default() };
        let mut all = Transports::new(&config, false);
        transport.begin(&mut all, SLOT);
        (transport, all)
    }

    fn open(
        (transport, all): &mut (Transport, Transports),
        bytes: &[u8],
    ) -> Result<OpenedInput, Broken> {
        let mut words = Vec::new();
        let opened = transport.open(all, SLOT, &mut bytes.to_vec(), &mut words);
        assert!(words.is_empty(), "nobody is answered");
        opened
    }

    #[test]
    fn all_have_a_place_and_a_name_of_their_own() {
        let all: Vec<_> = ProxyRefusal::all().collect();
        assert_eq!(all.len(), ProxyRefusal::COUNT);
        assert!(all.iter().enumerate().all(|(place, refusal)| refusal.place() == place));
        let mut names: Vec<_> = all.iter().map(|refusal| refusal.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn those_are_believed_who_are_listed() {
        let listed = transport("ws!proxy?from=10.0.0.0/8,2001:db8::/32,192.0.2.7!tcp");
        let believes = |text| listed.believes(address(text).into());
        assert!(believes("10.255.0.1:1") && believes("[2001:db8::9]:1"));
        assert!(believes("192.0.2.7:1") && believes("[::ffff:10.0.0.1]:1"));
        assert!(!believes("11.0.0.1:1") && !believes("[2001:db9::]:1"));
        assert!(!believes("192.0.2.8:1") && !listed.believes(Peer::Unknown));
        let plain = transport("ws!tcp");
        assert!(plain.believes(address("11.0.0.1:1").into()));
        // Over a Unix socket, whose peers have no address, everybody is.
        assert!(transport("ws!proxy!unix").believes(Peer::Unknown));
    }

    #[test]
    fn a_header_is_read_wherever_it_is_cut_and_what_is_behind_it_is_plain() {
        for header in [version_1(), version_2(&endpoints())] {
            for behind in [&b""[..], b"GET / HTTP/1.1\r\n"] {
                let bytes = [&header, behind].concat();
                for cut in 0..header.len() {
                    let mut one = begun();
                    let nothing = OpenedInput::default();
                    assert_eq!(open(&mut one, &bytes[..cut]), Ok(nothing.clone()), "{cut}");
                    assert!(one.0.opens(&one.1, SLOT) && !one.0.is_ready(&one.1, SLOT));
                    assert_eq!(one.1.proxied.take_told(), None);
                    let opened = open(&mut one, &bytes).expect("a header");
                    let (from, to) = (header.len(), bytes.len());
                    assert_eq!(opened, OpenedInput { plain: from..to, used: to, ..nothing });
                    let peer = ProxyTold::Peer(address("192.0.2.7:4711").into());
                    assert_eq!(one.1.proxied.take_told(), Some(peer));
                    assert!(one.0.is_ready(&one.1, SLOT));
                    assert_eq!(open(&mut one, b"more"), Ok(OpenedInput::all(4)));
                    assert!(!one.0.opens(&one.1, SLOT) && one.1.is_empty(), "it is as any other");
                    assert_eq!(one.1.proxied.take_told(), None);
                }
            }
        }
    }

    #[test]
    fn who_has_no_words_for_its_peer_tells_nothing() {
        let unix = Endpoints::Unix { source: b"/a", destination: b"/b" };
        for endpoints in [Endpoints::Local, Endpoints::Unknown, unix] {
            let mut one = begun();
            assert!(open(&mut one, &version_2(&endpoints)).is_ok());
            assert_eq!(one.1.proxied.take_told(), Some(ProxyTold::Nothing), "{endpoints:?}");
        }
    }

    #[test]
    fn an_address_of_version_4_within_one_of_version_6_is_told_as_what_it_is() {
        let [source, destination] = ["[::ffff:192.0.2.7]:80", "[::1]:80"].map(address);
        let mut one = begun();
        assert!(open(&mut one, &version_2(&Endpoints::Tcp { source, destination })).is_ok());
        let peer = Peer::Ip(address("192.0.2.7:80"));
        assert_eq!(one.1.proxied.take_told(), Some(ProxyTold::Peer(peer)));
    }

    #[test]
    fn a_second_header_is_refused_wherever_the_first_ends() {
        for second in [version_1(), version_2(&endpoints())] {
            let first = version_2(&endpoints());
            let mut one = begun();
            assert_eq!(open(&mut one, &[&first[..], &second].concat()), Err(Broken));
            assert_eq!(one.1.proxied.take_refusal(), Some(ProxyRefusal::Twice));
            assert_eq!(one.1.proxied.take_told(), None);
            let mut one = begun();
            assert!(open(&mut one, &first).is_ok());
            assert_eq!(open(&mut one, &second), Err(Broken));
            assert_eq!(one.1.proxied.take_refusal(), Some(ProxyRefusal::Twice));
            // Later it is whatever it is above.
            let mut one = begun();
            assert!(open(&mut one, &[&first[..], b"a"].concat()).is_ok());
            assert_eq!(open(&mut one, &second), Ok(OpenedInput::all(second.len())));
        }
    }

    #[test]
    fn a_header_may_be_as_long_as_the_option_says() {
        for (stack, max) in [("from=::1", 536), ("from=::1&max=600", 600), ("from=::1&max=1KiB", 1024)]
        {
            let of_length = |length: usize| {
                let filling = vec![0; length - 16 - 12 - 3];
                let mut bytes = vec![0; length];
                let tlv = Tlv { number: 0xE0, value: &filling };
                assert_eq!(write_v2(&mut bytes, &endpoints(), &[tlv]), Ok(length));
                bytes
            };
            let mut one = begun_behind(&format!("ws!proxy?{stack}!tcp"));
            let header = of_length(max);
            assert_eq!(open(&mut one, &header[..max - 1]), Ok(OpenedInput::default()));
            assert_eq!(open(&mut one, &header).expect("a header").used, max);
            let mut one = begun_behind(&format!("ws!proxy?{stack}!tcp"));
            assert_eq!(open(&mut one, &of_length(max + 1)[..16]), Err(Broken), "not waited for");
            let refusal = one.1.proxied.take_refusal().expect("why");
            assert_eq!(refusal, ProxyRefusal::Mistake(ProxyMistake::TooLong));
            assert!(refusal.to_string().contains("`proxy?max`"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_by_its_name_and_forgotten() {
        let mut one = begun();
        assert_eq!(open(&mut one, b"GET / HTTP/1.1\r\n"), Err(Broken));
        let refusal = one.1.proxied.take_refusal().expect("why");
        assert_eq!(refusal.name(), "http");
        assert!(refusal.to_string().contains("does the proxy send one"), "{refusal}");
        assert_eq!(one.1.proxied.take_refusal(), None);
        assert!(!one.1.is_empty());
        one.0.end(&mut one.1, SLOT);
        assert!(one.1.is_empty());
    }
}
