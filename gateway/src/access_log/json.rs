//! Lines of JSON: an object each.

use serde::Serialize;

use super::record::{AccessRecord, AccessStay};
use crate::config::AccessField;
use crate::hub::CalendarTime;
use crate::names::Name;
use crate::protocol::asked::AskedFor;

/// Adds a line that says these fields, as far as they are known.
pub(super) fn write(record: &AccessRecord, fields: &[AccessField], line: &mut Vec<u8>) {
    line.push(b'{');
    let start = line.len();
    for field in fields {
        let before = line.len();
        if before > start {
            line.push(b',');
        }
        line.push(b'"');
        line.extend_from_slice(field.name().as_bytes());
        line.extend_from_slice(b"\":");
        if !value(record, *field, line) {
            line.truncate(before);
        }
    }
    line.extend_from_slice(b"}\n");
}

/// Adds the value of a field; `false` if it is not known.
fn value(record: &AccessRecord, field: AccessField, line: &mut Vec<u8>) -> bool {
    let asked = record.asked.as_deref();
    match field {
        AccessField::Time => put(line, Some(CalendarTime(record.at))),
        AccessField::Event => put(line, Some(record.event.name())),
        AccessField::Id => put(line, Some(record.id.to_string())),
        AccessField::Peer => put(line, record.peer.map(|peer| peer.to_string())),
        AccessField::ProxiedBy => put(line, record.proxied_by.map(|peer| peer.to_string())),
        AccessField::Listener => put(line, record.listener.as_deref()),
        AccessField::Protocol => put(line, Some(record.spoken)),
        AccessField::Method => put(line, asked.map(AskedFor::method)),
        AccessField::Host => put(line, asked.and_then(AskedFor::host)),
        AccessField::Path => put(line, asked.map(AskedFor::path)),
        AccessField::Query => put(line, asked.and_then(AskedFor::query)),
        AccessField::Route => put(line, record.route()),
        AccessField::User => put(line, record.user.as_ref().map(Name::as_str)),
        AccessField::Subprotocol => put(line, asked.and_then(AskedFor::subprotocol)),
        AccessField::Tls => put(line, record.tls),
        AccessField::Status => put(line, record.status),
        AccessField::Reason => put(line, record.reason),
        AccessField::BytesOut => put(line, record.bytes_out),
        AccessField::Origin => put(line, asked.and_then(AskedFor::origin)),
        AccessField::Referer => put(line, asked.and_then(AskedFor::referer)),
        AccessField::UserAgent => put(line, asked.and_then(AskedFor::agent)),
        AccessField::LeftOut => put(line, (record.left_out > 0).then_some(record.left_out)),
        AccessField::Code
        | AccessField::ByPeer
        | AccessField::Duration
        | AccessField::MessagesIn
        | AccessField::BytesIn
        | AccessField::MessagesOut => record.stay.is_some_and(|stay| of_stay(&stay, field, line)),
    }
}

fn of_stay(stay: &AccessStay, field: AccessField, line: &mut Vec<u8>) -> bool {
    match field {
        AccessField::Code => put(line, stay.code),
        AccessField::ByPeer => put(line, Some(stay.by_peer)),
        AccessField::Duration => put(line, Some(stay.open_for.as_millis() as f64 / 1000.0)),
        AccessField::MessagesIn => put(line, Some(stay.messages_in)),
        AccessField::BytesIn => put(line, Some(stay.bytes_in)),
        AccessField::MessagesOut => put(line, Some(stay.messages_out)),
        _ => false,
    }
}

/// Adds a value as JSON, if there is one.
fn put(line: &mut Vec<u8>, value: Option<impl Serialize>) -> bool {
    value.is_some_and(|value| serde_json::to_writer(line, &value).is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::record::AccessEvent;
    use super::*;
    use crate::config::{AccessLog, AccessTarget};

    fn said(record: &AccessRecord, fields: &[AccessField]) -> String {
        let mut line = Vec::new();
        write(record, fields, &mut line);
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn fields_stand_in_their_order_and_what_is_not_known_is_left_out() {
        let record = AccessRecord::of(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        let fields = [
            AccessField::Status,
            AccessField::User,
            AccessField::Path,
            AccessField::Duration,
            AccessField::LeftOut,
        ];
        assert_eq!(said(&record, &fields), "{\"status\":404,\"path\":\"/a\"}\n");
        let record = AccessRecord { left_out: 3, ..record };
        assert_eq!(said(&record, &fields[4..]), "{\"left_out\":3}\n");
        assert_eq!(said(&record, &[AccessField::User]), "{}\n");
    }

    #[test]
    fn all_that_is_known_is_said() {
        let head = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nOrigin: https://o.test\r\n\
                     Referer: https://r.test/x?y\r\nUser-Agent: curl\r\n\r\n";
        let stay = AccessStay {
            open_for: Duration::from_millis(1500),
            code: Some(1000),
            by_peer: true,
            messages_in: 1,
            bytes_in: 2,
            messages_out: 3,
        };
        let record = AccessRecord {
            event: AccessEvent::Closed,
            proxied_by: Some(crate::kernel::Peer::Unknown),
            route: Some("/echo".into()),
            spoken: "websocket",
            tls: Some("1.3"),
            user: Name::new("ada").ok(),
            status: Some(101),
            reason: Some("peer_closed"),
            bytes_out: Some(4),
            stay: Some(stay),
            ..AccessRecord::of(head)
        };
        let line: Value = serde_json::from_str(&said(&record, &AccessField::ALL)).expect("JSON");
        let expected = json!({
            "time": "2026-11-30T00:53:20.123Z", "event": "closed", "id": record.id.to_string(),
            "peer": "192.0.2.1:4711", "proxied_by": "unknown", "listener": "127.0.0.1:8080",
            "protocol": "websocket", "method": "GET", "host": "h", "path": "/a", "query": "b=…",
            "route": "/echo", "user": "ada", "tls": "1.3", "status": 101, "reason": "peer_closed",
            "code": 1000, "by_peer": true, "duration": 1.5, "messages_in": 1, "bytes_in": 2,
            "messages_out": 3, "bytes_out": 4, "origin": "https://o.test",
            "referer": "https://r.test/x", "user_agent": "curl",
        });
        assert_eq!(line, expected);
        let usual = said(&record, &AccessLog::new(AccessTarget::Stdout).fields);
        assert!(!usual.contains("query") && usual.contains("user_agent"), "{usual}");
    }

    #[test]
    fn nobody_forges_a_line() {
        let head = b"GET /\"},{\"a\":\" HTTP/1.1\r\nHost: h\r\n\
                     User-Agent: \"}\t{\"status\":200,\"x\":\"\\\xe2\x80\xa8\r\n\r\n";
        let line = said(&AccessRecord::of(head), &AccessField::ALL);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&value["status"], &value["path"]), (&json!(404), &json!("/\"},{\"a\":\"")));
    }
}
