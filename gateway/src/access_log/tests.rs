use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{AccessField, Listener, Route, RouteHandler};
use crate::kernel::Peer;
use crate::names::Name;

fn log(to: AccessTarget) -> AccessLog {
    AccessLog { queue: 16, ..AccessLog::new(to) }
}

fn record() -> AccessRecord {
    AccessRecord::of(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted() {
    let (feed, said) = AccessFeed::new(&log(AccessTarget::Stdout));
    (0..20).for_each(|_| feed.say(record()));
    assert_eq!((feed.counts().dropped, said.len()), (4, 16));
    feed.reopen();
    assert!(feed.stream.reopens.load(Ordering::Relaxed), "though there is no room to say so");
    feed.leave_out();
    assert_eq!(feed.counts(), AccessCounts { dropped: 4, left_out: 1, ..AccessCounts::default() });
}

#[test]
fn what_waits_is_written_at_the_end() {
    let path = std::env::temp_dir().join(format!("tidegate-end-{}", std::process::id()));
    let access_log = Some(AccessLog { queue: 1000, ..log(AccessTarget::File(path.clone())) });
    let config = Config { access_log, ..Config::default() };
    let thread = start(&config).unwrap().unwrap();
    let feed = thread.feed().clone();
    (0..500).for_each(|_| feed.say(record()));
    drop(thread);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!((text.lines().count(), feed.counts().lines), (500, 500));
    feed.say(record());
    assert_eq!(feed.counts().dropped, 1, "nobody is there any longer");
}

#[test]
fn what_cannot_be_opened_is_said_with_what_to_do() {
    for (to, said) in [
        (AccessTarget::File("/nowhere/a".into()), "the file /nowhere/a cannot be opened"),
        (AccessTarget::Syslog("/nowhere/log".into()), "nobody receives at the socket /nowhere"),
    ] {
        let config = Config { access_log: Some(log(to)), ..Config::default() };
        for error in [check(&config).unwrap_err(), start(&config).map(drop).unwrap_err()] {
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}

#[test]
fn the_longest_lines_fit() {
    // As hostile as a client and a configuration can be.
    let all = "\"".repeat(4096);
    let text = "\u{e4}".repeat(4096);
    let head = format!(
        "{} /{all}?{all} HTTP/1.1\r\nHost: h\r\nOrigin: {all}\r\nReferer: {text}\r\n\
         User-Agent: {text}\r\n\r\n",
        "A".repeat(100)
    );
    let route = Route::new(format!("/{}", "a".repeat(2000)), RouteHandler::Echo);
    let listeners = vec![Listener {
        address: format!("unix:/{}", "a".repeat(100)).parse().unwrap(),
        ..Listener::default()
    }];
    let config = Config { listeners, ..Config::default() }.with_routes(vec![route]);
    let peer = Some(Peer::Unix { pid: u32::MAX, uid: u32::MAX, gid: u32::MAX });
    let stay = AccessStay {
        open_for: Duration::from_secs(1 << 40),
        code: Some(4999),
        by_peer: false,
        messages_in: u64::MAX,
        bytes_in: u64::MAX,
        messages_out: u64::MAX,
    };
    for user in ["\"", "\u{e4}"] {
        let user = Name::new(&user.repeat(Name::LENGTH_MAX / user.len())).ok();
        let record = AccessRecord {
            peer,
            proxied_by: peer,
            config: Arc::new(config.clone()),
            route: Some("/".into()),
            user,
            stay: Some(stay),
            bytes_out: Some(u64::MAX),
            left_out: u64::MAX,
            ..AccessRecord::of(head.as_bytes())
        };
        let mut lines = [Vec::new(), Vec::new()];
        json::write(&record, &AccessField::ALL, &mut lines[0]);
        combined::write(&record, &mut lines[1]);
        for line in lines {
            assert!(line.len() <= LINE_BYTES_MAX, "{} bytes", line.len());
            assert!(line.len() > 1200, "{}", String::from_utf8_lossy(&line));
        }
    }
}
