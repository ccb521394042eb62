//! What was found out about a request.

use std::any::Any;
use std::fmt;

/// What was found out about a request whose handler has yet to decide: a value of any type, which
/// the handler knows.
///
/// ```
/// use tidegate::hub::Finding;
///
/// let finding = Finding::new("ada".to_owned());
/// assert_eq!(finding.get::<String>().map(String::as_str), Some("ada"));
/// assert_eq!(finding.get::<u32>(), None);
/// ```
pub struct Finding(Box<dyn Any + Send>);

impl Finding {
    /// That this was found out.
    #[must_use]
    pub fn new(what: impl Any + Send) -> Self {
        Self(Box::new(what))
    }

    /// What it is, if it is of this type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }

    /// The same, taken out.
    #[must_use]
    pub fn take<T: Any>(self) -> Option<T> {
        self.0.downcast().ok().map(|what| *what)
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Finding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_its_own_type_only() {
        assert_eq!(Finding::new(7_u16).get::<u16>(), Some(&7));
        assert_eq!(Finding::new(7_u16).take::<u16>(), Some(7));
        assert_eq!(Finding::new(7_u16).take::<u32>(), None);
    }
}
