//! Random numbers for masking keys and nonces: fast, seeded by the operating system.

use std::io;

/// A generator of the xorshift family (Marsaglia, "Xorshift RNGs", 2003), 64 bits.
#[derive(Clone, Debug)]
pub struct Random {
    /// Never 0.
    state: u64,
}

impl Random {
    /// A generator with a seed that nobody can guess.
    ///
    /// # Errors
    /// The operating system has no randomness to give.
    pub fn new() -> io::Result<Self> {
        let seed = getrandom::u64().map_err(io::Error::other)?;
        Ok(Self { state: seed | 1 })
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A masking key.
    ///
    /// RFC 6455 section 5.3: "The masking key is a 32-bit value chosen at random by the client."
    pub fn key(&mut self) -> [u8; 4] {
        ((self.next_u64() >> 32) as u32).to_ne_bytes()
    }

    /// The nonce of an opening handshake.
    pub fn nonce(&mut self) -> [u8; 16] {
        (u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ() {
        let mut random = Random::new().unwrap();
        let mut keys: Vec<_> = (0..1000).map(|_| random.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert!(keys.len() > 990, "only {} different keys", keys.len());
    }
}
