//! The table `[limits]`: what one shard may hold, and do at once.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::client_limits::or_off;
use super::reader::{Origin, Setting, TableReader};
use super::relation::{self, Bounded, Party};
use super::report::Report;
use super::value;
use crate::kernel::buffer_stride;
use crate::units::Size;

/// The bounds of one shard. What takes memory is reserved or counted by the shard's bill at
/// start-up, and does not grow later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, 16 to 4194304. Default 16384. More go to a shard that has room, or are
    /// answered with 503. The limit of open files bounds them too: by io_uring in each shard by
    /// itself, by epoll in all of them together. With a lower limit than the default wants, a start
    /// has fewer and warns.
    pub connections: u32,
    /// Receive buffers lent to the kernel, a power of two, 8 to 32768. Default 512. When all are in
    /// use, sockets with input wait for one. All of them take less than 4 GiB.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer, 1 KiB to 1 MiB. Default 16448: 16 KiB and a frame header, or a
    /// record of TLS, for which a listener with the layer `tls` needs as much.
    pub receive_buffer: u32,
    /// Bytes for the answers that are put together while input is parsed, and for all that TLS
    /// seals, 16 KiB to 64 MiB. Default 1 MiB. What does not fit goes to the connection's backlog
    /// and is sent from there.
    pub staging: u32,
    /// Bytes of pooled blocks: backlogs of slow peers and messages that must be whole. A multiple
    /// of 1 MiB, 1 MiB to 4095 MiB. Default 64 MiB.
    pub blocks: u32,
    /// Bytes of one request head, 512 B to 64 KiB and at most `receive_buffer`. Default 8 KiB. A
    /// longer head is answered with 431.
    pub request_head: u32,
    /// Bytes that are inflated in one turn of the loop, 16 KiB to 64 MiB. Default 256 KiB. Each
    /// frame beyond the 64th of one receive counts as 128, and so does what a program's own
    /// protocol does beyond 64 things with 2 KiB. Such input behind it waits for the next turn.
    pub heavy_input: u32,
    /// Handshakes of TLS that may be under way at once, 1 to 65536. Default 256.
    pub handshakes: u32,
    /// Connections over TLS 1.3 whose keys may stay expanded, in each direction, 0 to 65536.
    /// Default 256. Those of all others are expanded for each burst.
    pub expanded_keys: u32,
    /// Bytes of tokens that were verified, 0 B to 1 GiB. Default 1 MiB, which are some 4,000. Who
    /// comes back with one of them is not verified anew.
    pub tokens: u32,
    /// Bytes of passwords that were hashed and are right, 0 B to 1 GiB. Default 256 KiB, which are
    /// some 1,000. Who comes back with one of them waits for no hash.
    pub passwords: u32,
    /// Bytes of what tokens say of topics, 0 B to 4 GiB - 1. Default 16 MiB. What is the same for
    /// many connections counts once. Who brings more is answered with 503.
    pub permissions: u32,
    /// Hundredths of `blocks`, or of the hub's `messages`, above which new connections are answered
    /// with 503, 10 to 99. Default 85; `None` for never.
    pub memory_high: Option<u8>,
    /// Likewise, above which those give way at once who hold most. At least `memory_high`. Default
    /// 95; `None` for never.
    pub memory_critical: Option<u8>,
}

/// How many slots there are beyond the connections that are served, a sixteenth of these within
/// this range: those who are refused because there is no room for them have one while they are
/// told.
const RESERVE: RangeInclusive<u32> = 4..=64;

/// The most slots that a shard can have: a connection is named by 22 bits where it is subscribed.
const SLOTS_MAX: u32 = 1 << 22;

impl Limits {
    /// The fewest connections of a shard, and the most.
    pub(crate) const CONNECTIONS_MIN: u32 = 16;
    pub(crate) const CONNECTIONS_MAX: u32 = 4_194_304;

    /// The fewest bytes of a receive buffer with the layer `tls`: a record of 16 KiB, with its
    /// header, its tag and its padding, has to be whole to be opened.
    pub(crate) const RECORD: u32 = 16_448;

    /// The places that a shard has for connections: those that are served, and a reserve for those
    /// that are told that there is no room.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let reserve = (self.connections / 16).clamp(*RESERVE.start(), *RESERVE.end());
        (self.connections + reserve).min(SLOTS_MAX)
    }

    /// The same with what of `wanted` sizes nothing that was made at the start: what is looked at
    /// as something comes in.
    pub(super) fn taking_over(&self, wanted: &Self) -> Self {
        // Each key is here, so that a new one is put on either side.
        let Self { connections, receive_buffers, receive_buffer, staging, blocks, .. } = *self;
        let Self { request_head, expanded_keys, .. } = *self;
        let Self { heavy_input, handshakes, tokens, passwords, permissions, .. } = *wanted;
        let Self { memory_high, memory_critical, .. } = *wanted;
        Self {
            connections,
            receive_buffers,
            receive_buffer,
            staging,
            blocks,
            request_head,
            heavy_input,
            handshakes,
            expanded_keys,
            tokens,
            passwords,
            permissions,
            memory_high,
            memory_critical,
        }
    }

    /// Checks what a program has put together.
    pub(super) fn check(&self) -> Result<(), BuiltWrong> {
        let Self { connections, receive_buffers, receive_buffer, staging, .. } = *self;
        built::number("limits.connections", connections, &CONNECTIONS)?;
        built::number("limits.receive_buffers", receive_buffers, &RECEIVE_BUFFERS)?;
        built::size("limits.receive_buffer", receive_buffer, &RECEIVE_BUFFER)?;
        built::size("limits.staging", staging, &STAGING)?;
        built::size("limits.blocks", self.blocks, &BLOCKS)?;
        built::size("limits.request_head", self.request_head, &REQUEST_HEAD)?;
        built::size("limits.heavy_input", self.heavy_input, &HEAVY_INPUT)?;
        built::number("limits.handshakes", self.handshakes, &HANDSHAKES)?;
        built::number("limits.expanded_keys", self.expanded_keys, &EXPANDED_KEYS)?;
        built::size("limits.tokens", self.tokens, &TOKENS)?;
        built::size("limits.passwords", self.passwords, &TOKENS)?;
        built::size("limits.permissions", self.permissions, &PERMISSIONS)?;
        for (key, share) in
            [("memory_high", self.memory_high), ("memory_critical", self.memory_critical)]
        {
            let Some(share) = share else { continue };
            built::number(format!("limits.{key}"), share, &SHARE)?;
        }
        let area = u64::from(receive_buffers) * buffer_stride(receive_buffer as usize) as u64;
        built::first_broken(&[
            (receive_buffers.is_power_of_two(), "limits.receive_buffers: a power of two"),
            (area < 1 << 32, "limits.receive_buffers: all of them together below 4 GiB"),
            (self.blocks.is_multiple_of(MIB), "limits.blocks: a multiple of 1 MiB"),
            (
                !is_below(self.memory_critical, self.memory_high),
                "limits.memory_critical: at least limits.memory_high",
            ),
            (
                self.request_head <= receive_buffer,
                "limits.request_head: at most limits.receive_buffer",
            ),
        ])
    }
}

const CONNECTIONS: RangeInclusive<u32> = Limits::CONNECTIONS_MIN..=Limits::CONNECTIONS_MAX;
const RECEIVE_BUFFERS: RangeInclusive<u16> = 8..=32_768;
const RECEIVE_BUFFER: RangeInclusive<u32> = 1 << 10..=1 << 20;
const STAGING: RangeInclusive<u32> = 16 << 10..=64 << 20;
const BLOCKS: RangeInclusive<u32> = MIB..=4095 * MIB;
const REQUEST_HEAD: RangeInclusive<u32> = 512..=64 << 10;
const HEAVY_INPUT: RangeInclusive<u32> = 16 << 10..=64 << 20;
const HANDSHAKES: RangeInclusive<u32> = 1..=65_536;
const EXPANDED_KEYS: RangeInclusive<u32> = 0..=65_536;
const TOKENS: RangeInclusive<u32> = 0..=1 << 30;
const PERMISSIONS: RangeInclusive<u32> = 0..=u32::MAX;
const SHARE: RangeInclusive<u8> = 10..=99;
const MIB: u32 = 1 << 20;

/// Whether both are there, and this is less.
fn is_below(this: Option<u8>, other: Option<u8>) -> bool {
    this.zip(other).is_some_and(|(this, other)| this < other)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            receive_buffers: 512,
            receive_buffer: 16_448,
            staging: MIB,
            blocks: 64 * MIB,
            request_head: 8 << 10,
            heavy_input: 256 << 10,
            handshakes: 256,
            expanded_keys: 256,
            tokens: MIB,
            passwords: 256 << 10,
            permissions: 16 * MIB,
            memory_high: Some(85),
            memory_critical: Some(95),
        }
    }
}

/// The limits as they are read, each with where it is from.
pub(super) struct RawLimits {
    connections: Setting<u32>,
    receive_buffers: Setting<u16>,
    pub(super) receive_buffer: Setting<u32>,
    staging: Setting<u32>,
    pub(super) blocks: Setting<u32>,
    request_head: Setting<u32>,
    heavy_input: Setting<u32>,
    handshakes: Setting<u32>,
    expanded_keys: Setting<u32>,
    tokens: Setting<u32>,
    passwords: Setting<u32>,
    permissions: Setting<u32>,
    memory_high: Setting<Option<u8>>,
    memory_critical: Setting<Option<u8>>,
}

impl RawLimits {
    /// Reads `[limits]`.
    pub(super) fn read(mut table: TableReader<'_, '_>) -> Self {
        let default = Limits::default();
        let limits = Self {
            connections: table.read("connections", default.connections, |value| {
                value::integer(value, &CONNECTIONS)
            }),
            receive_buffers: table.read(
                "receive_buffers",
                default.receive_buffers,
                receive_buffers,
            ),
            receive_buffer: table.read("receive_buffer", default.receive_buffer, |value| {
                value::size(value, &RECEIVE_BUFFER)
            }),
            staging: table.read("staging", default.staging, |value| value::size(value, &STAGING)),
            blocks: table.read("blocks", default.blocks, blocks),
            request_head: table.read("request_head", default.request_head, |value| {
                value::size(value, &REQUEST_HEAD)
            }),
            heavy_input: table
                .read("heavy_input", default.heavy_input, |value| value::size(value, &HEAVY_INPUT)),
            handshakes: table
                .read("handshakes", default.handshakes, |value| value::integer(value, &HANDSHAKES)),
            expanded_keys: table.read("expanded_keys", default.expanded_keys, |value| {
                value::integer(value, &EXPANDED_KEYS)
            }),
            tokens: table.read("tokens", default.tokens, |value| value::size(value, &TOKENS)),
            passwords: table
                .read("passwords", default.passwords, |value| value::size(value, &TOKENS)),
            permissions: table
                .read("permissions", default.permissions, |value| value::size(value, &PERMISSIONS)),
            memory_high: table.read("memory_high", default.memory_high, share),
            memory_critical: table.read("memory_critical", default.memory_critical, share),
        };
        table.finish();
        limits
    }

    /// Checks what the limits must be to each other.
    pub(super) fn check(&self, report: &mut Report<'_>) {
        let head = Party::new("limits.request_head", self.request_head);
        let buffer = Party::new("limits.receive_buffer", self.receive_buffer);
        relation::at_most(report, &head, &buffer);
        self.check_receive_area(&buffer, report);
        let (high, critical) = (self.memory_high, self.memory_critical);
        if let (true, Origin::Written(offset), Some(high)) =
            (is_below(critical.value, high.value), critical.origin, high.value)
        {
            let message = format!("must be at least `limits.memory_high`, which is {high}");
            report.error(offset, "limits.memory_critical".into(), message);
        } else if let (true, Origin::Written(offset), Some(critical)) =
            (is_below(critical.value, high.value), high.origin, critical.value)
        {
            let message = format!("must be at most `limits.memory_critical`, which is {critical}");
            report.error(offset, "limits.memory_high".into(), message);
        }
    }

    /// Checks that 32 bits count the bytes of all receive buffers.
    fn check_receive_area(&self, buffer: &Party, report: &mut Report<'_>) {
        let stride = buffer_stride(self.receive_buffer.value as usize);
        let fit = u32::MAX / u32::try_from(stride).expect("a receive buffer is 1 MiB at most");
        // The number of buffers is a power of two, so this is the largest one that fits.
        let most = 1 << fit.ilog2();
        let buffers = Party::number("limits.receive_buffers", self.receive_buffers);
        let why = "all receive buffers together must take less than 4GiB: lower one of the two";
        let bounded = Bounded { party: &buffers, most };
        relation::at_most_beside(report, &bounded, buffer, why);
    }

    /// Checks that a record fits a receive buffer, for listeners with the layer `tls`.
    pub(super) fn check_record(&self, report: &mut Report<'_>) {
        let Setting { value, origin } = self.receive_buffer;
        if let (true, Origin::Written(offset)) = (value < Limits::RECORD, origin) {
            let (least, is) = (Limits::RECORD, Size(value.into()));
            let message = format!(
                "must be at least {least} with the layer `tls`, whose records have to fit, is {is}"
            );
            report.error(offset, "limits.receive_buffer".into(), message);
        }
    }

    /// The plain values.
    pub(super) fn resolve(&self) -> Limits {
        Limits {
            connections: self.connections.value,
            receive_buffers: self.receive_buffers.value,
            receive_buffer: self.receive_buffer.value,
            staging: self.staging.value,
            blocks: self.blocks.value,
            request_head: self.request_head.value,
            heavy_input: self.heavy_input.value,
            handshakes: self.handshakes.value,
            expanded_keys: self.expanded_keys.value,
            tokens: self.tokens.value,
            passwords: self.passwords.value,
            permissions: self.permissions.value,
            memory_high: self.memory_high.value,
            memory_critical: self.memory_critical.value,
        }
    }
}

impl Default for RawLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            connections: Setting::default(limits.connections),
            receive_buffers: Setting::default(limits.receive_buffers),
            receive_buffer: Setting::default(limits.receive_buffer),
            staging: Setting::default(limits.staging),
            blocks: Setting::default(limits.blocks),
            request_head: Setting::default(limits.request_head),
            heavy_input: Setting::default(limits.heavy_input),
            handshakes: Setting::default(limits.handshakes),
            expanded_keys: Setting::default(limits.expanded_keys),
            tokens: Setting::default(limits.tokens),
            passwords: Setting::default(limits.passwords),
            permissions: Setting::default(limits.permissions),
            memory_high: Setting::default(limits.memory_high),
            memory_critical: Setting::default(limits.memory_critical),
        }
    }
}

/// Reads hundredths, or `"off"`.
fn share(value: &DeValue<'_>) -> Result<Option<u8>, String> {
    or_off(value, |value| value::integer(value, &SHARE))
}

/// Reads a number of receive buffers. The kernel masks the index into a ring of provided buffers,
/// so the number must be a power of two.
fn receive_buffers(value: &DeValue<'_>) -> Result<u16, String> {
    let number = value::integer(value, &RECEIVE_BUFFERS)?;
    if number.is_power_of_two() {
        return Ok(number);
    }
    let (below, above) = (number.next_power_of_two() / 2, number.next_power_of_two());
    Err(format!(
        "must be a power of two, because the kernel's ring of provided buffers must, is {number}: \
         write {below} or {above}"
    ))
}

/// Reads the size of the block pool, which is reserved by the MiB.
fn blocks(value: &DeValue<'_>) -> Result<u32, String> {
    let bytes = value::size(value, &BLOCKS)?;
    if bytes.is_multiple_of(MIB) {
        return Ok(bytes);
    }
    let (below, above) = (bytes / MIB, bytes.div_ceil(MIB));
    Err(format!(
        "must be a multiple of 1MiB, is {}: write {below}MiB or {above}MiB",
        Size(bytes.into())
    ))
}
