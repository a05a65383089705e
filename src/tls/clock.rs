//! The clock that decides whether a certificate is valid.
//!
//! The API server rejects what is not valid by its clock, whatever a node's clock says. A process that talks to the API server
//! therefore goes by the API server's clock, which stands in each response. One replica whose clock is ahead or behind then
//! judges and makes certificates as all others do. Every other process has only the clock of its machine.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Smaller differences count as none: a response says the time in whole seconds and may be under way for several. What is signed
/// here is backdated by far more.
#[cfg(feature = "cluster")]
const TOLERANCE: Duration = Duration::from_secs(60);

/// This machine's clock, or the API server's.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Seconds that the API server's clock is ahead of this machine's.
    ahead: AtomicI64,
}

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        self.at(SystemTime::now())
    }

    fn at(&self, local: SystemTime) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let difference = Duration::from_secs(ahead.unsigned_abs());
        let shifted = if ahead < 0 { local.checked_sub(difference) } else { local.checked_add(difference) };
        shifted.unwrap_or(local)
    }

    /// Learns the time that the API server said at this machine's time `local`.
    #[cfg(feature = "cluster")]
    pub(super) fn learn(&self, said: SystemTime, local: SystemTime) {
        let (sign, difference) = match said.duration_since(local) {
            Ok(ahead) => (1, ahead),
            Err(error) => (-1, error.duration()),
        };
        let seconds = i64::try_from(difference.as_secs()).unwrap_or_default();
        let ahead = if difference < TOLERANCE { 0 } else { sign * seconds };
        let before = self.ahead.swap(ahead, Ordering::Relaxed);
        if before.abs_diff(ahead) >= TOLERANCE.as_secs() {
            if let Some(problem) = self.problem() {
                tracing::warn!(problem, "the clock is wrong; certificates follow the API server's clock");
            } else {
                tracing::info!("the clock is right again");
            }
        }
    }

    /// What is wrong with this machine's clock.
    pub(super) fn problem(&self) -> Option<String> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead == 0 {
            return None;
        }
        let direction = if ahead < 0 { "ahead of" } else { "behind" };
        // In whole units: the last second of it changes from one response to the next.
        let seconds = ahead.unsigned_abs();
        let units = [(24 * 3600, "days"), (3600, "hours"), (60, "minutes")];
        let (length, unit) = units.into_iter().find(|(length, _)| seconds >= 2 * length).unwrap_or((60, "minute"));
        let count = (seconds + length / 2) / length;
        Some(format!("this machine's clock is {count} {unit} {direction} the API server's; set the clock of the node"))
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_time_counts_where_it_differs_by_a_minute() {
        let local = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let problem = |text: &str| Some(format!("this machine's clock is {text} the API server's; set the clock of the node"));
        let clock = Clock::default();
        assert_eq!((clock.at(local), clock.problem()), (local, None));
        for (said, expected, says) in [
            (59, 0, None),
            (-59, 0, None),
            (60, 60, problem("1 minute behind")),
            (-2_399, -2_399, problem("40 minutes ahead of")),
            (90_001, 90_001, problem("25 hours behind")),
            (-25_920_000, -25_920_000, problem("300 days ahead of")),
            (3, 0, None),
        ] {
            let shifted = |seconds: i64| {
                let difference = Duration::from_secs(seconds.unsigned_abs());
                if seconds < 0 { local - difference } else { local + difference }
            };
            clock.learn(shifted(said), local);
            assert_eq!((clock.at(local), clock.problem()), (shifted(expected), says), "{said}");
        }
    }
}
