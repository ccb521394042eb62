//! From the line to the layers.

use super::Stack;
use super::options::Options;
use super::place::{NOT_BUILT, PLACES, Place};
use crate::config::hint;
use crate::units::quote;

/// One thing that is wrong with a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackError {
    /// The byte of the stack that it begins at; the stack's length if something is missing.
    pub offset: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// What an error about the order shows.
const EXAMPLE: &str = "layers are written from the inside out, such as `log!ws!log!tcp`";

/// See [`Stack::parse`].
pub(super) fn stack(text: &str) -> Result<Stack, Vec<StackError>> {
    let mut parser = Parser::default();
    let mut offset = 0;
    for part in text.split('!') {
        parser.layer(&WrittenLayer::new(part, offset));
        offset += part.len() + 1;
    }
    parser.finish(text.len())
}

/// One layer as it is written.
struct WrittenLayer<'s> {
    name: &'s str,
    /// What follows the `?`, where there is one.
    options: Option<&'s str>,
    /// The byte of the stack that the layer begins at.
    offset: usize,
}

impl<'s> WrittenLayer<'s> {
    fn new(part: &'s str, offset: usize) -> Self {
        match part.split_once('?') {
            Some((name, options)) => Self { name, options: Some(options), offset },
            None => Self { name: part, options: None, offset },
        }
    }
}

/// What is known after the layers read so far.
#[derive(Default)]
struct Parser {
    stack: Stack,
    /// Which places are taken, and the byte at which the layer there begins.
    taken: [Option<usize>; PLACES.len()],
    /// A layer could not be named, so it is not known whether one is missing.
    unknown_seen: bool,
    errors: Vec<StackError>,
}

impl Parser {
    fn layer(&mut self, layer: &WrittenLayer<'_>) {
        let mut its = (0..PLACES.len()).filter(|place| PLACES[*place].name == layer.name);
        let Some(first) = its.clone().next() else {
            return self.other(layer.name, layer.offset);
        };
        let outermost = self.taken.iter().rposition(Option::is_some).unwrap_or(0);
        let right = its.find(|place| PLACES[*place].rank >= PLACES[outermost].rank);
        let place = right.unwrap_or(first);
        let Place { name, at, is_needed, read, .. } = &PLACES[place];
        let mut stack = self.stack.clone();
        let offset = layer.offset + name.len() + 1;
        read(Options::new(name, layer.options, offset, &mut self.errors), &mut stack);
        let is_there = self.taken[place].is_some();
        if is_there && (right.is_some() || *is_needed) {
            return self.error(layer.offset, format!("`{name}` stands twice{at}: keep one"));
        }
        if let Some(other) = self.of_rank(PLACES[place].rank).filter(|_| right.is_some()) {
            let message = format!("`{name}` stands beside `{}`: keep one of them", other.name);
            return self.error(layer.offset, message);
        }
        // One that is misplaced is not missing.
        self.taken[place].get_or_insert(layer.offset);
        match right {
            Some(_) => self.stack = stack,
            None => {
                let inner = PLACES[outermost].name;
                self.error(layer.offset, format!("`{name}` stands after `{inner}`: {EXAMPLE}"));
            }
        }
    }

    /// The place of this rank that is taken.
    fn of_rank(&self, rank: u8) -> Option<&'static Place> {
        let mut places = PLACES.iter().zip(self.taken);
        let found = places.find(|(place, taken)| place.rank == rank && taken.is_some());
        found.map(|(place, _)| place)
    }

    fn other(&mut self, name: &str, offset: usize) {
        if NOT_BUILT.contains(&name) {
            let message = format!("layer `{name}` is not built yet in this version");
            return self.error(offset, message);
        }
        self.unknown_seen = true;
        if name.is_empty() {
            let message = format!("a layer has no name: {EXAMPLE}");
            return self.error(offset, message);
        }
        let mut built: Vec<&str> = Vec::new();
        for Place { name, .. } in &PLACES {
            built.extend((!built.contains(name)).then_some(*name));
        }
        let hint = hint::names("layers", name, &built);
        self.error(offset, format!("{} is not a layer{hint}", quote(name)));
    }

    fn finish(mut self, end: usize) -> Result<Stack, Vec<StackError>> {
        if !self.unknown_seen {
            self.report_missing(end);
        }
        for (Place { agrees, .. }, taken) in PLACES.iter().zip(self.taken) {
            // What was refused reads as its default, so that others may not agree with that.
            if let Some(offset) = taken.filter(|_| self.errors.is_empty())
                && let Err(message) = agrees(&self.stack)
            {
                self.error(offset, message);
            }
        }
        if self.errors.is_empty() {
            return Ok(self.stack);
        }
        self.errors.sort_by_key(|error| error.offset);
        Err(self.errors)
    }

    fn report_missing(&mut self, end: usize) {
        for (index, Place { rank, is_needed, .. }) in PLACES.iter().enumerate() {
            let is_first = PLACES[..index].iter().all(|place| place.rank != *rank);
            if *is_needed && is_first && self.of_rank(*rank).is_none() {
                let those = PLACES.iter().filter(|place| place.rank == *rank);
                let names: Vec<_> = those.map(|place| format!("`{}`", place.name)).collect();
                let names = names.join(" or ");
                self.error(end, format!("layer {names} is missing: {EXAMPLE}"));
            }
        }
    }

    fn error(&mut self, offset: usize, message: String) {
        self.errors.push(StackError { offset, message });
    }
}
