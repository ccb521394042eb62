//! The server's choice among a client's offers (RFC 7692 section 7.1).

use super::{ClientWindow, EXTENSION_NAME, Offer, Params, WINDOW_BITS_MAX};
use crate::websocket::extension::{self, MalformedExtensions};

/// What the server insists on, whatever a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The server forgets its window after each message even if it was not asked to. With `false`
    /// the agreement permits it to keep the window where the client does not object.
    pub server_no_context_takeover: bool,
    /// Every client has to forget its window after each message. With `false` the server owes a
    /// decompressor to each connection of a client that does not promise it.
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the largest window the server uses, 8 to 15.
    pub server_max_window_bits: u8,
    /// Base-2 logarithm of the largest window the server allows a client, 8 to 15. Below 15, an
    /// offer that does not let the server limit the window is declined.
    pub client_max_window_bits: u8,
}

impl Default for Policy {
    /// No window outlives a message, and windows are as large as the client likes: nothing is kept
    /// per connection.
    fn default() -> Self {
        Policy {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: WINDOW_BITS_MAX,
            client_max_window_bits: WINDOW_BITS_MAX,
        }
    }
}

/// Picks the first acceptable offer of `permessage-deflate`, or `None` if there is none: the values
/// of all `Sec-WebSocket-Extensions` lines of a client's handshake, in order. Other extensions are
/// passed over.
///
/// The whole header is read even when an early offer is accepted.
///
/// # Errors
///
/// The header does not conform to its grammar (RFC 6455 section 9.1): the handshake has to fail.
pub fn negotiate<'a>(
    values: impl IntoIterator<Item = &'a str>,
    policy: &Policy,
) -> Result<Option<Params>, MalformedExtensions> {
    let mut accepted = None;
    for extension in extension::parse(values) {
        let extension = extension?;
        // RFC 7692 section 5: "An element preceding another element has higher preference."
        if accepted.is_none() && extension.name == EXTENSION_NAME {
            // Section 7.1: "A server MUST decline an extension negotiation offer" with an unknown,
            // an invalid or a repeated parameter. Declining one leaves the others to be tried.
            accepted = Offer::parse(&extension).ok().and_then(|offer| policy.answer(&offer));
        }
    }
    Ok(accepted)
}

impl Policy {
    /// The response to one offer, or `None` to decline it.
    fn answer(&self, offer: &Offer) -> Option<Params> {
        let server_window = offer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
        Some(Params {
            // Section 7.1.1.1: accepted "by including" it, and it may be included unasked.
            server_no_context_takeover: self.server_no_context_takeover
                || offer.server_no_context_takeover,
            // Section 7.1.1.2: may be included even if the offer did not have it. Where it did, the
            // client keeps the promise anyway, and saying so costs nothing.
            client_no_context_takeover: self.client_no_context_takeover
                || offer.client_no_context_takeover,
            // Section 7.1.2.1: accepted by including it "with the same or smaller value". All of
            // 8 to 15 can be honoured: `Deflater` has a method for 8 that needs no window.
            server_max_window_bits: self.server_max_window_bits.min(server_window),
            client_max_window_bits: self.client_window(offer.client_max_window_bits)?,
            server_max_window_bits_asked: offer.server_max_window_bits.is_some(),
        })
    }

    fn client_window(&self, offered: ClientWindow) -> Option<u8> {
        match offered {
            // Section 7.1.2.2: if the offer has no "client_max_window_bits", the response "MUST NOT
            // include" it: the client cannot be limited, only be declined.
            ClientWindow::Unlimited => {
                (self.client_max_window_bits == WINDOW_BITS_MAX).then_some(WINDOW_BITS_MAX)
            }
            ClientWindow::Limitable => Some(self.client_max_window_bits),
            // Section 7.1.2.2: answered "with a value equal to or smaller than the received value".
            ClientWindow::AtMost(bits) => Some(bits.min(self.client_max_window_bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::extension::Expected;

    /// Insists on nothing, so that answers show what the offers asked for.
    const LENIENT: Policy = Policy {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    };

    #[track_caller]
    fn check(policy: Policy, values: &[&str], expected: &str) {
        let params = negotiate(values.iter().copied(), &policy).expect("well-formed");
        assert_eq!(params.expect("an acceptable offer").to_string(), expected);
    }

    #[track_caller]
    fn check_declined(policy: Policy, value: &str) {
        assert_eq!(negotiate([value], &policy), Ok(None), "{value}");
    }

    #[test]
    fn section_7_1_3_examples() {
        check(LENIENT, &["permessage-deflate"], "permessage-deflate");
        check(
            LENIENT,
            &["permessage-deflate; client_max_window_bits; server_max_window_bits=10"],
            "permessage-deflate; server_max_window_bits=10",
        );
        check(
            LENIENT,
            &["permessage-deflate; client_max_window_bits; server_max_window_bits=10, \
               permessage-deflate; client_max_window_bits"],
            "permessage-deflate; server_max_window_bits=10",
        );
    }

    #[test]
    fn the_default_forgets_both_windows_unasked() {
        let forgetful =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        check(Policy::default(), &["permessage-deflate"], forgetful);
        // What browsers send.
        check(Policy::default(), &["permessage-deflate; client_max_window_bits"], forgetful);
        check(
            Policy::default(),
            &["permessage-deflate; server_max_window_bits=10"],
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10",
        );
    }

    #[test]
    fn section_7_1_1_switches_are_honoured() {
        for switch in ["server_no_context_takeover", "client_no_context_takeover"] {
            let value = format!("permessage-deflate; {switch}");
            check(LENIENT, &[&value], &value);
        }
    }

    #[test]
    fn section_7_1_2_1_every_server_window_is_honoured() {
        for bits in 8..=15 {
            let value = format!("permessage-deflate; server_max_window_bits={bits}");
            check(LENIENT, &[&value], &value);
        }
    }

    #[test]
    fn section_7_1_2_1_the_smaller_server_window_wins() {
        let policy = Policy { server_max_window_bits: 12, ..LENIENT };
        let answer = "permessage-deflate; server_max_window_bits=12";
        check(policy, &["permessage-deflate"], answer);
        check(policy, &["permessage-deflate; server_max_window_bits=15"], answer);
        check(
            policy,
            &["permessage-deflate; server_max_window_bits=9"],
            "permessage-deflate; server_max_window_bits=9",
        );
    }

    #[test]
    fn section_7_1_2_2_the_client_window_is_limited_only_if_offered() {
        check(
            LENIENT,
            &["permessage-deflate; client_max_window_bits=10"],
            "permessage-deflate; client_max_window_bits=10",
        );
        let policy = Policy { client_max_window_bits: 11, ..LENIENT };
        let answer = "permessage-deflate; client_max_window_bits=11";
        check(policy, &["permessage-deflate; client_max_window_bits"], answer);
        check(policy, &["permessage-deflate; client_max_window_bits=15"], answer);
        check_declined(policy, "permessage-deflate");
    }

    #[test]
    fn section_7_1_unacceptable_offers_are_declined() {
        for parameters in [
            "x",
            "x=1",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=1",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=+10",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=a",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits=9; client_max_window_bits",
            "Server_No_Context_Takeover",
        ] {
            check_declined(LENIENT, &format!("permessage-deflate; {parameters}"));
        }
    }

    #[test]
    fn section_5_the_first_acceptable_offer_wins() {
        check(
            LENIENT,
            &[
                "permessage-foo; x=10, permessage-deflate; server_max_window_bits=16",
                "permessage-deflate; server_max_window_bits=\"10\", permessage-deflate",
            ],
            "permessage-deflate; server_max_window_bits=10",
        );
    }

    #[test]
    fn other_extensions_are_passed_over() {
        check_declined(LENIENT, "permessage-foo, permessage-bar; x=10, x-webkit-deflate-frame");
        assert_eq!(negotiate([], &LENIENT), Ok(None));
    }

    #[test]
    fn a_malformed_element_fails_even_behind_an_acceptable_offer() {
        assert_eq!(
            negotiate(["permessage-deflate, ="], &LENIENT),
            Err(MalformedExtensions { expected: Expected::Token, at: 20 })
        );
    }

    #[test]
    fn an_answer_satisfies_the_client_that_offered() {
        for bits in 8..=15 {
            let offer = Offer {
                server_no_context_takeover: true,
                client_no_context_takeover: false,
                server_max_window_bits: Some(bits),
                client_max_window_bits: ClientWindow::AtMost(bits),
            };
            let offered = offer.to_string();
            let params = negotiate([&*offered], &Policy::default()).unwrap().unwrap();
            let response = params.to_string();
            assert_eq!(offer.check_response([&*response]), Ok(Some(params)));
        }
    }
}
