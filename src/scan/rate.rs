//! How many requests each caller may send: so many a second, and twice as many in a burst.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers that are remembered before those are forgotten who have not asked for a while.
const REMEMBERED: usize = 1024;

/// Counts the requests of callers.
#[derive(Debug)]
pub struct Rates {
    per_second: f64,
    callers: Mutex<HashMap<String, Bucket>>,
}

/// What a caller may still send.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    /// Allows so many requests a second to each caller; any number if that is 0.
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), callers: Mutex::default() }
    }

    /// Counts a request; the error is how long to wait for the next.
    pub fn take(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        if self.per_second <= 0.0 {
            return Ok(());
        }
        let most = 2.0 * self.per_second;
        let filled = |bucket: Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            Bucket { left: (bucket.left + since * self.per_second).min(most), at: now }
        };
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= REMEMBERED && !callers.contains_key(caller) {
            callers.retain(|_, bucket| filled(*bucket).left < most);
        }
        let bucket = callers.entry(caller.to_owned()).or_insert(Bucket { left: most, at: now });
        *bucket = filled(*bucket);
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rates: &Rates, caller: &str, asked: u32, now: Instant) -> usize {
        (0..asked).filter(|_| rates.take(caller, now).is_ok()).count()
    }

    #[test]
    fn each_caller_has_a_burst_and_then_its_rate() {
        let (rates, start) = (Rates::new(10), Instant::now());
        assert_eq!(taken(&rates, "a", 50, start), 20);
        assert_eq!(taken(&rates, "b", 5, start), 5, "nobody takes what is another's");
        let wait = rates.take("a", start).err();
        assert_eq!(wait, Some(Duration::from_millis(100)));
        assert_eq!(taken(&rates, "a", 50, start + Duration::from_secs(1)), 10);
        assert_eq!(taken(&rates, "a", 50, start + Duration::from_mins(1)), 20, "and never more than a burst");
        assert_eq!(taken(&Rates::new(0), "a", 5000, start), 5000);
    }

    #[test]
    fn callers_who_went_away_are_forgotten() {
        let (rates, start) = (Rates::new(10), Instant::now());
        for number in 0..5000_u64 {
            let now = start + Duration::from_secs(number);
            assert_eq!(rates.take(&number.to_string(), now), Ok(()));
        }
        assert!(rates.callers.lock().is_ok_and(|callers| callers.len() <= REMEMBERED));
    }
}
