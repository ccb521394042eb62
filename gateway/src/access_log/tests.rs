use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::writer::GATHERED;
use super::*;
use crate::config::{AccessField, AccessFormat};
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
    let UnstartedLog { feed, said, .. } =
        UnstartedLog::new(&log(AccessTarget::Stdout), Arc::default());
    (0..20).for_each(|_| feed.say(record()));
    assert_eq!((feed.totals().counts().dropped, said.len()), (4, 16));
    feed.reopen();
    assert!(feed.stream.reopens.load(Ordering::Relaxed), "though there is no room to say so");
    feed.leave_out();
    assert_eq!(
        feed.totals().counts(),
        AccessCounts { dropped: 4, left_out: 1, ..AccessCounts::default() }
    );
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
    assert_eq!((text.lines().count(), feed.totals().counts().lines), (500, 500));
    feed.say(record());
    assert_eq!(feed.totals().counts().dropped, 1, "nobody is there any longer");
}

#[test]
fn a_log_that_takes_the_place_of_another_writes_behind_it() {
    let path = std::env::temp_dir().join(format!("tidegate-behind-{}", std::process::id()));
    let to_file = AccessLog { queue: 1000, ..log(AccessTarget::File(path.clone())) };
    let config = Config { access_log: Some(to_file.clone()), ..Config::default() };
    let first = start(&config).unwrap().unwrap();
    let combined = AccessLog { format: AccessFormat::Combined, ..to_file };
    let next = UnstartedLog::new(&combined, Arc::clone(first.feed().totals()));
    assert!(next.feed() != first.feed());
    (0..300).for_each(|_| next.feed().say(record()));
    let next = next.start(Some(&first)).unwrap();
    std::thread::sleep(20 * GATHERED);
    assert_eq!(fs::read_to_string(&path).unwrap(), "", "it waits");
    (0..500).for_each(|_| first.feed().say(record()));
    // Shards say the last of it, and then it ends.
    drop(first);
    let counted = Arc::clone(next.feed().totals());
    drop(next);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let is_json: Vec<bool> = text.lines().map(|line| line.starts_with('{')).collect();
    assert_eq!((is_json.len(), counted.counts().lines), (800, 800));
    assert!(is_json[..500].iter().all(|is| *is) && is_json[500..].iter().all(|is| !is));
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
            listener: Some(format!("unix:/{}", "a".repeat(100)).into()),
            route: Some(format!("/{}", "a".repeat(2000)).into()),
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
