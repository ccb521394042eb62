//! Any bytes as what comes in front of a connection from a proxy, beside another reader of the
//! PROXY protocol.

use proxy_header::{ParseConfig, ProxyHeader as Other, Tlv as OtherTlv};
use tidegate_proto::proxy::{
    CHECKSUM, Endpoints, MAX_LINE, MOST, ProxyHeader, ProxyMistake, ProxyParsed, Tlv, parse,
    write_v1, write_v2,
};

/// How many bytes a header of version 2 has in front of its addresses.
const FIXED: usize = 16;

/// # Panics
/// What was settled changes with more input; `proxy-header` reads something else, and it is none of
/// the differences that are known; or what is heard is not what is written again.
pub fn proxy(data: &[u8]) {
    let outcome = parse(data);
    settles(data, &outcome);
    match (outcome, Other::parse(data, ParseConfig::default())) {
        (Ok(ProxyParsed::Whole { length, header }), other) => {
            agrees(&data[..length], &header, other);
            is_written_again(&data[..length], &header);
        }
        (Ok(ProxyParsed::Incomplete), other) => {
            assert!(data.len() < MOST, "{} bytes are not enough", data.len());
            // It wants at least 15 or 16 bytes of everything.
            assert_eq!(other, Err(proxy_header::Error::BufferTooShort));
        }
        (Err(mistake), Ok((_, length))) => is_stricter(&data[..length], mistake),
        (Err(_), Err(_)) => {}
    }
}

/// What a beginning is settles what the whole is.
fn settles(data: &[u8], outcome: &Result<ProxyParsed<'_>, ProxyMistake>) {
    for end in 0..data.len().min(MOST + 1) {
        match parse(&data[..end]) {
            Ok(ProxyParsed::Incomplete) => {}
            Err(mistake) => assert!(outcome.is_err(), "{end} bytes are wrong: {mistake}"),
            whole => assert_eq!(whole, *outcome, "{end} bytes are a header"),
        }
    }
}

/// The other reader hears the same of a header.
fn agrees(
    header: &[u8],
    ours: &ProxyHeader<'_>,
    other: Result<(Other<'_>, usize), proxy_header::Error>,
) {
    if ours.endpoints == Endpoints::Local {
        // Its block is to be discarded, "including the family which is ignored". The other reader
        // holds that against the length, and takes what is left for TLVs.
        return;
    }
    let (other, length) = other.expect("a header");
    assert_eq!(length, header.len());
    let addresses = other.proxied_address().map(|both| (both.source, both.destination));
    let expected = match ours.endpoints {
        Endpoints::Tcp { source, destination } => Some((source, destination)),
        _ => None,
    };
    assert_eq!(addresses, expected);
    let mut tlvs = ours.tlvs();
    for other in other.tlvs() {
        let tlv = tlvs.next().expect("as many TLVs");
        assert_eq!(OtherTlv::decode(tlv.number, tlv.value), other);
    }
    assert_eq!(tlvs.next(), None, "as few TLVs");
    typed(ours, &other);
}

fn typed(ours: &ProxyHeader<'_>, other: &Other<'_>) {
    assert_eq!(ours.alpn(), other.alpn());
    assert_eq!(ours.authority(), other.authority());
    assert_eq!(ours.unique_id(), other.unique_id());
    assert_eq!(ours.namespace(), other.netns());
    assert_eq!(ours.tls().is_some(), other.ssl().is_some());
    let (Some(tls), Some(other)) = (ours.tls(), other.ssl()) else { return };
    assert_eq!(tls.is_there(), other.client_ssl());
    assert_eq!(tls.has_shown_certificate(), other.client_cert_conn());
    assert_eq!(tls.has_certificate(), other.client_cert_conn() || other.client_cert_sess());
    assert_eq!(tls.verify, other.verify());
    assert_eq!(tls.version(), other.version());
    assert_eq!(tls.common_name(), other.cn());
    assert_eq!(tls.cipher(), other.cipher());
    assert_eq!(tls.signature_algorithm(), other.sig_alg());
    assert_eq!(tls.key_algorithm(), other.key_alg());
}

/// Why what the other reader takes is refused.
fn is_stricter(header: &[u8], mistake: ProxyMistake) {
    use ProxyMistake as M;
    let line = String::from_utf8_lossy(header);
    let ports = line.trim_end().split(' ').skip(4);
    match mistake {
        // It looks at a line's length only where it finds no end, and not at the byte behind
        // `PROXY`, nor at those behind `UNKNOWN`, which may be a LF.
        M::LineTooLong => assert!(header.len() > MAX_LINE),
        M::NoHeader => assert!(header.starts_with(b"PROXY") && header[5] != b' '),
        M::LineProtocol => assert!(header.starts_with(b"PROXY UNKNOWN") && header[13] != b' '),
        M::LineEnd => assert!(header.starts_with(b"PROXY") && header[6..].starts_with(b"UNKNOWN")),
        // It takes ports as Rust reads numbers.
        M::LinePort => {
            assert!(ports.clone().any(|port| port.starts_with(['0', '+'])), "{line:?}");
        }
        // It passes on what is not for a gateway of connections, and as much as there is.
        M::Datagram => assert!(matches!(header[13], 0x12 | 0x22 | 0x32)),
        M::TooLong => assert!(header.len() > MOST),
        // It looks at TLVs when it is asked for them, never at the checksum, and takes two of one
        // type.
        M::TlvLength | M::TlvTwice(_) | M::TlvValue(_) | M::Checksum => {
            assert!(header.len() > FIXED && header[12] == 0x21);
        }
        _ => panic!("{mistake} is no header only to us: {header:x?}"),
    }
}

/// What was heard of a header becomes one that says the same.
fn is_written_again(header: &[u8], ours: &ProxyHeader<'_>) {
    let tlvs: Vec<Tlv<'_>> = ours.tlvs().collect();
    let mut out = [0; MOST];
    let length = if header.starts_with(b"PROXY") {
        write_v1(&mut out[..MAX_LINE], &ours.endpoints)
    } else {
        write_v2(&mut out, &ours.endpoints, &tlvs)
    };
    let length = length.expect("there is room for what was read");
    let again = ProxyParsed::Whole { length, header: *ours };
    match parse(&out) {
        // The checksum is about bytes that are not heard, such as those behind a path.
        Ok(ProxyParsed::Whole { length: read, header }) => {
            assert_eq!((read, header.endpoints), (length, ours.endpoints));
            let others = |header: &ProxyHeader<'_>| -> Vec<(u8, Vec<u8>)> {
                let tlvs = header.tlvs().filter(|tlv| tlv.number != CHECKSUM);
                tlvs.map(|tlv| (tlv.number, tlv.value.to_vec())).collect()
            };
            assert_eq!(others(&header), others(ours));
        }
        other => panic!("{again:?} is {other:?}"),
    }
}
