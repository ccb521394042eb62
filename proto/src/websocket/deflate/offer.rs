//! What a client offers, and whether a response fits it (RFC 7692 section 7.1).

use core::{fmt, mem};

use super::{EXTENSION_NAME, Params, WINDOW_BITS_MAX};
use crate::websocket::extension::{self, Extension, MalformedExtensions, Parameter};

/// One extension negotiation offer.
///
/// A client writes it with `Display` as the value of `Sec-WebSocket-Extensions` and hands the
/// server's answer to [`Offer::check_response`]. The default offers the bare extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The server is asked to forget its window after each message (section 7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client promises to forget its window after each message (section 7.1.1.2).
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the largest window the server may use, 8 to 15 (section 7.1.2.1).
    pub server_max_window_bits: Option<u8>,
    /// Whether the server may limit the client's window (section 7.1.2.2).
    pub client_max_window_bits: ClientWindow,
}

/// The `client_max_window_bits` parameter of an offer (RFC 7692 section 7.1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientWindow {
    /// The parameter is absent: the server must not limit the client's window.
    #[default]
    Unlimited,
    /// The parameter has no value: the server may set any limit.
    Limitable,
    /// The client will use no window larger than this, 8 to 15, and the server may lower it.
    AtMost(u8),
}

/// A parameter that RFC 7692 section 7.1 does not allow where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidParameter;

impl Offer {
    /// Reads the parameters of a `permessage-deflate` element of either handshake message: the
    /// names are the same in both, and a response allows a subset of an offer's values.
    pub(super) fn parse(extension: &Extension<'_>) -> Result<Offer, InvalidParameter> {
        let mut offer = Offer::default();
        for parameter in extension.parameters() {
            offer.add(parameter)?;
        }
        Ok(offer)
    }

    fn add(&mut self, parameter: Parameter<'_>) -> Result<(), InvalidParameter> {
        let repeated = match (parameter.name, parameter.value) {
            // Sections 7.1.1.1 and 7.1.1.2: these have no value.
            ("server_no_context_takeover", None) => {
                mem::replace(&mut self.server_no_context_takeover, true)
            }
            ("client_no_context_takeover", None) => {
                mem::replace(&mut self.client_no_context_takeover, true)
            }
            // Section 7.1.2.1: the value is never left out.
            ("server_max_window_bits", Some(value)) => {
                self.server_max_window_bits.replace(window_bits(value)?).is_some()
            }
            // Section 7.1.2.2: an offer may leave out the value.
            ("client_max_window_bits", value) => {
                let window = client_window(value)?;
                mem::replace(&mut self.client_max_window_bits, window) != ClientWindow::Unlimited
            }
            // Section 7.1: "contains an extension parameter not defined for use in an offer"
            _ => return Err(InvalidParameter),
        };
        // Section 7.1: "contains multiple extension parameters with the same name"
        if repeated { Err(InvalidParameter) } else { Ok(()) }
    }

    /// What the server agreed to, or `None` if it declined: the values of all
    /// `Sec-WebSocket-Extensions` lines of its response, in order.
    ///
    /// # Errors
    ///
    /// Each of them is the server's fault, and the client must fail the connection: RFC 6455
    /// section 4.1 for the header and foreign extensions, RFC 7692 section 7.1 for the parameters.
    pub fn check_response<'a>(
        &self,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Params>, NegotiationError> {
        let mut params = None;
        for extension in extension::parse(values) {
            let extension = extension.map_err(NegotiationError::Malformed)?;
            // RFC 6455 section 4.1: "this header field indicates the use of an extension that was
            // not present in the client's handshake"
            if extension.name != EXTENSION_NAME {
                return Err(NegotiationError::UnofferedExtension);
            }
            // RFC 7692 section 5: no two extensions of one response may use the same RSV bit.
            if params.is_some() {
                return Err(NegotiationError::Repeated);
            }
            params = Some(self.check_accepted(&extension)?);
        }
        Ok(params)
    }

    fn check_accepted(&self, extension: &Extension<'_>) -> Result<Params, NegotiationError> {
        let answer = Offer::parse(extension).map_err(|_| NegotiationError::InvalidParameter)?;
        // Section 7.1.1.1: "A server accepts an extension negotiation offer that includes the
        // "server_no_context_takeover" extension parameter by including" it in its response.
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(NegotiationError::NotAsOffered);
        }
        Ok(Params {
            server_no_context_takeover: answer.server_no_context_takeover,
            // Section 7.1.1.2: to offer it is to keep it, whether or not the server repeats it.
            client_no_context_takeover: self.client_no_context_takeover
                || answer.client_no_context_takeover,
            server_max_window_bits: self.server_window(answer.server_max_window_bits)?,
            client_max_window_bits: self.client_window(answer.client_max_window_bits)?,
            server_max_window_bits_asked: answer.server_max_window_bits.is_some(),
        })
    }

    fn server_window(&self, answer: Option<u8>) -> Result<u8, NegotiationError> {
        match (self.server_max_window_bits, answer) {
            // Section 7.1.2.1: accepted by including it "with the same or smaller value".
            (Some(_), None) => Err(NegotiationError::NotAsOffered),
            (Some(offered), Some(answered)) if answered > offered => {
                Err(NegotiationError::NotAsOffered)
            }
            // Section 7.1.2.1: the server may name its window without having been asked.
            (_, Some(answered)) => Ok(answered),
            (None, None) => Ok(WINDOW_BITS_MAX),
        }
    }

    fn client_window(&self, answer: ClientWindow) -> Result<u8, NegotiationError> {
        match (self.client_max_window_bits, answer) {
            // Section 7.1.2.2: in a response the value is never left out.
            (_, ClientWindow::Limitable) => Err(NegotiationError::InvalidParameter),
            // Section 7.1.2.2: without it in the offer, the response "MUST NOT" include it.
            (ClientWindow::Unlimited, ClientWindow::AtMost(_)) => {
                Err(NegotiationError::NotAsOffered)
            }
            (ClientWindow::AtMost(offered), ClientWindow::AtMost(answered))
                if answered > offered =>
            {
                Err(NegotiationError::NotAsOffered)
            }
            (_, ClientWindow::AtMost(answered)) => Ok(answered),
            // Section 7.1.2.2: a client keeps to the window it named even if the server is silent.
            (ClientWindow::AtMost(offered), ClientWindow::Unlimited) => Ok(offered),
            (_, ClientWindow::Unlimited) => Ok(WINDOW_BITS_MAX),
        }
    }
}

fn client_window(value: Option<&str>) -> Result<ClientWindow, InvalidParameter> {
    match value {
        None => Ok(ClientWindow::Limitable),
        Some(value) => Ok(ClientWindow::AtMost(window_bits(value)?)),
    }
}

/// Sections 7.1.2.1 and 7.1.2.2: "a decimal integer value without leading zeroes between 8 to 15,
/// inclusive". Spelled out, since the standard library's parser also takes `+9` and `09`.
fn window_bits(value: &str) -> Result<u8, InvalidParameter> {
    match value {
        "8" => Ok(8),
        "9" => Ok(9),
        "10" => Ok(10),
        "11" => Ok(11),
        "12" => Ok(12),
        "13" => Ok(13),
        "14" => Ok(14),
        "15" => Ok(15),
        _ => Err(InvalidParameter),
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(EXTENSION_NAME)?;
        if self.server_no_context_takeover {
            out.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            out.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(out, "; server_max_window_bits={bits}")?;
        }
        match self.client_max_window_bits {
            ClientWindow::Unlimited => Ok(()),
            ClientWindow::Limitable => out.write_str("; client_max_window_bits"),
            ClientWindow::AtMost(bits) => write!(out, "; client_max_window_bits={bits}"),
        }
    }
}

/// Why a server's response to an [`Offer`] fails the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegotiationError {
    /// The header does not conform to its grammar.
    Malformed(MalformedExtensions),
    /// The response lists an extension that was not offered.
    UnofferedExtension,
    /// The response lists permessage-deflate more than once.
    Repeated,
    /// A parameter is unknown, repeated, or has a value that is not allowed.
    InvalidParameter,
    /// The parameters are valid but not among those that the offer allows.
    NotAsOffered,
}

impl fmt::Display for NegotiationError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            NegotiationError::Malformed(malformed) => return malformed.fmt(out),
            NegotiationError::UnofferedExtension => {
                "the server accepts an extension nobody offered"
            }
            NegotiationError::Repeated => "the server accepts permessage-deflate more than once",
            NegotiationError::InvalidParameter => {
                "permessage-deflate: the server's response has an unknown, repeated or invalid \
                 parameter"
            }
            NegotiationError::NotAsOffered => {
                "permessage-deflate: the server's response is not what the offer allows"
            }
        })
    }
}

impl core::error::Error for NegotiationError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::extension::Expected;

    const LIMITABLE: Offer = Offer {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: ClientWindow::Limitable,
    };

    #[track_caller]
    fn agreed(offer: Offer, response: &str) -> Params {
        offer.check_response([response]).expect("acceptable").expect("accepted")
    }

    #[track_caller]
    fn refused(offer: Offer, response: &str) -> NegotiationError {
        offer.check_response([response]).expect_err("not acceptable")
    }

    #[test]
    fn section_7_1_3_offers_are_written() {
        assert_eq!(Offer::default().to_string(), "permessage-deflate");
        let small = Offer { server_max_window_bits: Some(10), ..LIMITABLE };
        assert_eq!(
            small.to_string(),
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits"
        );
        assert_eq!(LIMITABLE.to_string(), "permessage-deflate; client_max_window_bits");
    }

    #[test]
    fn every_offer_is_read_as_it_was_written() {
        for switches in 0..4 {
            for server_max_window_bits in (7..=15).map(|bits| (bits > 7).then_some(bits)) {
                for client_max_window_bits in client_windows() {
                    let offer = Offer {
                        server_no_context_takeover: switches & 1 != 0,
                        client_no_context_takeover: switches & 2 != 0,
                        server_max_window_bits,
                        client_max_window_bits,
                    };
                    let text = offer.to_string();
                    let extension = extension::parse([&*text]).next().unwrap().unwrap();
                    assert_eq!(Offer::parse(&extension), Ok(offer));
                }
            }
        }
    }

    fn client_windows() -> impl Iterator<Item = ClientWindow> {
        let limits = (8..=15).map(ClientWindow::AtMost);
        [ClientWindow::Unlimited, ClientWindow::Limitable].into_iter().chain(limits)
    }

    #[test]
    fn section_7_1_3_responses_are_accepted() {
        assert_eq!(agreed(Offer::default(), "permessage-deflate"), Params::default());
        let small = Offer { server_max_window_bits: Some(10), ..LIMITABLE };
        let params = agreed(small, "permessage-deflate; server_max_window_bits=10");
        assert_eq!((params.server_max_window_bits, params.client_max_window_bits), (10, 15));
    }

    #[test]
    fn no_response_is_a_refusal_of_the_offer() {
        assert_eq!(Offer::default().check_response([]), Ok(None));
    }

    #[test]
    fn every_parameter_of_a_response_counts() {
        let response = "permessage-deflate; server_no_context_takeover; \
                        client_no_context_takeover; server_max_window_bits=9; \
                        client_max_window_bits=12";
        let params = agreed(LIMITABLE, response);
        assert_eq!(params.to_string(), response);
    }

    #[test]
    fn section_7_1_1_2_a_promise_is_kept_without_an_answer() {
        let offer = Offer { client_no_context_takeover: true, ..Offer::default() };
        assert!(agreed(offer, "permessage-deflate").client_no_context_takeover);
        let offer = Offer { client_max_window_bits: ClientWindow::AtMost(9), ..Offer::default() };
        assert_eq!(agreed(offer, "permessage-deflate").client_max_window_bits, 9);
    }

    #[test]
    fn section_7_1_unknown_repeated_and_invalid_parameters_fail() {
        for parameters in [
            "x",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=true",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits",
            "client_max_window_bits=+8",
        ] {
            let response = format!("permessage-deflate; {parameters}");
            assert_eq!(
                refused(LIMITABLE, &response),
                NegotiationError::InvalidParameter,
                "{response}"
            );
        }
    }

    #[test]
    fn section_7_1_1_1_an_offered_server_parameter_must_be_answered() {
        let offer = Offer { server_no_context_takeover: true, ..Offer::default() };
        assert_eq!(refused(offer, "permessage-deflate"), NegotiationError::NotAsOffered);
    }

    #[test]
    fn section_7_1_2_1_the_server_window_must_not_grow() {
        let offer = Offer { server_max_window_bits: Some(10), ..Offer::default() };
        for response in ["permessage-deflate", "permessage-deflate; server_max_window_bits=11"] {
            assert_eq!(refused(offer, response), NegotiationError::NotAsOffered);
        }
        let params = agreed(offer, "permessage-deflate; server_max_window_bits=8");
        assert_eq!(params.server_max_window_bits, 8);
    }

    #[test]
    fn section_7_1_2_2_the_client_window_must_have_been_offered() {
        let response = "permessage-deflate; client_max_window_bits=10";
        assert_eq!(refused(Offer::default(), response), NegotiationError::NotAsOffered);
        let offer = Offer { client_max_window_bits: ClientWindow::AtMost(9), ..LIMITABLE };
        assert_eq!(refused(offer, response), NegotiationError::NotAsOffered);
        assert_eq!(agreed(LIMITABLE, response).client_max_window_bits, 10);
    }

    #[test]
    fn foreign_repeated_and_malformed_extensions_fail() {
        let offer = Offer::default();
        assert_eq!(refused(offer, "permessage-foo"), NegotiationError::UnofferedExtension);
        assert_eq!(
            offer.check_response(["permessage-deflate", "permessage-deflate"]),
            Err(NegotiationError::Repeated)
        );
        let malformed = MalformedExtensions { expected: Expected::Token, at: 19 };
        assert_eq!(refused(offer, "permessage-deflate;"), NegotiationError::Malformed(malformed));
    }
}
