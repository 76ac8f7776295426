//! What a row of probes says of the way from the API server to Gatepost, and when to ask again.

use std::time::Duration;

use tokio::time::Instant;

use super::obstacle::Obstacle;
use super::probe::Probe;

/// So many probes in a row must fail before less is registered.
const FAILURES: u32 = 3;
/// Where it goes to and fro, so many at most.
const MOST_FAILURES: u32 = 24;
/// After so long without it, it no longer goes to and fro.
const CALM: Duration = Duration::from_hours(1);
/// Between probes that do not arrive.
const SHORT_INTERVAL: Duration = Duration::from_secs(10);
/// Between probes right after something was written that they depend on: an API server needs a moment to see it.
const QUICK_INTERVAL: Duration = Duration::from_secs(1);
/// So many of them.
const QUICK: u32 = 5;

/// What to do about the registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Ask about everything.
    Widen,
    /// Ask about probes only.
    Narrow,
    /// Leave it.
    Stay,
}

/// What the last probes said.
#[derive(Debug)]
pub struct Reach {
    failures: u32,
    needed: u32,
    quick: u32,
    interval: Duration,
    narrowed: Option<Instant>,
    /// Why the last probe did not arrive, with the API server's words.
    pub obstacle: Option<(Obstacle, String)>,
    /// Why nothing follows from the last probe.
    pub unclear: Option<String>,
    /// When to probe next.
    pub next: Instant,
}

impl Reach {
    /// Starts without any knowledge, and asks at once; then at this interval for as long as probes arrive.
    pub fn new(now: Instant, interval: Duration) -> Self {
        Self {
            failures: 0,
            needed: FAILURES,
            quick: 0,
            interval,
            narrowed: None,
            obstacle: None,
            unclear: None,
            next: now,
        }
    }

    /// Takes a probe in.
    pub fn take(&mut self, probe: Probe, now: Instant) -> Advice {
        (self.obstacle, self.unclear) = (None, None);
        self.next = now + self.interval_after(&probe);
        match probe {
            Probe::Arrived => {
                self.failures = 0;
                if self.narrowed.is_some_and(|narrowed| now.saturating_duration_since(narrowed) > CALM) {
                    (self.needed, self.narrowed) = (FAILURES, None);
                }
                Advice::Widen
            }
            Probe::Unreachable(obstacle, message) => {
                self.failures = self.failures.saturating_add(1);
                self.obstacle = Some((obstacle, message));
                if self.failures >= self.needed { Advice::Narrow } else { Advice::Stay }
            }
            Probe::Unclear(why) => {
                self.unclear = Some(why);
                Advice::Stay
            }
        }
    }

    /// Notes that less is registered from now on. The next time it takes more to come to that: with several API
    /// servers, one may reach Gatepost where another does not.
    pub fn narrowed(&mut self, now: Instant) {
        self.needed = self.needed.saturating_mul(2).min(MOST_FAILURES);
        self.narrowed = Some(now);
        self.failures = 0;
    }

    /// Puts the next probe off, since there is nothing to send it to.
    pub fn wait(&mut self, now: Instant) {
        (self.obstacle, self.unclear) = (None, None);
        self.next = now + SHORT_INTERVAL;
    }

    /// Has the next probes follow each other quickly, since something was written that they depend on.
    pub fn hurry(&mut self, now: Instant) {
        self.quick = QUICK;
        self.next = now + QUICK_INTERVAL;
    }

    fn interval_after(&mut self, probe: &Probe) -> Duration {
        if *probe == Probe::Arrived {
            self.quick = 0;
            return self.interval;
        }
        let is_quick = self.quick > 0;
        self.quick = self.quick.saturating_sub(1);
        if is_quick { QUICK_INTERVAL } else { SHORT_INTERVAL }
    }
}
