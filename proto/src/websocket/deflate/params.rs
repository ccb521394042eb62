//! What both ends agreed on.

use core::fmt;

use super::{EXTENSION_NAME, WINDOW_BITS_MAX};

/// The agreed parameters of one connection (RFC 7692 section 7.1).
///
/// `Display` writes the server's negotiation response: the value of `Sec-WebSocket-Extensions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// The server forgets its window after each message it sends (section 7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client forgets its window after each message it sends (section 7.1.1.2).
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the server's window, 8 to 15 (section 7.1.2.1).
    pub server_max_window_bits: u8,
    /// Base-2 logarithm of the client's window, 8 to 15 (section 7.1.2.2).
    pub client_max_window_bits: u8,
    /// The offer spoke of the server's window, so the response does too, even where the agreed
    /// window is the one that silence would mean (section 7.1.2.1).
    pub server_max_window_bits_asked: bool,
}

impl Default for Params {
    /// What a bare `permessage-deflate` means: nothing is forgotten, and all windows are largest.
    fn default() -> Self {
        Params {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: WINDOW_BITS_MAX,
            client_max_window_bits: WINDOW_BITS_MAX,
            server_max_window_bits_asked: false,
        }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(EXTENSION_NAME)?;
        if self.server_no_context_takeover {
            out.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            out.write_str("; client_no_context_takeover")?;
        }
        if self.server_max_window_bits_asked || self.server_max_window_bits < WINDOW_BITS_MAX {
            write!(out, "; server_max_window_bits={}", self.server_max_window_bits)?;
        }
        // Only ever smaller if the offer allowed the parameter (section 7.1.2.2), and silence says
        // the same as 15.
        if self.client_max_window_bits < WINDOW_BITS_MAX {
            write!(out, "; client_max_window_bits={}", self.client_max_window_bits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_the_default() {
        assert_eq!(Params::default().to_string(), "permessage-deflate");
    }

    #[test]
    fn every_parameter_is_written() {
        let params = Params {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: 10,
            client_max_window_bits: 8,
            server_max_window_bits_asked: true,
        };
        assert_eq!(
            params.to_string(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10; client_max_window_bits=8"
        );
    }

    #[test]
    fn section_7_1_2_1_a_question_about_the_largest_window_is_answered() {
        let params = Params { server_max_window_bits_asked: true, ..Params::default() };
        assert_eq!(params.to_string(), "permessage-deflate; server_max_window_bits=15");
    }
}
