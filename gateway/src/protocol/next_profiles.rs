//! Profiles on their way to take the place of those that a shard has.

use super::listener_table::{ListenerBefore, ListenerTable};
use super::next_services::NotPrepared;
use super::program::Program;
use super::services::{Profile, Profiles};
use crate::connection::ProfileId;
use crate::kernel::ListenerId;

/// With more profiles that are wanted no longer, and used, no others are made.
pub const PROFILES_GONE: usize = 64;

/// The most profiles that there may be: each connection names its own.
const PROFILES_MAX: usize = ProfileId::MAX as usize + 1;

/// What is made of those listeners that are new, or whose connections have something else.
pub struct NextProfiles {
    pub(super) made: Vec<(ListenerId, Profile)>,
}

impl NextProfiles {
    /// Those of all listeners of a table.
    #[must_use]
    pub fn all(listeners: &ListenerTable, program: &Program) -> Self {
        Self::some(listeners, program, |_| true)
    }

    /// Those that a shard has not, which has those of the table before.
    ///
    /// # Errors
    /// [`NotPrepared::TooManyProfiles`].
    pub fn missing(
        listeners: &ListenerTable,
        program: &Program,
        profiles: &Profiles,
    ) -> Result<Self, NotPrepared> {
        let next = Self::some(listeners, program, |before| before != ListenerBefore::Same);
        let is_full = profiles.retired() > PROFILES_GONE
            || profiles.users().count() + next.made.len() > PROFILES_MAX;
        match is_full && !next.made.is_empty() {
            true => Err(NotPrepared::TooManyProfiles(PROFILES_GONE)),
            false => Ok(next),
        }
    }

    fn some(
        listeners: &ListenerTable,
        program: &Program,
        is_wanted: impl Fn(ListenerBefore) -> bool,
    ) -> Self {
        let wanted = listeners.places().iter().filter(|place| is_wanted(place.before));
        Self { made: wanted.map(|place| (place.id, Profile::new(place, program))).collect() }
    }
}
