//! What is wrong with a command, for programs.

use serde::Serialize;

use crate::hub::{NotDone, NotRenewed};

/// The code of an `error`: `proto/CLIENT.md` says what each means, and whether to try again.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MistakeCode {
    BadCommand,
    UnknownCommand,
    BadTopic,
    BadPosition,
    NotAllowed,
    NotSubscribed,
    NotKept,
    TooManySubscriptions,
    TooManyCommands,
    TooLarge,
    BadToken,
    Busy,
    Full,
}

impl MistakeCode {
    /// What is said of something that the hub has not done, and to a human.
    pub(super) fn of(not_done: NotDone) -> (Self, &'static str) {
        match not_done {
            NotDone::Unknown => {
                (Self::NotKept, "nothing is kept of this topic, or not what was asked for")
            }
            NotDone::Gone | NotDone::NotOpen => {
                (Self::NotSubscribed, "the subscription ended before it began")
            }
            NotDone::TooLarge => (Self::TooLarge, "the message is larger than may be published"),
            NotDone::NotUtf8 | NotDone::NotJson => (Self::BadCommand, "this cannot be published"),
            NotDone::TooManySubscriptions => (
                Self::TooManySubscriptions,
                "the connection has as many subscriptions as it may: end one first",
            ),
            NotDone::Full => {
                (Self::Full, "the gateway has no room for this topic; try again later")
            }
            NotDone::Busy | NotDone::Slow | NotDone::Ended => {
                (Self::Busy, "the gateway has too much to do; try again in a moment")
            }
        }
    }

    /// What is said of a fresh token that was not taken.
    pub(super) fn of_renewal(why: NotRenewed) -> Self {
        match why {
            NotRenewed::BadToken(_) | NotRenewed::OtherUser => Self::BadToken,
            NotRenewed::UnderWay => Self::TooManyCommands,
            NotRenewed::Busy => Self::Busy,
            NotRenewed::NoRoom => Self::Full,
            NotRenewed::NoToken => Self::NotAllowed,
        }
    }
}
