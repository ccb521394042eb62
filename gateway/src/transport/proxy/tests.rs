//! Headers as they come in, and what is known of a connection behind one.

use std::net::SocketAddr;

use tidegate_proto::proxy::{ProxyMistake, Tlv, write_v1, write_v2};

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
fn what_a_header_says_besides_is_kept_until_the_connection_ends_or_has_opened() {
    let header = {
        let mut bytes = vec![0; 536];
        let tlv = Tlv { number: proxy::AUTHORITY, value: b"a.test" };
        let length = write_v2(&mut bytes, &endpoints(), &[tlv]).expect("room");
        bytes.truncate(length);
        bytes
    };
    for has_opened in [false, true] {
        let mut one = begun();
        assert!(open(&mut one, &header).is_ok());
        let facts = one.1.proxied.facts(SLOT).expect("some");
        assert_eq!((facts.authority.as_deref(), facts.is_cut), (Some("a.test"), false));
        assert!(one.1.proxied.facts_held() > 0);
        if has_opened {
            one.1.proxied.forget_facts(SLOT);
            assert!(open(&mut one, b"more").is_ok());
        } else {
            one.0.end(&mut one.1, SLOT);
        }
        assert!(one.1.is_empty() && one.1.proxied.facts(SLOT).is_none());
    }
    // Of a header that is refused, and where nothing is to be kept, there is nothing.
    let mut twice = begun();
    assert_eq!(open(&mut twice, &[&header[..], &header].concat()), Err(Broken));
    assert!(twice.1.proxied.facts(SLOT).is_none());
    let mut none = begun_behind("ws!proxy?from=::1&keep=0!tcp");
    assert!(open(&mut none, &header).is_ok() && none.1.proxied.facts(SLOT).is_none());
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
