//! How a configuration is taken over, and what has come of it.

use std::time::Duration;

use crate::config::Difference;

/// Differences that the log tells one by one.
const TOLD_MAX: usize = 50;

/// How a configuration is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadOptions {
    /// It is only looked at what would change.
    pub dry_run: bool,
    /// Connections whose route is there no longer are closed, with 1012 over WebSocket and so many
    /// a second as by a drain. Else they stay until they end.
    pub closes_gone: bool,
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// What is otherwise than before, or would be.
    pub differences: Vec<Difference>,
    /// What may be a mistake about it.
    pub warnings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl ReloadReport {
    /// Says in the log what is otherwise now.
    pub(super) fn log(&self) {
        let Self { differences, warnings, took } = self;
        let late = differences.iter().filter(|one| one.needs_restart).count();
        tracing::info!(
            target: "tidegate::reload",
            took_ms = took.as_millis() as u64,
            "the configuration was read anew: {} differences are in force, {late} need a restart; \
             certificates and keys were read anew", differences.len() - late
        );
        for one in differences.iter().take(TOLD_MAX) {
            match one.needs_restart {
                false => tracing::info!(target: "tidegate::reload", "{one}"),
                true => tracing::warn!(target: "tidegate::reload", "{one}"),
            }
        }
        if let Some(more) = differences.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
            tracing::info!(target: "tidegate::reload", "and {more} more");
        }
        for warning in warnings {
            tracing::warn!(target: "tidegate::reload", "{warning}");
        }
    }
}
