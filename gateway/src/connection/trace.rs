//! What the log says of the frames of one connection, because somebody has asked for that. It tells
//! what kind they are of and how long, and nothing of what is in them. Of what comes in it tells as
//! it is decoded: a frame that does not come at once has a line for each piece.

use std::cell::Cell;

use tidegate_proto::message::{Kind, Part};
use tidegate_proto::websocket::frame::{Header, OpCode};

/// Lines of one trace at most: one that is busy is not to push everything else out of the log.
const LINES: u32 = 10_000;

/// A connection whose frames are told of.
#[derive(Debug)]
pub struct Trace {
    /// Its id.
    id: Box<str>,
    /// Lines that may yet be said.
    left: Cell<u32>,
}

impl Trace {
    /// Of the connection with this id.
    #[must_use]
    pub fn new(id: impl Into<Box<str>>) -> Self {
        // One more says that it was enough.
        Self { id: id.into(), left: Cell::new(LINES + 1) }
    }

    /// A part of a data frame came in, or all of it.
    pub fn heard(&self, kind: Kind, part: Part, compressed: bool, length: u32) {
        if let Some(id) = self.line() {
            let part = part_name(part);
            let kind = match kind {
                Kind::Text => "text",
                Kind::Bytes => "binary",
            };
            tracing::info!(
                target: "tidegate::frames", id, way = "in", kind, part, compressed, length, "frame"
            );
        }
    }

    /// A control frame came in.
    pub fn heard_control(&self, opcode: OpCode, length: u32) {
        if let Some(id) = self.line() {
            let kind = opcode_name(opcode);
            tracing::info!(target: "tidegate::frames", id, way = "in", kind, length, "frame");
        }
    }

    /// A frame is said.
    pub fn said(&self, header: &Header, length: usize) {
        if let Some(id) = self.line() {
            let (kind, fin) = (opcode_name(header.opcode), header.fin);
            let compressed = header.compressed;
            tracing::info!(
                target: "tidegate::frames", id, way = "out", kind, fin, compressed, length, "frame"
            );
        }
    }

    /// Published frames are on their way to it, or wait for it: so many messages, and bytes with
    /// their headers.
    pub fn delivered(&self, messages: u32, bytes: u32) {
        if let Some(id) = self.line() {
            tracing::info!(
                target: "tidegate::frames", id, way = "out", kind = "published", messages, bytes,
                "frame"
            );
        }
    }

    /// Whose line it is, if one more may be said; after the last it says so.
    fn line(&self) -> Option<&str> {
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        if left == 0 {
            tracing::info!(
                target: "tidegate::frames", id = &*self.id, lines = LINES, "that was enough of it"
            );
            return None;
        }
        Some(&self.id)
    }
}

const fn part_name(part: Part) -> &'static str {
    match part {
        Part::Whole => "whole",
        Part::First => "first",
        Part::Middle => "middle",
        Part::Last => "last",
    }
}

const fn opcode_name(opcode: OpCode) -> &'static str {
    match opcode {
        OpCode::Continuation => "continuation",
        OpCode::Text => "text",
        OpCode::Binary => "binary",
        OpCode::Close => "close",
        OpCode::Ping => "ping",
        OpCode::Pong => "pong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_so_many_lines_and_says_that_these_were_all() {
        let trace = Trace::new("a");
        let said = (0..2 * LINES).filter(|_| trace.line() == Some("a")).count();
        assert_eq!((said, trace.left.get()), (LINES as usize, 0));
    }
}
