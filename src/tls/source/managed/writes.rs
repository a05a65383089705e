//! How often a replica writes an object.
//!
//! Someone else may edit the Secret or the registration again and again: Argo CD, another release,
//! a hand in a loop. A write for each of those edits would load the API server and help nobody.

use std::time::{Duration, Instant};

/// So many writes are possible at once: a renewal needs two, a minute apart.
const AT_ONCE: u32 = 3;

/// Afterwards one more in this time. What was broken once is then right again within the minute
/// that is promised.
const EVERY: Duration = Duration::from_secs(30);

/// The writes that are left.
#[derive(Debug)]
pub(super) struct Writes {
    left: u32,
    counted_at: Instant,
}

impl Writes {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, counted_at: now }
    }

    /// Whether one may write now.
    pub(super) fn is_allowed(&mut self, now: Instant) -> bool {
        while self.left < AT_ONCE && now.duration_since(self.counted_at) >= EVERY {
            self.left += 1;
            self.counted_at += EVERY;
        }
        if self.left == AT_ONCE {
            self.counted_at = now;
        }
        self.left > 0
    }

    /// Counts a write that was carried out: what the API server rejects changes nothing.
    pub(super) fn count(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_writes_at_once_and_then_one_each_half_minute() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut writes = Writes::new(start);
        let mut taken = |from: u64, to: u64| {
            let mut is_taken = |second: &u64| {
                let is_allowed = writes.is_allowed(at(*second));
                if is_allowed {
                    writes.count();
                }
                is_allowed
            };
            (from..to).filter(&mut is_taken).count()
        };
        assert_eq!(taken(1_000, 1_020), 3, "however long there was none");
        assert_eq!(taken(1_020, 1_060), 1);
        assert_eq!(taken(1_060, 1_660), 20);
        assert_eq!(taken(5_000, 5_010), 3);
        // Only what is carried out counts.
        assert!((6_000..6_010).all(|second| writes.is_allowed(at(second))));
    }
}
