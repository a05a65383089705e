//! The clock that decides whether a certificate is valid.
//!
//! The API server rejects what is not valid by its clock, whatever a node's clock says. A process
//! that talks to the API server therefore goes by the API server's clock, which stands in each
//! response. One replica whose clock is ahead or behind then judges and makes certificates as all
//! others do. Every other process has only the clock of its machine.

use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;

/// Smaller differences count as none: a response says the time in whole seconds and may be under
/// way for several. What is signed here is backdated by far more.
const TOLERANCE: Duration = Duration::from_secs(60);

/// This machine's clock, or the API server's where the two differ.
#[derive(Debug, Default)]
pub(super) struct Clock {
    other: ArcSwapOption<Said>,
}

/// The time that the API server said, and when. Whatever happens to this machine's clock afterwards
/// does not change it.
#[derive(Debug)]
struct Said {
    time: SystemTime,
    at: Instant,
}

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        self.at(SystemTime::now(), Instant::now())
    }

    fn at(&self, local: SystemTime, now: Instant) -> SystemTime {
        self.other.load().as_ref().map_or(local, |said| said.time + now.duration_since(said.at))
    }

    /// Learns the time that the API server said at this machine's time `local`.
    #[cfg(any(test, feature = "cluster"))]
    pub(super) fn learn(&self, time: SystemTime, local: SystemTime) {
        let now = Instant::now();
        let before = self.problem_at(local, now);
        let other = (difference(time, local) >= TOLERANCE)
            .then(|| std::sync::Arc::new(Said { time, at: now }));
        self.other.store(other);
        match (before, self.problem_at(local, now)) {
            (None, Some(problem)) => tracing::warn!(
                problem,
                "the clock is wrong; certificates follow the API server's clock"
            ),
            (Some(_), None) => tracing::info!("the clock is right again"),
            _ => {}
        }
    }

    /// What is wrong with this machine's clock.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem_at(SystemTime::now(), Instant::now())
    }

    fn problem_at(&self, local: SystemTime, now: Instant) -> Option<String> {
        let api_server = self.at(local, now);
        let difference = difference(api_server, local);
        if difference < TOLERANCE {
            return None;
        }
        let direction = if local > api_server { "ahead of" } else { "behind" };
        // In whole units: the last second of it changes from one response to the next.
        let seconds = difference.as_secs();
        let units = [(24 * 3600, "days"), (3600, "hours"), (60, "minutes")];
        let (length, unit) =
            units.into_iter().find(|(length, _)| seconds >= 2 * length).unwrap_or((60, "minute"));
        let count = (seconds + length / 2) / length;
        Some(format!(
            "this machine's clock is {count} {unit} {direction} the API server's; set the clock of the node"
        ))
    }
}

fn difference(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Logged;

    #[test]
    fn the_api_servers_time_counts_where_it_differs_by_a_minute() {
        let local = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let shifted = |seconds: i64| {
            let difference = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { local - difference } else { local + difference }
        };
        let problem = |text: &str| {
            Some(format!(
                "this machine's clock is {text} the API server's; set the clock of the node"
            ))
        };
        let clock = Clock::default();
        assert_eq!(
            (clock.at(local, Instant::now()), clock.problem_at(local, Instant::now())),
            (local, None)
        );
        for (said, expected, says) in [
            (59, 0, None),
            (-59, 0, None),
            (60, 60, problem("1 minute behind")),
            (-2_399, -2_399, problem("40 minutes ahead of")),
            (90_001, 90_001, problem("25 hours behind")),
            (-25_920_000, -25_920_000, problem("300 days ahead of")),
            (3, 0, None),
        ] {
            clock.learn(shifted(said), local);
            let at = clock.other.load().as_ref().map_or_else(Instant::now, |said| said.at);
            assert_eq!(
                (clock.at(local, at), clock.problem_at(local, at)),
                (shifted(expected), says),
                "{said}"
            );
        }
    }

    #[test]
    fn a_clock_is_called_wrong_and_right_again_once() {
        let local = SystemTime::now();
        let [wrong, right] = ["the clock is wrong", "the clock is right again"];
        let logged = Logged::default();
        let clock = Clock::default();
        let said = [300, 0, 3, 300, 300, 0].map(Duration::from_secs).map(|ahead| {
            let line = logged.of(|| clock.learn(local + ahead, local));
            [wrong, right].into_iter().find(|words| line.contains(words)).unwrap_or_default()
        });
        assert_eq!(said, [wrong, right, "", wrong, "", right]);
        clock.learn(local + Duration::from_secs(300), local);
        assert!(clock.now() > local + Duration::from_secs(299));
        assert_eq!(
            clock.problem().unwrap(),
            "this machine's clock is 5 minutes behind the API server's; set the clock of the node"
        );
    }

    /// As when the node's clock is set right while the API server is away.
    #[test]
    fn a_step_of_this_machines_clock_does_not_change_what_the_api_server_said() {
        let local = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let (day, minute) = (Duration::from_secs(24 * 3600), Duration::from_secs(60));
        let clock = Clock::default();
        clock.learn(local - 300 * day, local);
        let later = clock.other.load().as_ref().unwrap().at + minute;
        for stepped in [local + minute, local - 300 * day + minute] {
            assert_eq!(clock.at(stepped, later), local - 300 * day + minute);
        }
        assert!(clock.problem_at(local + minute, later).is_some());
        assert_eq!(clock.problem_at(local - 300 * day + minute, later), None);
    }
}
