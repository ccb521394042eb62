//! Any bytes as a compressed payload, and any bytes compressed: the codecs against the naive
//! decoder.

use tidegate_proto::websocket::deflate::{Deflater, InflateError, Inflater};

use super::{Parameters, Stretches};
use crate::reference;

/// What a payload may inflate to here; one that stands for more is left half-way.
const BOUND: usize = 256 * 1024;

/// Parameters: level and window, the stretches, the room for output.
///
/// # Panics
/// A codec and the naive decoder do not agree, or the inflater breaks its contract.
pub fn deflate(data: &[u8]) {
    let mut parameters = Parameters(data);
    let (how, stretches, room) = (parameters.byte(), parameters.byte(), parameters.byte());
    let payload = parameters.rest();
    inflates(payload, Stretches::new(stretches), usize::from(room) + 1);
    let (level, window_bits) = (1 + how % 9, 8 + (how >> 4) % 8);
    deflates(
        payload,
        Stretches::new(stretches),
        &mut Deflater::new(level, window_bits),
        window_bits,
    );
}

fn inflates(payload: &[u8], stretches: Stretches, room: usize) {
    let mut inflater = Inflater::new();
    let all_at_once = inflate(&mut inflater, payload, Stretches::new(0), 16 * 1024);
    inflater.begin();
    let in_stretches = inflate(&mut inflater, payload, stretches, room);
    let expected = reference::inflate(payload);
    for outcome in [all_at_once, in_stretches] {
        // The naive decoder knows no bound; what goes wrong behind it is not reached.
        let may_be_long = expected.as_ref().is_none_or(|message| message.len() > BOUND);
        let is_too_long = outcome == Ok(None) && may_be_long;
        assert!(is_too_long || outcome.ok().flatten() == expected, "inflates to something else");
    }
}

/// The message; `None` if it is too long.
fn inflate(
    inflater: &mut Inflater,
    payload: &[u8],
    mut stretches: Stretches,
    room: usize,
) -> Result<Option<Vec<u8>>, InflateError> {
    let mut message = Vec::new();
    let mut out = vec![0; room];
    let mut rest = payload;
    loop {
        let (stretch, after) = rest.split_at(stretches.next(rest.len()));
        let last = after.is_empty();
        let mut input = stretch;
        loop {
            let progress = inflater.inflate(input, last, &mut out)?;
            assert!(progress.consumed <= input.len() && progress.produced <= room);
            input = &input[progress.consumed..];
            message.extend_from_slice(&out[..progress.produced]);
            if progress.done {
                assert!(last && input.is_empty(), "done before the end");
                return Ok(Some(message));
            }
            if message.len() > BOUND {
                return Ok(None);
            }
            if progress.produced < room {
                assert!(!last && input.is_empty(), "neither was all read nor all filled");
                break;
            }
        }
        rest = after;
    }
}

fn deflates(message: &[u8], mut stretches: Stretches, deflater: &mut Deflater, window_bits: u8) {
    let mut payload = Vec::new();
    let mut rest = message;
    loop {
        let (piece, after) = rest.split_at(stretches.next(rest.len()));
        let mut out = vec![0; Deflater::bound(piece.len())];
        let last = after.is_empty();
        let written = deflater.compress(piece, last, &mut out).expect("the bound suffices");
        payload.extend_from_slice(&out[..written]);
        if last {
            break;
        }
        rest = after;
    }
    let inflated = reference::inflate_within(&payload, 1 << window_bits);
    assert_eq!(inflated.as_deref(), Some(message), "what was deflated inflates to something else");
}
