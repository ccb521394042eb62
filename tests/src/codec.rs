//! permessage-deflate by another hand: `miniz_oxide`, which the gateway does not use.

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::inflate::stream::InflateState;
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

/// What ends each message's stream, and does not travel (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// A client's compressor.
pub struct Codec {
    compressor: Box<CompressorOxide>,
}

impl Codec {
    /// A compressor of a level from 0, which only stores, to 10.
    #[must_use]
    pub fn new(level: u8) -> Self {
        // Negative window bits ask for a raw stream.
        let flags = create_comp_flags_from_zip_params(level.into(), -15, 0);
        Self { compressor: Box::new(CompressorOxide::new(flags)) }
    }

    /// The payload of a compressed message (RFC 7692 section 7.2.1), without context takeover.
    ///
    /// # Panics
    /// The codec fails.
    #[must_use]
    pub fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        self.compressor.reset();
        let mut out = vec![0; message.len() + message.len() / 100 + 1024];
        let compressor = &mut self.compressor;
        let done =
            miniz_oxide::deflate::stream::deflate(compressor, message, &mut out, MZFlush::Sync);
        assert_eq!((done.status, done.bytes_consumed), (Ok(MZStatus::Ok), message.len()));
        out.truncate(done.bytes_written);
        assert!(out.ends_with(&TAIL), "a flush ends with an empty stored block");
        out.truncate(out.len() - TAIL.len());
        out
    }
}

/// The message that the payload of a compressed one stands for (RFC 7692 section 7.2.2).
///
/// # Panics
/// It stands for none.
#[must_use]
#[track_caller]
pub fn inflate(payload: &[u8]) -> Vec<u8> {
    let input = [payload, &TAIL].concat();
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut message, mut at) = (Vec::new(), 0);
    let mut some = vec![0; 65_536];
    loop {
        let done = miniz_oxide::inflate::stream::inflate(
            &mut state,
            &input[at..],
            &mut some,
            MZFlush::None,
        );
        at += done.bytes_consumed;
        message.extend(&some[..done.bytes_written]);
        match done.status {
            Ok(_) if done.bytes_consumed + done.bytes_written > 0 => {}
            Ok(_) | Err(miniz_oxide::MZError::Buf) if at == input.len() => return message,
            other => panic!("no deflate stream: {other:?} at {at} of {}", input.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7692 section 7.2.3.1: "A Message Compressed Using One Compressed DEFLATE Block".
    #[test]
    fn section_7_2_3_1_example() {
        assert_eq!(inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00"), b"Hello");
    }

    #[test]
    fn there_and_back() {
        let mut codec = Codec::new(6);
        for message in [vec![], b"Hello".to_vec(), vec![0; 300_000], crate::noise(70_000, 1)] {
            assert_eq!(inflate(&codec.deflate(&message)), message);
        }
    }
}
