//! How a layer is displayed.

use std::fmt;

/// Writes a layer: its name, then `?` before its first option and `&` before each later one.
pub(super) struct LayerWriter<'o, 'f> {
    out: &'o mut fmt::Formatter<'f>,
    separator: char,
}

impl<'o, 'f> LayerWriter<'o, 'f> {
    pub(super) fn begin(name: &str, out: &'o mut fmt::Formatter<'f>) -> Result<Self, fmt::Error> {
        out.write_str(name)?;
        Ok(Self { out, separator: '?' })
    }

    /// Writes an option, unless it has its default.
    pub(super) fn option(
        &mut self,
        key: &str,
        value: impl fmt::Display,
        is_default: bool,
    ) -> fmt::Result {
        if is_default {
            return Ok(());
        }
        write!(self.out, "{}{key}={value}", self.separator)?;
        self.separator = '&';
        Ok(())
    }
}

/// Values that are written one after the other, joined by commas.
pub(super) struct CommaList<I>(pub(super) I);

impl<I> fmt::Display for CommaList<I>
where
    I: Iterator<Item: fmt::Display> + Clone,
{
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.clone().enumerate() {
            write!(out, "{}{value}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
