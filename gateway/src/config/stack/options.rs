//! The options of one layer, taken by key; what is left over is an error.

use super::StackError;
use crate::config::hint;
use crate::units::quote;

/// The options of a layer while they are read. Errors are collected; a refused value reads as its
/// default, so that the rest of the stack is still checked.
pub(in crate::config) struct Options<'s, 'e> {
    layer: &'static str,
    left: Vec<Pair<'s>>,
    known: Vec<&'static str>,
    errors: &'e mut Vec<StackError>,
}

/// An option that others mean nothing without.
#[derive(Clone, Copy)]
pub(super) struct Switch {
    pub(super) key: &'static str,
    pub(super) is_on: bool,
}

/// One `key=value`.
struct Pair<'s> {
    key: &'s str,
    value: &'s str,
    /// The byte of the stack that `key` begins at.
    offset: usize,
}

impl<'s, 'e> Options<'s, 'e> {
    /// The options in `text`, what follows the `?` of `layer`, which begins at byte `offset` of the
    /// stack. `None` where the layer has no `?`.
    pub(in crate::config) fn new(
        layer: &'static str,
        text: Option<&'s str>,
        offset: usize,
        errors: &'e mut Vec<StackError>,
    ) -> Self {
        let mut options = Self { layer, left: Vec::new(), known: Vec::new(), errors };
        let mut at = offset;
        for part in text.into_iter().flat_map(|text| text.split('&')) {
            options.add(part, at);
            at += part.len() + 1;
        }
        options
    }

    fn add(&mut self, part: &'s str, offset: usize) {
        let layer = self.layer;
        let Some((key, value)) = part.split_once('=') else {
            let text = quote(part);
            return self.error(
                offset,
                format!("{text} is not an option of `{layer}`: write `key=value`, joined by `&`"),
            );
        };
        if self.left.iter().any(|pair| pair.key == key) {
            return self.error(offset, format!("{} is written twice: keep one", quote(key)));
        }
        self.left.push(Pair { key, value, offset });
    }

    /// Whether `key` is written and has not been read.
    pub(in crate::config) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|pair| pair.key == key)
    }

    /// The value of `key` as `parse` reads it, or `default` where it is absent or refused. `parse`
    /// says what is wrong without naming the key.
    pub(in crate::config) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.known.push(key);
        let Some(index) = self.left.iter().position(|pair| pair.key == key) else {
            return default;
        };
        let pair = self.left.remove(index);
        parse(pair.value).unwrap_or_else(|wrong| {
            let value = pair.offset + key.len() + 1;
            self.error(value, format!("`{}?{key}`: {wrong}", self.layer));
            default
        })
    }

    /// As [`Options::read`], for an option that means nothing where `switch` is off.
    pub(super) fn read_unless_off<T>(
        &mut self,
        key: &'static str,
        switch: Switch,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        if switch.is_on {
            return self.read(key, default, parse);
        }
        let (layer, other) = (self.layer, switch.key);
        self.read(key, default, |_| {
            Err(format!("means nothing with `{layer}?{other}=off`: remove one of them"))
        })
    }

    /// Reports the options that nothing has read.
    pub(in crate::config) fn finish(mut self) {
        for pair in std::mem::take(&mut self.left) {
            let hint = hint::names("options", pair.key, &self.known);
            let name = quote(pair.key);
            self.error(pair.offset, format!("{name} is not an option of `{}`{hint}", self.layer));
        }
    }

    fn error(&mut self, offset: usize, message: String) {
        self.errors.push(StackError { offset, message });
    }
}

/// Reads `on` or `off`.
pub(in crate::config) fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("must be `on` or `off`, is {}", quote(text))),
    }
}
