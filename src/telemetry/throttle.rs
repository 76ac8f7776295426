//! Log lines that a client can cause at will, at most one a second of each kind.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line a second through and counts the others.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<(Option<Instant>, u64)>);

impl Throttle {
    /// Lets the first line through.
    pub const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// Returns how many lines were held back since the last one that went through; none holds this one back, too.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, held_back) = *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            state.1 = held_back.saturating_add(1);
            return None;
        }
        *state = (Some(now), 0);
        Some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_one_line_a_second_through_and_counts_the_others() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        let at = |millis| throttle.pass_at(start + Duration::from_millis(millis));
        assert_eq!(
            [at(0), at(1), at(999), at(1000), at(1500), at(2500)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}
