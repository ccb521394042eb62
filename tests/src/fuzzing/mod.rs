//! The bodies of the fuzz targets: each takes any bytes and panics if what the gateway makes of
//! them is not what it has to be.
//!
//! The fuzzer of `tests/fuzz` calls them, and so does a test with everything in its corpus.

mod commands;
mod config;
mod deflate;
mod frames;
mod lines;
mod proxy;
mod request_head;
mod tls_records;
mod tokens;

pub use commands::commands;
pub use config::config;
pub use deflate::deflate;
pub use frames::frames;
pub use lines::lines;
pub use proxy::proxy;
pub use request_head::request_head;
pub use tls_records::tls_records;
pub use tokens::tokens;

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: [(&str, Target); 9] = [
    ("commands", commands),
    ("config", config),
    ("deflate", deflate),
    ("frames", frames),
    ("lines", lines),
    ("proxy", proxy),
    ("request_head", request_head),
    ("tls_records", tls_records),
    ("tokens", tokens),
];

/// The parameters of a run come first in its input, so that the fuzzer can draw them; those that
/// are not there are 0.
struct Parameters<'d>(&'d [u8]);

impl<'d> Parameters<'d> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// What is left.
    fn rest(self) -> &'d [u8] {
        self.0
    }
}

/// The lengths of the stretches in which input arrives: `most` at the most, none of them 0, drawn
/// from `seed`. Seed 0 is all at once.
#[derive(Clone)]
struct Stretches {
    state: u32,
    most: usize,
}

impl Stretches {
    fn new(seed: u8) -> Self {
        let most = match seed % 4 {
            _ if seed == 0 => usize::MAX,
            0 => 1,
            1 => 3,
            2 => 20,
            _ => 300,
        };
        Self { state: u32::from(seed), most }
    }

    /// The next one, of at most `left`.
    fn next(&mut self, left: usize) -> usize {
        // The constants of Numerical Recipes; only the upper bits are any good.
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if self.most == usize::MAX {
            return left;
        }
        (1 + (self.state >> 16) as usize % self.most).min(left)
    }
}
