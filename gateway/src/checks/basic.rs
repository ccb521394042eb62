//! The user and the password of a request: `Authorization: Basic` (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_proto::http::RequestHead;
use zeroize::Zeroizing;

use super::NotAdmitted;

/// The most bytes of user, colon and password.
const CREDENTIALS_MAX: usize = 1024;

/// A user and a password as a request has them. They are wiped when they are dropped, and never
/// shown.
pub(super) struct Credentials {
    /// RFC 7617 section 2: `user-pass = user-id ":" password`.
    text: Zeroizing<String>,
    /// Where the first colon of `text` is.
    colon: usize,
}

impl Credentials {
    pub(super) fn user(&self) -> &str {
        &self.text[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.text.as_bytes()[self.colon + 1..]
    }

    /// Both of them: no two have the same, because no user has a colon.
    pub(super) fn both(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// The user and the password of a request.
///
/// # Errors
/// [`NotAdmitted::NoPassword`]; [`NotAdmitted::TwoPasswords`]; [`NotAdmitted::NotBasic`]: what
/// stands in their place cannot be one of each.
pub(super) fn find(head: &RequestHead<'_>) -> Result<Credentials, NotAdmitted> {
    // RFC 9110 section 5.3: a sender must not send several of a field that is no list.
    let mut values = head.header_values("authorization");
    match (values.next(), values.next()) {
        (None, _) => Err(NotAdmitted::NoPassword),
        (Some(value), None) => read(value),
        (Some(_), Some(_)) => Err(NotAdmitted::TwoPasswords),
    }
}

/// RFC 9110 section 11.4: `credentials = auth-scheme [ 1*SP ( token68 / #auth-param ) ]`, and
/// section 11.1: the scheme is "a case-insensitive token".
fn read(value: &[u8]) -> Result<Credentials, NotAdmitted> {
    let (scheme, rest) = value.split_at_checked("basic".len()).ok_or(NotAdmitted::NoPassword)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !matches!(rest.first(), None | Some(b' ')) {
        return Err(NotAdmitted::NoPassword);
    }
    let encoded = rest.trim_ascii();
    if encoded.len() > CREDENTIALS_MAX.div_ceil(3) * 4 {
        return Err(NotAdmitted::NotBasic);
    }
    // RFC 7617 section 2: what is sent is "the result of Base64 encoding"; of one text there is one
    // such encoding, with its padding (RFC 4648 section 3.2 and 3.5).
    let decoded = STANDARD.decode(encoded).map_err(|_| NotAdmitted::NotBasic)?;
    // As `charset="UTF-8"` of the challenge asks for (RFC 7617 section 2.1).
    let text = String::from_utf8(decoded).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        NotAdmitted::NotBasic
    })?;
    let text = Zeroizing::new(text);
    // Section 2: "The user-id and password MUST NOT contain any control characters".
    if text.chars().any(char::is_control) {
        return Err(NotAdmitted::NotBasic);
    }
    // "a user-id containing a colon character is invalid, as the first colon in a user-pass string
    // separates user-id and password from one another; text after the first colon is part of the
    // password".
    let colon = text.find(':').ok_or(NotAdmitted::NotBasic)?;
    if colon == 0 || text.len() > CREDENTIALS_MAX {
        return Err(NotAdmitted::NotBasic);
    }
    Ok(Credentials { text, colon })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_proto::http::{Status, parse_request};

    use super::*;

    /// User and password of a request with these lines.
    fn of(lines: &str) -> Result<(String, String), NotAdmitted> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let Ok(Status::Complete(head)) = parse_request(text.as_bytes(), 8192) else {
            panic!("no request: {text}")
        };
        find(&head).map(|found| both(&found))
    }

    fn both(found: &Credentials) -> (String, String) {
        let password = String::from_utf8(found.password().to_vec()).expect("UTF-8");
        (found.user().into(), password)
    }

    fn encoded(text: &[u8]) -> String {
        format!("Authorization: Basic {}\r\n", STANDARD.encode(text))
    }

    #[test]
    fn user_and_password_stand_before_and_behind_the_first_colon() {
        for (text, user, password) in [
            // RFC 7617 section 2 and 2.1.
            ("Aladdin:open sesame", "Aladdin", "open sesame"),
            ("test:123\u{a3}", "test", "123\u{a3}"),
            ("a:b:c", "a", "b:c"),
            ("a::", "a", ":"),
            ("a:", "a", ""),
            ("a b:c ", "a b", "c "),
        ] {
            assert_eq!(of(&encoded(text.as_bytes())), Ok((user.into(), password.into())), "{text}");
        }
        let lower = "authorization:   bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ==  \r\n";
        assert_eq!(of(lower), Ok(("Aladdin".into(), "open sesame".into())));
    }

    #[test]
    fn what_is_no_user_and_password_is_refused() {
        use NotAdmitted::{NoPassword, NotBasic, TwoPasswords};
        for (lines, denied) in [
            ("", NoPassword),
            ("Authorization: \r\n", NoPassword),
            ("Authorization: Bas\r\n", NoPassword),
            ("Authorization: Bearer YTpi\r\n", NoPassword),
            ("Authorization: BasicYTpi\r\n", NoPassword),
            ("Authorization: Basic\r\n", NotBasic),
            ("Authorization: Basic YTpi=\r\n", NotBasic),
            ("Authorization: Basic YTo\r\n", NotBasic),
            ("Authorization: Basic YTp=\r\n", NotBasic),
            ("Authorization: Basic YTpi YTpi\r\n", NotBasic),
            ("Authorization: Basic realm=\"a\"\r\n", NotBasic),
            ("Authorization: Basic YT-i\r\n", NotBasic),
            ("Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n", TwoPasswords),
            ("Authorization: Bearer x\r\nAuthorization: Basic YTpi\r\n", TwoPasswords),
        ] {
            assert_eq!(of(lines), Err(denied), "{lines}");
        }
        let long = "x".repeat(CREDENTIALS_MAX);
        for text in [
            &b""[..],
            b"no colon",
            b":password",
            b"a:\xff",
            b"test:123\xa3",
            b"a:\0",
            b"a\r\n:b",
            b"a:\x7f",
            "a:\u{85}".as_bytes(),
            format!("a:{long}").as_bytes(),
        ] {
            assert_eq!(of(&encoded(text)), Err(NotBasic), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_found(user in "[^:\\p{Cc}]{1,40}", password in "\\P{Cc}{0,40}") {
            let text = format!("{user}:{password}");
            prop_assert_eq!(of(&encoded(text.as_bytes())), Ok((user, password)));
        }

        /// What is found, if something is, encodes to what was sent.
        #[test]
        fn nothing_is_found_that_was_not_sent(value in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(found) = read(&value) {
                let encoded = STANDARD.encode(found.both());
                prop_assert!(value[..5].eq_ignore_ascii_case(b"basic"));
                prop_assert_eq!(value[5..].trim_ascii(), encoded.as_bytes());
                prop_assert!(!found.user().is_empty() && !found.user().contains(':'));
            }
        }

        /// Likewise of what is nearly right.
        #[test]
        fn letters_of_base64_are_read_or_refused(value in "[Bb]asic [A-Za-z0-9+/=:]{0,24}") {
            if let Ok(found) = read(value.as_bytes()) {
                prop_assert_eq!(&value[6..], STANDARD.encode(found.both()));
            }
        }
    }
}
