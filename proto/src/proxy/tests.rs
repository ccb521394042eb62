//! Headers of both versions: what is written is read, whole or piece by piece, and nothing else is.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

/// One from the specification and one of many TLVs, by which most tests go.
fn examples() -> Vec<Vec<u8>> {
    let tcp = Endpoints::Tcp {
        source: "192.0.2.1:56324".parse().unwrap(),
        destination: "198.51.100.7:443".parse().unwrap(),
    };
    let unix = Endpoints::Unix { source: b"/run/client", destination: b"\0abstract" };
    let tlvs = [
        Tlv { number: ALPN, value: b"http/1.1" },
        Tlv { number: AUTHORITY, value: "gw.example.org".as_bytes() },
        Tlv { number: CHECKSUM, value: &[0; 4] },
        Tlv { number: NOTHING, value: &[0; 9] },
        Tlv { number: UNIQUE_ID, value: &[7; MAX_UNIQUE_ID] },
        Tlv { number: TLS, value: b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x03Joe" },
        Tlv { number: NAMESPACE, value: b"blue" },
        Tlv { number: 0xEA, value: b"\x01vpce-0123" },
    ];
    let mut out = [0; MOST];
    let mut all = vec![b"PROXY UNKNOWN\r\n".to_vec(), b"PROXY UNKNOWN of old\r\n".to_vec()];
    let length = write_v1(&mut out, &tcp).unwrap();
    assert_eq!(&out[..length], b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
    all.push(out[..length].to_vec());
    for endpoints in [tcp, unix, Endpoints::Local, Endpoints::Unknown] {
        for tlvs in [&tlvs[..], &[]] {
            let length = write_v2(&mut out, &endpoints, tlvs).unwrap();
            all.push(out[..length].to_vec());
        }
    }
    all
}

fn whole(bytes: &[u8]) -> (usize, ProxyHeader<'_>) {
    match parse(bytes) {
        Ok(ProxyParsed::Whole { length, header }) => (length, header),
        other => panic!("{bytes:?}: {other:?}"),
    }
}

#[test]
fn a_header_is_read_at_its_last_byte_and_not_before() {
    for example in examples() {
        for end in 0..example.len() {
            assert_eq!(parse(&example[..end]), Ok(ProxyParsed::Incomplete), "{example:?} {end}");
        }
        let behind = [&example[..], b"PROXY "].concat();
        assert_eq!(whole(&behind), whole(&example));
        assert_eq!(whole(&example).0, example.len());
        assert!(looks_like_header(&example) && looks_like_header(&behind[example.len()..]));
    }
}

#[test]
fn all_that_a_header_says_is_heard() {
    let example = &examples()[3];
    let (_, header) = whole(example);
    assert_eq!(header.alpn(), Some(&b"http/1.1"[..]));
    assert_eq!(header.authority(), Some("gw.example.org"));
    assert_eq!(header.unique_id(), Some(&[7; MAX_UNIQUE_ID][..]));
    assert_eq!(header.namespace(), Some("blue"));
    let tls = header.tls().unwrap();
    assert!(tls.is_there() && tls.has_shown_certificate() && tls.is_verified());
    assert_eq!((tls.version(), tls.common_name()), (Some("TLSv1.3"), Some("Joe")));
    assert_eq!(header.tlvs().last(), Some(Tlv { number: 0xEA, value: b"\x01vpce-0123" }));
    assert_eq!(header.tlvs().count(), 8);

    let example = &examples()[2];
    let (_, header) = whole(example);
    assert_eq!((header.alpn(), header.tls(), header.tlvs().count()), (None, None, 0));
}

#[test]
fn section_2_2_other_signatures_are_refused_at_the_first_byte() {
    for signature in [version_1::SIGNATURE, version_2::SIGNATURE] {
        for at in 0..signature.len() {
            let mut other = signature[..=at].to_vec();
            assert_eq!(parse(&other), Ok(ProxyParsed::Incomplete));
            other[at] ^= 0x20;
            assert!(parse(&other).is_err(), "{other:?}");
            assert!(!looks_like_header(&other));
        }
    }
    // Both of them begin well.
    assert_eq!(parse(b"P\r"), Err(ProxyMistake::NoHeader));
    assert_eq!(parse(b"POST /"), Err(ProxyMistake::Http));
    assert_eq!(parse(b"\r\n\r\nGET /"), Err(ProxyMistake::NoHeader));
    assert_eq!(parse(b"\x16\x03\x01"), Err(ProxyMistake::Tls));
    assert_eq!(parse(b""), Ok(ProxyParsed::Incomplete));
}

#[test]
fn nothing_longer_than_the_limit_is_waited_for() {
    let local = [version_2::SIGNATURE, b"\x20\0\xff\xff"].concat();
    assert_eq!(parse(&local), Err(ProxyMistake::TooLong));
    assert_eq!(parse_within(&local, 16 + 0xFFFF), Ok(ProxyParsed::Incomplete));
    assert_eq!(parse_within(&examples()[2], 16), parse(&examples()[2]), "of version 2 alone");
}

#[test]
fn what_has_no_words_is_not_written() {
    let mut out = [0; MOST];
    let mixed = Endpoints::Tcp {
        source: "192.0.2.1:1".parse().unwrap(),
        destination: "[::1]:2".parse().unwrap(),
    };
    let unix = Endpoints::Unix { source: b"", destination: &[b'x'; 109] };
    assert_eq!(write_v1(&mut out, &mixed), Err(ProxyWriteError::NoWords));
    assert_eq!(write_v2(&mut out, &mixed, &[]), Err(ProxyWriteError::NoWords));
    assert_eq!(write_v1(&mut out, &unix), Err(ProxyWriteError::NoWords));
    assert_eq!(write_v1(&mut out, &Endpoints::Local), Err(ProxyWriteError::NoWords));
    assert_eq!(write_v2(&mut out, &unix, &[]), Err(ProxyWriteError::NoRoom));
    let long = Tlv { number: NOTHING, value: &[0; 0x1_0000] };
    let mut room = vec![0; 0x2_0000];
    assert_eq!(write_v2(&mut room, &Endpoints::Local, &[long]), Err(ProxyWriteError::NoRoom));
    for endpoints in [Endpoints::Unknown, Endpoints::Local] {
        for size in 0..16 {
            let small = &mut out[..size];
            assert_eq!(write_v2(small, &endpoints, &[]), Err(ProxyWriteError::NoRoom));
        }
    }
}

fn pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let version_4 = any::<[(Ipv4Addr, u16); 2]>().prop_map(|pair| pair.map(SocketAddr::from));
    let groups = prop::array::uniform8(prop_oneof![Just(0), any::<u16>()]);
    let version_6 =
        (groups, any::<u16>()).prop_map(|(groups, port)| (Ipv6Addr::from(groups), port));
    let version_6 = prop::array::uniform2(version_6).prop_map(|pair| pair.map(SocketAddr::from));
    prop_oneof![version_4, version_6].prop_map(|[source, destination]| (source, destination))
}

/// What no type is known for, so that they may be anything.
fn foreign() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let value = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec((prop_oneof![Just(NOTHING), 0x31u8..], value), 0..6)
}

proptest! {
    #[test]
    fn what_is_written_is_read(pair in pair(), foreign in foreign(), checked: bool) {
        let endpoints = Endpoints::Tcp { source: pair.0, destination: pair.1 };
        let mut out = [0; MOST];
        let length = write_v1(&mut out, &endpoints).unwrap();
        prop_assert!(length <= MAX_LINE);
        prop_assert_eq!(whole(&out), (length, ProxyHeader { endpoints, tlvs: Tlvs(&[]) }));

        let mut tlvs: Vec<_> =
            foreign.iter().map(|(number, value)| Tlv { number: *number, value }).collect();
        if checked {
            tlvs.insert(tlvs.len() / 2, Tlv { number: CHECKSUM, value: &[0; 4] });
        }
        let length = write_v2(&mut out, &endpoints, &tlvs).unwrap();
        let (read, header) = whole(&out);
        prop_assert_eq!((read, header.endpoints), (length, endpoints));
        let heard = header.tlvs().filter(|tlv| tlv.number != CHECKSUM);
        let said = tlvs.iter().filter(|tlv| tlv.number != CHECKSUM).copied();
        prop_assert!(heard.eq(said));
    }

    /// The beginning of a line that is right is never refused, and one that is not refused can
    /// become right.
    #[test]
    fn a_line_is_refused_where_nothing_could_mend_it(
        pair in pair(), at in 0..MAX_LINE, to in "[ .:0-9a-f\r]"
    ) {
        let endpoints = Endpoints::Tcp { source: pair.0, destination: pair.1 };
        let mut out = [0; MAX_LINE];
        let length = write_v1(&mut out, &endpoints).unwrap();
        for end in 0..length {
            prop_assert_eq!(parse(&out[..end]), Ok(ProxyParsed::Incomplete));
        }
        // From the second byte on: the first may also become the other version.
        let at = 1 + at % (length - 1);
        let changed = [&out[..at], to.as_bytes()].concat();
        if parse(&changed) == Ok(ProxyParsed::Incomplete) {
            prop_assert!(mended(changed.clone()), "{:?}", String::from_utf8_lossy(&changed));
        }
    }

    #[test]
    fn whatever_comes_settles_once(
        example in prop::sample::select(examples()), at: prop::sample::Index, to: u8
    ) {
        let mut bytes = example;
        let at = at.index(bytes.len());
        bytes[at] = to;
        let outcome = parse(&bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(ProxyParsed::Incomplete) => {}
                Err(_) => prop_assert!(outcome.is_err(), "{} bytes are wrong", end),
                whole => prop_assert_eq!(whole, outcome, "{} bytes are whole", end),
            }
        }
    }
}

/// Whether some bytes behind this make a header of it, tried one at a time and the shortest first.
fn mended(mut line: Vec<u8>) -> bool {
    for _ in 0..MAX_LINE {
        match parse(&line) {
            Ok(ProxyParsed::Whole { .. }) => return true,
            Ok(ProxyParsed::Incomplete) => {}
            Err(_) => return false,
        }
        // A field ends as soon as it may.
        let next = b"\n\r 0:.TCP4".iter().copied().find(|byte| {
            let more = [&line[..], &[*byte]].concat();
            parse(&more).is_ok()
        });
        let Some(next) = next else { return false };
        line.push(next);
    }
    false
}
