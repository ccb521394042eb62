//! What a drain may be: programs put plans together by hand.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_proto::websocket::close::MAX_REASON;
use tidegate_proto::websocket::code::CloseCode;

use crate::shard::{AfterDrain, DrainPlan, DrainRate};
use crate::units::duration_in;

/// Those of the configuration (`drain_delay`, `drain`, `drain_rate`), and of a rate of all shards
/// together.
pub(crate) const DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
pub(crate) const DEADLINE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const RATE_OF_EACH: u32 = 1_000_000;
const RATE_TOGETHER: u32 = 100_000_000;

/// What is wrong with a plan; displayed, it names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongPlan(String);

impl fmt::Display for WrongPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for WrongPlan {}

/// Checks what shards rely on.
///
/// # Errors
/// A field is out of its bounds, or the gateway would end for a drain of a part of it.
pub(super) fn check(plan: &DrainPlan) -> Result<(), WrongPlan> {
    let time = |name: &str, time, range| {
        duration_in(time, range).map_err(|wrong| WrongPlan(format!("`{name}` {wrong}")))
    };
    time("delay", plan.delay, &DELAY)?;
    time("time", plan.time, &DEADLINE)?;
    let (rate, most) = match plan.rate {
        DrainRate::OfEach(rate) => (rate, RATE_OF_EACH),
        DrainRate::Together(rate) => (rate, RATE_TOGETHER),
    };
    if !(1..=most).contains(&rate) {
        return Err(WrongPlan(format!("`rate` must be 1 to {most}, is {rate}")));
    }
    if !CloseCode(plan.code).may_travel_from_server() {
        return Err(WrongPlan(format!(
            "`code` must be one that a server may send (RFC 6455 section 7.4): 1000 to 1003, 1007 \
             to 1009, 1011 to 1014, 3000 to 4999; is {}",
            plan.code
        )));
    }
    let length = plan.reason.len();
    if length > MAX_REASON {
        let wrong = format!("`reason` must have at most {MAX_REASON} bytes, has {length}");
        return Err(WrongPlan(wrong));
    }
    if !plan.scope.is_whole() && plan.after != AfterDrain::Stay {
        return Err(WrongPlan(
            "`after` must be `Stay` where `scope` names a part of the gateway: it would end, and \
             cut all others off"
                .into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shard::DrainScope;

    #[test]
    fn a_plan_out_of_its_bounds_is_refused_by_the_name_of_its_field() {
        let usual = || DrainPlan::configured(&Config::default(), AfterDrain::Stay);
        let part = DrainScope { route: Some(0), ..DrainScope::default() };
        for after in [AfterDrain::Stay, AfterDrain::End, AfterDrain::Leave] {
            assert_eq!(check(&DrainPlan { after, ..usual() }), Ok(()));
        }
        assert_eq!(check(&DrainPlan { scope: part, ..usual() }), Ok(()));
        for (plan, words) in [
            (DrainPlan { delay: Duration::MAX, ..usual() }, "`delay` must be between 0s and 1h"),
            (DrainPlan { time: Duration::MAX, ..usual() }, "`time` must be between 1s and 24h"),
            (DrainPlan { time: Duration::ZERO, ..usual() }, "`time` "),
            (DrainPlan { rate: DrainRate::OfEach(0), ..usual() }, "`rate` must be 1 to 1000000,"),
            (DrainPlan { rate: DrainRate::OfEach(1_000_001), ..usual() }, "is 1000001"),
            (DrainPlan { rate: DrainRate::Together(u32::MAX), ..usual() }, "1 to 100000000,"),
            (DrainPlan { code: 1006, ..usual() }, "`code` must be one that a server may send"),
            (DrainPlan { reason: "x".repeat(124).into(), ..usual() }, "at most 123 bytes, has 124"),
            (
                DrainPlan { scope: part, after: AfterDrain::End, ..usual() },
                "`after` must be `Stay`",
            ),
            (DrainPlan { scope: part, after: AfterDrain::Leave, ..usual() }, "`after` "),
        ] {
            let wrong = check(&plan).expect_err(words).to_string();
            assert!(wrong.contains(words), "{words}: {wrong}");
        }
    }
}
