//! The time on the control thread.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::hub::CalendarTime;

/// Now.
pub(super) fn since_1970() -> Duration {
    // A clock that stands before 1970 is not set at all.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `seconds` since 1970, as all times are written.
pub(super) fn iso8601(seconds: u64) -> String {
    CalendarTime(Duration::from_secs(seconds)).to_string()
}
