//! One connection: its record, its backlog, and the way out for what it sends.

mod allotments;
pub mod deadlines;
mod fragments;
mod outbox;
mod output;
mod payload;
mod record;
mod states;
mod trace;

pub use allotments::{AllotmentTerms, Allotments, Intake, Overstay, Spent, whole_ticks};
pub use fragments::Fragments;
pub use outbox::{
    BLOCK_MIN, Backlog, Bound, CLOSE_RESERVE, FrameId, Frames, KEPT, LeftOut, NO_KEY, NextSend,
    Offered, Outbox, Overflow, SealedBytes, SharedFrame,
};
pub use output::{CONTROL_RESERVE, Output, Spot};
pub use payload::Payload;
pub use record::{
    Connection, FOREIGN_OWN, Foreign, ProfileId, ServiceId, Spoken, Stage, Streaming, Takes,
    Undecided, WebSocket,
};
pub use states::{AfterFlush, Poll, Reading, States, Writing};
pub use trace::Trace;
