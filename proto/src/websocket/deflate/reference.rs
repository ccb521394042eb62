//! A naive DEFLATE decoder (RFC 1951), the oracle of the tests: one bit at a time, no tables.

/// A decoded payload.
#[derive(Debug)]
pub(super) struct Inflated {
    pub(super) message: Vec<u8>,
    /// The longest distance of any match, in octets.
    pub(super) farthest: usize,
}

/// Not a payload.
#[derive(Debug)]
pub(super) struct Invalid;

type Result<T> = core::result::Result<T, Invalid>;

/// Decodes one message's payload (RFC 7692 section 7.2.2) whose matches reach at most `window`
/// octets back.
pub(super) fn inflate_payload(payload: &[u8], window: usize) -> Result<Inflated> {
    let octets = [payload, &super::TAIL].concat();
    let mut decoder =
        Decoder { octets: &octets, bit: 0, message: Vec::new(), farthest: 0, start: 0 };
    let mut ends_with_empty_stored_block = false;
    while decoder.bit.div_ceil(8) < octets.len() {
        ends_with_empty_stored_block = decoder.block(window)?;
    }
    if !ends_with_empty_stored_block {
        return Err(Invalid);
    }
    Ok(Inflated { message: decoder.message, farthest: decoder.farthest })
}

struct Decoder<'a> {
    octets: &'a [u8],
    /// The next bit, counted from the least significant of the first octet.
    bit: usize,
    message: Vec<u8>,
    farthest: usize,
    /// Where in the message the current DEFLATE stream starts: nothing refers to before it.
    start: usize,
}

impl Decoder<'_> {
    /// Section 3.2.3. Whether the block was stored and empty.
    fn block(&mut self, window: usize) -> Result<bool> {
        let last = self.bits(1)? == 1;
        let empty = match self.bits(2)? {
            0 => self.stored()?,
            1 => {
                let (literals, distances) = fixed_codes();
                self.compressed(&literals, &distances, window)?
            }
            2 => {
                let (literals, distances) = self.dynamic_codes()?;
                self.compressed(&literals, &distances, window)?
            }
            _ => return Err(Invalid),
        };
        if last {
            self.bit = self.bit.next_multiple_of(8);
            self.start = self.message.len();
        }
        Ok(empty)
    }

    /// Section 3.2.4.
    fn stored(&mut self) -> Result<bool> {
        self.bit = self.bit.next_multiple_of(8);
        let (len, complement) = (self.bits(16)?, self.bits(16)?);
        if len != complement ^ 0xffff {
            return Err(Invalid);
        }
        for _ in 0..len {
            let octet = self.bits(8)?;
            self.message.push(u8::try_from(octet).expect("eight bits"));
        }
        Ok(len == 0)
    }

    /// Section 3.2.5.
    fn compressed(&mut self, literals: &Code, distances: &Code, window: usize) -> Result<bool> {
        loop {
            match self.symbol(literals)? {
                256 => return Ok(false),
                symbol @ 257..=285 => {
                    let len = self.length(symbol)?;
                    let symbol = self.symbol(distances)?;
                    let distance = self.distance(symbol)?;
                    self.copy(len, distance, window)?;
                }
                symbol => self.message.push(u8::try_from(symbol).map_err(|_| Invalid)?),
            }
        }
    }

    fn length(&mut self, symbol: usize) -> Result<usize> {
        match symbol - 257 {
            index @ 0..=7 => Ok(index + 3),
            28 => Ok(258),
            index => {
                let extra = index / 4 - 1;
                Ok(3 + ((4 + index % 4) << extra) + self.bits(extra)?)
            }
        }
    }

    fn distance(&mut self, symbol: usize) -> Result<usize> {
        match symbol {
            0..=3 => Ok(symbol + 1),
            4..=29 => {
                let extra = symbol / 2 - 1;
                Ok(1 + ((2 + symbol % 2) << extra) + self.bits(extra)?)
            }
            _ => Err(Invalid),
        }
    }

    fn copy(&mut self, len: usize, distance: usize, window: usize) -> Result<()> {
        if distance > window || distance > self.message.len() - self.start {
            return Err(Invalid);
        }
        self.farthest = self.farthest.max(distance);
        for _ in 0..len {
            self.message.push(self.message[self.message.len() - distance]);
        }
        Ok(())
    }

    /// Section 3.2.7.
    fn dynamic_codes(&mut self) -> Result<(Code, Code)> {
        const ORDER: [usize; 19] =
            [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let literals = self.bits(5)? + 257;
        let distances = self.bits(5)? + 1;
        let used = self.bits(4)? + 4;
        let mut lengths = vec![0; ORDER.len()];
        for symbol in ORDER.into_iter().take(used) {
            lengths[symbol] = self.bits(3)?;
        }
        let lengths = self.code_lengths(&Code::new(&lengths), literals + distances)?;
        let (literals, distances) = lengths.split_at(literals);
        // zlib's limits: only symbols that mean something, and a block that can end.
        if literals.len() > 286 || distances.len() > 30 || literals[256] == 0 {
            return Err(Invalid);
        }
        let codes = (Code::new(literals), Code::new(distances));
        if codes.0.is_usable() && codes.1.is_usable() { Ok(codes) } else { Err(Invalid) }
    }

    fn code_lengths(&mut self, code: &Code, count: usize) -> Result<Vec<usize>> {
        if !code.is_complete() {
            return Err(Invalid);
        }
        let mut lengths: Vec<usize> = Vec::new();
        while lengths.len() < count {
            let (length, times) = match self.symbol(code)? {
                16 => (*lengths.last().ok_or(Invalid)?, 3 + self.bits(2)?),
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                length => (length, 1),
            };
            lengths.extend(vec![length; times]);
        }
        if lengths.len() == count { Ok(lengths) } else { Err(Invalid) }
    }

    /// Section 3.2.2: codes of one length are consecutive, in the order of their symbols.
    fn symbol(&mut self, code: &Code) -> Result<usize> {
        let (mut value, mut first) = (0, 0);
        for length in 1..=15 {
            value |= self.bits(1)?;
            let symbols = &code.by_length[length];
            if value < first + symbols.len() {
                return Ok(symbols[value - first]);
            }
            first = (first + symbols.len()) << 1;
            value <<= 1;
        }
        Err(Invalid)
    }

    /// Section 3.1.1: the least significant bit comes first.
    fn bits(&mut self, count: usize) -> Result<usize> {
        let mut value = 0;
        for place in 0..count {
            let octet = self.octets.get(self.bit / 8).ok_or(Invalid)?;
            value |= usize::from(octet >> (self.bit % 8) & 1) << place;
            self.bit += 1;
        }
        Ok(value)
    }
}

/// A Huffman code.
struct Code {
    /// The symbols whose code is that many bits long, in order. Those of length 0 have no code.
    by_length: [Vec<usize>; 16],
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut by_length = [const { Vec::new() }; 16];
        for (symbol, &length) in lengths.iter().enumerate() {
            by_length[length].push(symbol);
        }
        Code { by_length }
    }

    /// The share of all 15-bit strings that start with a code of this one.
    fn covered(&self) -> usize {
        (1..=15).map(|length| self.by_length[length].len() << (15 - length)).sum()
    }

    fn is_complete(&self) -> bool {
        self.covered() == 1 << 15
    }

    /// zlib's rule: no code that leaves bits unused, but for none at all or one of one bit.
    fn is_usable(&self) -> bool {
        let one_bit_at_most = self.by_length[2..].iter().all(Vec::is_empty);
        self.is_complete() || (self.covered() < 1 << 15 && one_bit_at_most)
    }
}

/// Section 3.2.6.
fn fixed_codes() -> (Code, Code) {
    let literals = [vec![8; 144], vec![9; 112], vec![7; 24], vec![8; 8]].concat();
    (Code::new(&literals), Code::new(&[5; 32]))
}
