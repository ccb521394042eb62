//! Tickets by themselves: what opens them, and for how long.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::tests::Folder;
use super::keys::LIFETIME;
use super::*;

const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=";

/// What seals by itself, for a client of whom nothing else is known.
fn seal(keys: &TicketKeys, plain: &[u8], bound: &[u8], now: u64) -> Option<Vec<u8>> {
    keys.seal(plain, bound, TicketEnd::NONE, now)
}

/// What was sealed.
fn open(keys: &TicketKeys, ticket: &[u8], bound: &[u8], now: u64) -> Option<Vec<u8>> {
    keys.open(ticket, bound, now).map(|opened| opened.plain)
}

#[test]
fn what_was_sealed_is_opened_where_it_is_bound_to() {
    let keys = TicketKeys::drawn(0).unwrap();
    let ticket = seal(&keys, b"a session", b"here", 1).unwrap();
    assert_eq!(open(&keys, &ticket, b"here", 1).as_deref(), Some(&b"a session"[..]));
    assert_eq!(open(&keys, &ticket, b"there", 1), None);
    let again = seal(&keys, b"a session", b"here", 1).unwrap();
    assert_ne!(ticket, again, "nobody can tell that they are of one session");
    let others = TicketKeys::drawn(0).unwrap();
    assert_eq!(open(&others, &ticket, b"here", 1), None);
}

#[test]
fn a_ticket_is_taken_for_as_long_as_its_client_is_told() {
    let folder = Folder::new();
    let drawn = TicketKeys::drawn(0).unwrap();
    let of_file = TicketKeys::read(&folder.write("keys", ONE)).unwrap();
    for keys in [&drawn, &of_file] {
        for made in [0, LIFETIME / 2, LIFETIME - 1, LIFETIME, 30 * LIFETIME] {
            let ticket = seal(keys, b"x", b"", made).unwrap();
            assert!(open(keys, &ticket, b"", made + LIFETIME - 1).is_some(), "made at {made}");
            for late in [made + LIFETIME, made + 100 * LIFETIME] {
                assert_eq!(open(keys, &ticket, b"", late), None, "made at {made}");
            }
        }
    }
}

#[test]
fn keys_that_were_drawn_are_replaced_and_forgotten() {
    let keys = TicketKeys::drawn(0).unwrap();
    let first = seal(&keys, b"x", b"", LIFETIME - 1).unwrap();
    let late = seal(&keys, b"x", b"", LIFETIME).unwrap();
    assert_ne!(first[..8], late[..8], "the key was replaced");
    assert!(open(&keys, &first, b"", 2 * LIFETIME - 2).is_some());
    assert!(open(&keys, &late, b"", 2 * LIFETIME - 1).is_some());
    // By a clock that is set back no key is taken away that is there, and none comes back.
    let ticket = seal(&keys, b"x", b"", 30 * LIFETIME).unwrap();
    assert!(open(&keys, &ticket, b"", 0).is_some());
    assert_eq!(open(&keys, &first, b"", 0), None);
}

#[test]
fn a_ticket_ends_with_what_it_stands_for() {
    let keys = TicketKeys::drawn(0).unwrap();
    // A certificate that is valid up to second 100.
    let ticket = keys.seal(b"x", b"", TicketEnd::behind(100), 7).unwrap();
    let opened = keys.open(&ticket, b"", 100).unwrap();
    assert_eq!(keys.open(&ticket, b"", 101), None);
    // What its client is given in its place ends no later.
    assert_eq!(opened.end, TicketEnd::behind(100));
    let next = keys.seal(b"x", b"", opened.end, 100).unwrap();
    assert_eq!(keys.open(&next, b"", 101), None);
    // That is so without a certificate: whoever comes back again and again shakes hands in full
    // once in a while.
    let first = seal(&keys, b"x", b"", 0).unwrap();
    let end = keys.open(&first, b"", LIFETIME - 1).unwrap().end;
    let next = keys.seal(b"x", b"", end, LIFETIME - 1).unwrap();
    assert!(open(&keys, &next, b"", LIFETIME - 1).is_some());
    assert_eq!(open(&keys, &next, b"", LIFETIME), None);
    // A certificate that says that it is valid for ever.
    let ticket = keys.seal(b"x", b"", TicketEnd::behind(u64::MAX), 0).unwrap();
    assert!(open(&keys, &ticket, b"", 0).is_some());
}

#[test]
fn what_is_too_large_is_neither_made_nor_looked_at() {
    let keys = TicketKeys::drawn(0).unwrap();
    let largest = vec![7; 8 << 10];
    let ticket = seal(&keys, &largest, b"", 0).unwrap();
    assert_eq!(open(&keys, &ticket, b"", 0), Some(largest));
    assert_eq!(seal(&keys, &vec![7; (8 << 10) + 1], b"", 0), None);
    let mut longer = ticket;
    longer.push(0);
    assert_eq!(open(&keys, &longer, b"", 0), None);
}

#[test]
fn the_first_key_of_a_file_seals_and_all_open() {
    let folder = Folder::new();
    let old = TicketKeys::read(&folder.write("old", ONE)).unwrap();
    let both = format!("# the newest first\n{OTHER}\r\n\n  {ONE}  \n");
    let new = TicketKeys::read(&folder.write("new", both)).unwrap();
    let of_old = seal(&old, b"x", b"", 0).unwrap();
    let of_new = seal(&new, b"x", b"", 0).unwrap();
    assert!(open(&new, &of_old, b"", 0).is_some());
    assert_eq!(open(&old, &of_new, b"", 0), None);
    old.become_those_of(&new);
    assert!(open(&old, &of_new, b"", 0).is_some());
    // A key of a file does not age, as its tickets do: whoever writes it decides.
    assert_eq!(seal(&old, b"x", b"", 100 * LIFETIME).unwrap()[..8], of_new[..8]);
}

#[test]
fn files_without_right_keys_are_refused() {
    let folder = Folder::new();
    let wrong = |text: &str| {
        let file = folder.write("keys", text);
        let error = TicketKeys::read(&file).err().unwrap();
        assert_eq!(error.file, file);
        error.what
    };
    assert!(wrong("# none\n").contains("has no key"));
    assert!(wrong("").contains("is empty"));
    assert!(wrong("!").contains("line 1"));
    assert!(wrong(&format!("{ONE}\nAAAA\n")).contains("line 2"));
    assert!(wrong(&format!("{ONE}\n{ONE}\n")).contains("twice"));
    let many: Vec<_> = (10..27).map(|at| ONE.replace("AAE=", &format!("{at}E="))).collect();
    assert!(wrong(&many.join("\n")).contains("more than 16"));
}

proptest! {
    #[test]
    fn nothing_that_was_changed_opens(
        plain in vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0..8_u32,
        garbage in vec(any::<u8>(), 0..100),
    ) {
        let keys = TicketKeys::drawn(0).unwrap();
        let ticket = seal(&keys, &plain, b"bound", 0).unwrap();
        let mut changed = ticket.clone();
        changed[at.index(ticket.len())] ^= 1 << bit;
        prop_assert_eq!(open(&keys, &changed, b"bound", 0), None);
        prop_assert_eq!(open(&keys, &ticket[..at.index(ticket.len())], b"bound", 0), None);
        prop_assert_eq!(open(&keys, &garbage, b"bound", 0), None);
    }
}
