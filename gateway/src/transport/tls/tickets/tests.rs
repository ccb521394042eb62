//! Tickets by themselves: what opens them, and for how long.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::tests::Folder;
use super::keys::LIFETIME;
use super::*;

const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=";

#[test]
fn what_was_sealed_is_opened_where_it_is_bound_to() {
    let keys = TicketKeys::drawn(0).unwrap();
    let ticket = keys.seal(b"a session", b"here", 1).unwrap();
    assert_eq!(keys.open(&ticket, b"here", 1).as_deref(), Some(&b"a session"[..]));
    assert_eq!(keys.open(&ticket, b"there", 1), None);
    let again = keys.seal(b"a session", b"here", 1).unwrap();
    assert_ne!(ticket, again, "nobody can tell that they are of one session");
    let others = TicketKeys::drawn(0).unwrap();
    assert_eq!(others.open(&ticket, b"here", 1), None);
}

#[test]
fn a_ticket_is_taken_for_as_long_as_its_client_is_told() {
    let keys = TicketKeys::drawn(0).unwrap();
    let last = LIFETIME - 1;
    for made in [0, last / 2, last] {
        let keys = TicketKeys::drawn(0).unwrap();
        let ticket = keys.seal(b"x", b"", made).unwrap();
        assert!(keys.open(&ticket, b"", made + last).is_some(), "made at {made}");
    }
    let first = keys.seal(b"x", b"", 0).unwrap();
    let late = keys.seal(b"x", b"", LIFETIME).unwrap();
    assert_ne!(first[..8], late[..8], "the key was replaced");
    assert!(keys.open(&first, b"", 2 * LIFETIME - 1).is_some());
    assert_eq!(keys.open(&first, b"", 2 * LIFETIME), None, "nobody has come for long");
    assert!(keys.open(&late, b"", 3 * LIFETIME - 1).is_some());
    assert_eq!(keys.open(&late, b"", 30 * LIFETIME), None);
    // A clock that is set back takes no key away.
    let ticket = keys.seal(b"x", b"", 30 * LIFETIME).unwrap();
    assert!(keys.open(&ticket, b"", 0).is_some());
}

#[test]
fn what_is_too_large_is_neither_made_nor_looked_at() {
    let keys = TicketKeys::drawn(0).unwrap();
    let largest = vec![7; 8 << 10];
    let ticket = keys.seal(&largest, b"", 0).unwrap();
    assert_eq!(keys.open(&ticket, b"", 0), Some(largest));
    assert_eq!(keys.seal(&vec![7; (8 << 10) + 1], b"", 0), None);
    let mut longer = ticket;
    longer.push(0);
    assert_eq!(keys.open(&longer, b"", 0), None);
}

#[test]
fn the_first_key_of_a_file_seals_and_all_open() {
    let folder = Folder::new();
    let old = TicketKeys::read(&folder.write("old", ONE)).unwrap();
    let both = format!("# the newest first\n{OTHER}\r\n\n  {ONE}  \n");
    let new = TicketKeys::read(&folder.write("new", both)).unwrap();
    let of_old = old.seal(b"x", b"", 0).unwrap();
    let of_new = new.seal(b"x", b"", 0).unwrap();
    // Those of a file do not age: whoever writes it decides.
    assert!(new.open(&of_old, b"", 100 * LIFETIME).is_some());
    assert_eq!(old.open(&of_new, b"", 0), None);
    old.become_those_of(&new);
    assert!(old.open(&of_new, b"", 0).is_some());
    assert_eq!(old.seal(b"x", b"", 100 * LIFETIME).unwrap()[..8], of_new[..8]);
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
        let ticket = keys.seal(&plain, b"bound", 0).unwrap();
        let mut changed = ticket.clone();
        changed[at.index(ticket.len())] ^= 1 << bit;
        prop_assert_eq!(keys.open(&changed, b"bound", 0), None);
        prop_assert_eq!(keys.open(&ticket[..at.index(ticket.len())], b"bound", 0), None);
        prop_assert_eq!(keys.open(&garbage, b"bound", 0), None);
    }
}
