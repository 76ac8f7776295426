//! Holding back where somebody else keeps changing what was written, so that no two write for ever.

use std::time::Duration;

use tokio::time::Instant;

/// So many writes in a row are free: made, widened, a new authority.
const FREE: u32 = 4;
/// Two writes belong together if no more lies between them.
const CALM: Duration = Duration::from_mins(20);
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// How often was written lately.
#[derive(Debug, Default)]
pub struct Patience {
    last: Option<Instant>,
    in_a_row: u32,
}

impl Patience {
    /// Returns how long not to write yet; none if it may be written now.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let last = self.last?;
        let doubled = self.in_a_row.checked_sub(FREE)?.min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doubled).min(LONGEST_PAUSE);
        pause.checked_sub(now.saturating_duration_since(last)).filter(|left| !left.is_zero())
    }

    /// Notes a write.
    pub fn wrote(&mut self, now: Instant) {
        let is_calm = self.last.is_none_or(|last| now.saturating_duration_since(last) > CALM);
        self.in_a_row = if is_calm { 1 } else { self.in_a_row.saturating_add(1) };
        self.last = Some(now);
    }
}
