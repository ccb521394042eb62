//! What a client may be told, worked out from everything it ever says, on whole streams.

use tidegate_tests::reference::{self, Message, Rules, Said, is_utf8};

use crate::handlers::{Behaviour, HAD_ENOUGH, SOURCE_MESSAGES, source_message};

/// The longest message that the simulated routes take, in bytes as they travel.
pub const MAX_MESSAGE: usize = 6000;

/// The longest message of those that have to be whole, and the longest that one may inflate to.
pub const MAX_BUFFERED: usize = 4096;

/// What the server has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Messages and pongs, in order.
    pub said: Vec<Said>,
    /// A message that is answered in part, as far as it came, if it is answered piece by piece.
    pub tail: Option<Message>,
    /// A message may be answered in part that is not in the model: one whose compressed bytes are
    /// wrong, or cut short.
    pub tail_is_unknown: bool,
    /// The code of the Close frame, if the stream itself ends the connection; the inner `None` is a
    /// Close frame without a code.
    pub close: Option<Option<u16>>,
}

/// What the route has to answer to `frames`, the bytes behind the opening handshake.
pub fn expected(behaviour: Behaviour, frames: &[u8], compression: bool) -> Expected {
    let rules = Rules {
        masked: true,
        compression,
        max_message: MAX_MESSAGE,
        max_gathered: MAX_BUFFERED,
        whole: behaviour.wants_whole(),
    };
    let read = reference::read(frames, &rules);
    let mut expected = Expected::default();
    if behaviour == Behaviour::Source {
        expected.said = source();
    }
    let mut messages = 0;
    for said in read.said {
        match said {
            Said::Control { opcode: 8, payload } => {
                expected.close = Some(close_code(&payload));
                // It was the last that was read.
                break;
            }
            Said::Control { opcode: 9, payload } => {
                expected.said.push(Said::Control { opcode: 10, payload });
            }
            Said::Control { .. } => {}
            Said::Message(message) => {
                messages += 1;
                let code = match inflated(message) {
                    Err(code) => {
                        expected.tail_is_unknown = !rules.whole;
                        code
                    }
                    Ok(_) if behaviour == Behaviour::CloseAtTheThird && messages == 3 => HAD_ENOUGH,
                    Ok(message) => {
                        answer(behaviour, message, &mut expected.said);
                        continue;
                    }
                };
                expected.close = Some(Some(code));
                return expected;
            }
        }
    }
    expected.close = expected.close.or(read.violation.map(Some));
    cut_short(behaviour, messages, read.begun, &mut expected);
    expected
}

/// What had begun when reading stopped may be answered as far as it came.
fn cut_short(
    behaviour: Behaviour,
    messages: usize,
    begun: Option<Message>,
    expected: &mut Expected,
) {
    let answers_pieces = matches!(behaviour, Behaviour::Echo | Behaviour::Late)
        || (behaviour == Behaviour::CloseAtTheThird && messages < 2);
    let Some(begun) = begun.filter(|_| answers_pieces) else { return };
    if begun.compressed {
        expected.tail_is_unknown = true;
    } else {
        expected.tail = Some(begun);
    }
}

fn source() -> Vec<Said> {
    let message =
        |index| Message { is_text: false, compressed: false, bytes: source_message(index) };
    (0..SOURCE_MESSAGES).map(message).map(Said::Message).collect()
}

fn answer(behaviour: Behaviour, message: Message, said: &mut Vec<Said>) {
    match behaviour {
        Behaviour::Source => {}
        Behaviour::Twice => said.extend([Said::Message(message.clone()), Said::Message(message)]),
        Behaviour::Echo | Behaviour::Whole | Behaviour::CloseAtTheThird | Behaviour::Late => {
            said.push(Said::Message(message));
        }
    }
}

/// A message as its handler sees it, or the close code that answers it.
fn inflated(message: Message) -> Result<Message, u16> {
    if !message.compressed {
        return Ok(message);
    }
    let bytes = reference::inflate(&message.bytes).ok_or(1007_u16)?;
    if bytes.len() > MAX_BUFFERED {
        return Err(1009);
    }
    if message.is_text && !is_utf8(&bytes, true) {
        return Err(1007);
    }
    Ok(Message { compressed: false, bytes, ..message })
}

/// The code of the Close frame that answers one with this payload.
fn close_code(payload: &[u8]) -> Option<u16> {
    match payload {
        [] => None,
        [_] => Some(1002),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let may_travel = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            Some(match std::str::from_utf8(reason) {
                _ if !may_travel => 1002,
                Err(_) => 1007,
                Ok(_) => code,
            })
        }
    }
}
