//! How often the simulated kernel takes each of its freedoms.

use crate::random::Random;

/// Per mille, and sizes; drawn anew for each run, so that runs differ in kind and not only in
/// order.
#[derive(Debug)]
pub struct Chances {
    /// The queue is taken in part.
    pub take_part: u32,
    /// Nothing of the queue is taken: the kernel lacks memory, or a signal came.
    pub take_nothing: u32,
    pub short_receive: u32,
    pub short_send: u32,
    pub spurious_poll: u32,
    /// A poll that should stay armed does not.
    pub poll_ends: u32,
    pub spurious_wake: u32,
    /// A receive finds no buffer though one was lent.
    pub no_buffers: u32,
    /// A receive or a send fails for want of memory, or because the network is gone.
    pub broken_operation: u32,
    /// Neighbouring completions of different connections change places.
    pub reorder: u32,
    /// A poll or an armed send that could complete does not yet.
    pub late: u32,
    pub accept_error: u32,
    /// A cancelled send is being worked on, and completes later.
    pub lose_cancel: u32,
    /// A receive of the end takes a buffer all the same.
    pub buffer_at_end: u32,
    pub clock_jump: u32,
    /// The whole shard is stopped for a while, and everyone else goes on.
    pub pause: u32,
    /// The wall clock is set to something else.
    pub calendar_step: u32,
    /// What a receive says of further input is wrong.
    pub more_is_wrong: u32,
    /// No descriptor is to be had for the end of writing.
    pub no_descriptor: u32,
    /// The kernel does not say what a peer has acknowledged.
    pub no_answer: u32,
    /// Completions that are visible at once; further ones overflow.
    pub completions: usize,
    /// Operations that the queue holds.
    pub submissions: usize,
    /// The send buffer of a server's socket, in bytes.
    pub send_buffer: usize,
    /// What is on its way to the server at most, in bytes.
    pub receive_buffer: usize,
}

impl Chances {
    pub fn draw(random: &mut Random) -> Self {
        let mut often = || random.pick(&[0, 0, 20, 200, 700]);
        Self {
            take_part: often(),
            take_nothing: often() / 4,
            short_receive: often(),
            short_send: often(),
            spurious_poll: often() / 4,
            poll_ends: often(),
            spurious_wake: often() / 20,
            no_buffers: often() / 4,
            broken_operation: often() / 100,
            reorder: often(),
            late: often(),
            accept_error: often(),
            lose_cancel: often(),
            buffer_at_end: often(),
            clock_jump: often() / 10,
            pause: often() / 40,
            calendar_step: often() / 40,
            more_is_wrong: often(),
            no_descriptor: often() / 20,
            no_answer: often(),
            completions: random.pick(&[8, 64, 4096]),
            submissions: random.pick(&[300, 4096]),
            send_buffer: random.pick(&[1, 100, 3000, 100_000]),
            receive_buffer: random.pick(&[50, 3000, 20_000]),
        }
    }

    /// Through a tiny buffer nobody reads or is heard fast enough for the deadlines.
    pub fn is_narrow(&self) -> bool {
        self.send_buffer < 3000 || self.receive_buffer < 3000
    }
}
