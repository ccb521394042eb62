//! What proxies say of their clients beside the address, as far as it is kept.

use tidegate_proto::proxy::{Endpoints, ProxiedTls, ProxyHeader};

use crate::kernel::Slot;
use crate::memory::SideTable;

/// What a proxy has said of its client beside the address, in a header of version 2 of the PROXY
/// protocol (HAProxy's `proxy-protocol.txt`, whose sections are named here). It is the word of a
/// proxy that the listener believes; what the client has chosen itself is told as such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyFacts {
    /// The name of the host that the client has asked for (section 2.2.2), which in TLS is called
    /// SNI. The client chose it: it need not be a name, and may have control characters.
    pub authority: Option<Box<str>>,
    /// The protocol that was agreed on within TLS, as in RFC 7301 (section 2.2.1).
    pub alpn: Option<Box<[u8]>>,
    /// What the proxy knows the connection by, at most 128 bytes (section 2.2.5).
    pub unique_id: Option<Box<[u8]>>,
    /// What TLS was between the client and the proxy (section 2.2.6). `None` where the client came
    /// without, or the proxy does not say.
    pub tls: Option<TlsToProxy>,
    /// From which Unix socket the client has connected to the proxy, which is one of the proxy's
    /// machine: at most 108 bytes, without the zeros that it was filled up with. One without a name
    /// is empty, and an abstract one begins with a zero.
    pub unix_source: Option<Box<[u8]>>,
    /// Whether the proxy has said more than is kept (`keep` of the layer `proxy`): what there was
    /// no room for is missing here, each as a whole.
    pub is_cut: bool,
}

/// What a proxy has said of the TLS between its client and itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsToProxy {
    /// The version, such as `TLSv1.3`, in ASCII.
    pub version: Option<Box<str>>,
    /// The cipher suite, such as `TLS_AES_128_GCM_SHA256`, in ASCII.
    pub cipher: Option<Box<str>>,
    /// The common name in the client's certificate. Unless that is [verified](Self::is_verified),
    /// the client chose it.
    pub common_name: Option<Box<str>>,
    /// Whether the client has shown a certificate, on this connection or before in its session.
    pub has_certificate: bool,
    /// Whether it has shown one, and the proxy found it good.
    pub is_verified: bool,
}

impl ProxyFacts {
    /// What a header says, in at most `keep` bytes; `None` if that is nothing. What says most about
    /// who the client is comes first.
    pub(super) fn of(header: &ProxyHeader<'_>, keep: usize) -> Option<Box<Self>> {
        if keep == 0 {
            return None;
        }
        let mut room = FactRoom { left: keep, is_cut: false };
        let tls = header.tls().filter(ProxiedTls::is_there);
        let common_name = room.text(tls.and_then(|tls| tls.common_name()));
        let authority = room.text(header.authority());
        let unix_source = room.bytes(match header.endpoints {
            Endpoints::Unix { source, .. } => Some(source),
            Endpoints::Local | Endpoints::Tcp { .. } | Endpoints::Unknown => None,
        });
        let unique_id = room.bytes(header.unique_id());
        let tls = tls.map(|tls| TlsToProxy {
            version: room.text(tls.version()),
            cipher: room.text(tls.cipher()),
            common_name,
            has_certificate: tls.has_certificate(),
            is_verified: tls.is_verified(),
        });
        let alpn = room.bytes(header.alpn());
        let is_cut = room.is_cut;
        let facts = Self { authority, alpn, unique_id, tls, unix_source, is_cut };
        (facts != Self::default()).then(|| Box::new(facts))
    }

    /// The Unix socket that the client has connected from, as addresses of such are written.
    #[must_use]
    pub(crate) fn unix_name(&self) -> Option<String> {
        Some(match self.unix_source.as_deref()? {
            [] => "unix:unnamed".into(),
            [0, name @ ..] => format!("unix:@{}", name.escape_ascii()),
            path => format!("unix:{}", path.escape_ascii()),
        })
    }

    /// The bytes that this holds.
    fn held(&self) -> u64 {
        let Self { authority, alpn, unique_id, tls, unix_source, is_cut: _ } = self;
        let texts = tls.iter().flat_map(|tls| [&tls.version, &tls.cipher, &tls.common_name]);
        let texts = texts.chain([authority]).flatten().map(|text| text.len());
        let bytes = [alpn, unique_id, unix_source].into_iter().flatten().map(|bytes| bytes.len());
        (size_of::<Self>() + texts.chain(bytes).sum::<usize>()) as u64
    }
}

/// The bytes that may still be kept.
struct FactRoom {
    left: usize,
    /// Something was left out.
    is_cut: bool,
}

impl FactRoom {
    fn bytes(&mut self, value: Option<&[u8]>) -> Option<Box<[u8]>> {
        self.has(value?.len()).then(|| value.map(Box::from)).flatten()
    }

    fn text(&mut self, value: Option<&str>) -> Option<Box<str>> {
        self.has(value?.len()).then(|| value.map(Box::from)).flatten()
    }

    /// Takes so many bytes, if there are as many.
    fn has(&mut self, length: usize) -> bool {
        let left = self.left.checked_sub(length);
        self.is_cut |= left.is_none();
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// What was said of those of whom something was.
#[derive(Default)]
pub(super) struct FactTable {
    entries: SideTable<Box<ProxyFacts>>,
    /// The bytes that these hold.
    bytes: u64,
}

impl FactTable {
    /// The most bytes that it takes for so many slots, if of each so many are kept.
    pub(super) fn bytes(slots: u32, keep: u32) -> u64 {
        let each = size_of::<ProxyFacts>() as u64 + u64::from(keep);
        SideTable::<Box<ProxyFacts>>::bytes(slots) + u64::from(slots) * each
    }

    pub(super) fn insert(&mut self, slot: Slot, facts: Box<ProxyFacts>) {
        self.bytes += facts.held();
        self.entries.insert(slot, facts);
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&ProxyFacts> {
        self.entries.get(slot).map(|facts| &**facts)
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(facts) = self.entries.remove(slot) {
            self.bytes -= facts.held();
        }
    }

    /// The bytes that it holds.
    pub(super) fn held(&self) -> u64 {
        self.entries.held() + self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::proxy::{
        ALPN, AUTHORITY, MAX_UNIQUE_ID, ProxyParsed, TLS, Tlv, UNIQUE_ID, parse_within, write_v2,
    };

    use super::*;

    const TLS_VALUE: &[u8] =
        b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x04J\xc3\xb6e\x23\0\x16TLS_AES_128_GCM_SHA256";

    fn facts(endpoints: Endpoints<'_>, tlvs: &[(u8, &[u8])], keep: usize) -> Option<ProxyFacts> {
        let tlvs: Vec<_> = tlvs.iter().map(|&(number, value)| Tlv { number, value }).collect();
        let mut bytes = [0; 4096];
        let length = write_v2(&mut bytes, &endpoints, &tlvs).expect("room");
        match parse_within(&bytes[..length], bytes.len()) {
            Ok(ProxyParsed::Whole { header, .. }) => {
                ProxyFacts::of(&header, keep).map(|facts| *facts)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_that_is_said_is_kept() {
        let tlvs: [(u8, &[u8]); 5] = [
            (ALPN, b"http/1.1"),
            (AUTHORITY, b"gateway.test"),
            (UNIQUE_ID, &[7; MAX_UNIQUE_ID]),
            (TLS, TLS_VALUE),
            (0xE0, b"nobody asks for that"),
        ];
        let expected = ProxyFacts {
            authority: Some("gateway.test".into()),
            alpn: Some((*b"http/1.1").into()),
            unique_id: Some([7; MAX_UNIQUE_ID].into()),
            tls: Some(TlsToProxy {
                version: Some("TLSv1.3".into()),
                cipher: Some("TLS_AES_128_GCM_SHA256".into()),
                common_name: Some("J\u{f6}e".into()),
                has_certificate: true,
                is_verified: true,
            }),
            unix_source: None,
            is_cut: false,
        };
        assert_eq!(facts(Endpoints::Unknown, &tlvs, 512).as_ref(), Some(&expected));
        let all = 12 + 8 + 128 + 7 + 22 + 4;
        assert_eq!(facts(Endpoints::Unknown, &tlvs, all).as_ref(), Some(&expected));
        assert_eq!(expected.held(), (size_of::<ProxyFacts>() + all) as u64);
        // What says most of who it is comes first, and nothing is told in part.
        for keep in 1..all {
            let cut = facts(Endpoints::Unknown, &tlvs, keep).expect("some");
            assert!(cut.is_cut && cut.held() <= (size_of::<ProxyFacts>() + keep) as u64);
            let tls = cut.tls.expect("whatever else is cut");
            assert!(tls.is_verified && (tls.common_name.is_some() || keep < 4), "{keep}");
            assert!(cut.authority.is_none_or(|name| &*name == "gateway.test"));
        }
    }

    #[test]
    fn where_nothing_is_said_or_kept_there_is_nothing() {
        assert_eq!(facts(Endpoints::Unknown, &[(0xE0, b"a")], 512), None);
        assert_eq!(facts(Endpoints::Unknown, &[(AUTHORITY, b"a")], 0), None);
        // Of LOCAL nothing is read, and of a client without TLS there is none.
        assert_eq!(facts(Endpoints::Local, &[(AUTHORITY, b"a")], 512), None);
        assert_eq!(facts(Endpoints::Unknown, &[(TLS, b"\0\0\0\0\x01")], 512), None);
        let unverified = facts(Endpoints::Unknown, &[(TLS, b"\x03\0\0\0\x14\x22\0\x01x")], 512);
        let tls = unverified.and_then(|facts| facts.tls).expect("some");
        assert!(tls.has_certificate && !tls.is_verified);
        assert_eq!((tls.common_name.as_deref(), tls.version), (Some("x"), None));
    }

    #[test]
    fn a_unix_socket_is_named_as_its_address_is_written() {
        for (source, name) in [
            (&b"/run/a\nb"[..], "unix:/run/a\\nb"),
            (b"\0abstract", "unix:@abstract"),
            (b"", "unix:unnamed"),
        ] {
            let facts = facts(Endpoints::Unix { source, destination: b"/b" }, &[], 512);
            assert_eq!(facts.expect("some").unix_name().as_deref(), Some(name));
        }
    }

    #[test]
    fn a_full_table_holds_no_more_than_is_said() {
        let mut table = FactTable::default();
        let longest = [(AUTHORITY, &[b'a'; 100][..])];
        let facts = facts(Endpoints::Unknown, &longest, 100).expect("some");
        (0..1000).for_each(|slot| table.insert(slot, Box::new(facts.clone())));
        assert!(table.held() <= FactTable::bytes(1000, 100), "{}", table.held());
        assert_eq!(table.get(999), Some(&facts));
        (0..1000).for_each(|slot| table.remove(slot));
        assert!(table.is_empty() && table.get(999).is_none());
    }
}
