//! What verifying tokens may take: keys of the root, beside each other here.

use std::ops::RangeInclusive;

use super::built::{self, BuiltWrong};
use super::reader::TableReader;
use super::value;

const VERIFIERS: RangeInclusive<u16> = 1..=64;
const VERIFICATIONS: RangeInclusive<u32> = 1..=1_048_576;

/// What verifying tokens may take, of the whole gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verifying {
    /// Threads that verify the signatures of tokens (`verifiers`), 1 to 64. Default 1. They are
    /// there where some route asks for tokens.
    pub threads: u16,
    /// Tokens that may wait for them at once (`verifications`), 1 to 1048576. Default 4096. Who
    /// comes with one more is answered with 503.
    pub waiting: u32,
}

impl Default for Verifying {
    fn default() -> Self {
        Self { threads: 1, waiting: 4096 }
    }
}

impl Verifying {
    /// Reads its keys from the root.
    pub(super) fn read(root: &mut TableReader<'_, '_>) -> Self {
        let default = Self::default();
        let threads = root
            .read("verifiers", default.threads, |count| value::integer(count, &VERIFIERS))
            .value;
        let waiting = root
            .read("verifications", default.waiting, |count| value::integer(count, &VERIFICATIONS))
            .value;
        Self { threads, waiting }
    }

    /// Checks what a program has put together.
    pub(super) fn check(&self) -> Result<(), BuiltWrong> {
        built::number("verifiers", self.threads, &VERIFIERS)?;
        built::number("verifications", self.waiting, &VERIFICATIONS)
    }
}
