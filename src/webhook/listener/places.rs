//! The places that connections take. When all are taken, those that are missed least make room: first connections that
//! never sent a request, then those that have been idle longest. One with a request under way always stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Of all places this part is freed at a time, so that a flood does not look through all of them for each connection.
const AT_ONCE: usize = 64;

/// A fixed number of places.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    start: Instant,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    /// Connections that were told to leave and are still there.
    leaving: AtomicUsize,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    seat: Arc<Seat>,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Seat {
    under_way: AtomicUsize,
    begun: AtomicU64,
    /// Milliseconds from the first connection to when this one last began or ended something.
    active: AtomicU64,
    is_told: AtomicBool,
    leave: Notify,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    places: Arc<Places>,
    seat: Arc<Seat>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            start: Instant::now(),
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            leaving: AtomicUsize::new(0),
        })
    }

    /// Takes a place. When all are taken, others are told to leave, and it is said how many; none when nobody can go.
    pub(super) fn take(self: &Arc<Self>) -> Option<(Place, usize)> {
        let evicted = if self.lock().len() < self.limit {
            0
        } else {
            self.make_room(self.limit.div_ceil(AT_ONCE), Duration::ZERO)
        };
        let mut taken = self.lock();
        if taken.len() >= self.limit {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat { active: AtomicU64::new(self.now()), ..Seat::default() });
        taken.insert(id, seat.clone());
        Some((Place { places: self.clone(), id, seat }, evicted))
    }

    /// Tells up to so many connections to leave, none that was used within `recent`, and returns how many that are.
    pub(super) fn make_room(&self, wanted: usize, recent: Duration) -> usize {
        let mut taken = self.lock();
        let since = self.now().saturating_sub(u64::try_from(recent.as_millis()).unwrap_or(u64::MAX));
        let is_spared = |(is_used, active): (bool, u64)| is_used && !recent.is_zero() && active >= since;
        // Whoever was told to leave and has not gone yet still has its files open.
        let wanted = wanted.min(self.limit.saturating_sub(self.leaving.load(Ordering::Relaxed)));
        let idle = taken.iter().filter(|(_, seat)| seat.under_way.load(Ordering::Relaxed) == 0);
        let mut idle: Vec<_> = idle.map(|(id, seat)| (seat.value(), *id)).collect();
        idle.retain(|(value, _)| !is_spared(*value));
        idle.sort_unstable();
        idle.truncate(wanted);
        for (_, id) in &idle {
            if let Some(seat) = taken.remove(id) {
                self.leaving.fetch_add(1, Ordering::Relaxed);
                seat.is_told.store(true, Ordering::Relaxed);
                seat.leave.notify_one();
            }
        }
        idle.len()
    }

    /// Nothing is done under the lock that could leave it half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Seat {
    /// Returns how much the connection would be missed.
    fn value(&self) -> (bool, u64) {
        (self.begun.load(Ordering::Relaxed) > 0, self.active.load(Ordering::Relaxed))
    }
}

impl Place {
    /// Counts a request as under way.
    pub(super) fn begin(&self) -> UnderWay {
        self.seat.under_way.fetch_add(1, Ordering::Relaxed);
        self.seat.begun.fetch_add(1, Ordering::Relaxed);
        self.seat.active.store(self.places.now(), Ordering::Relaxed);
        UnderWay { places: self.places.clone(), seat: self.seat.clone() }
    }

    /// Returns how many requests have begun.
    pub(super) fn begun(&self) -> u64 {
        self.seat.begun.load(Ordering::Relaxed)
    }

    /// Returns whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.seat.under_way.load(Ordering::Relaxed) > 0
    }

    /// Waits until the connection is to make room.
    pub(super) async fn told_to_leave(&self) {
        self.seat.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.id);
        if self.seat.is_told.load(Ordering::Relaxed) {
            self.places.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.seat.under_way.fetch_sub(1, Ordering::Relaxed);
        self.seat.active.store(self.places.now(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    fn is_told(place: &Place) -> bool {
        place.told_to_leave().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_missed_least_makes_room() {
        let places = Places::new(3);
        let take = || places.take().map(|(place, _)| place);
        let (used_early, never_used, used_late) = (take().unwrap(), take().unwrap(), take().unwrap());
        drop(used_early.begin());
        advance(Duration::from_secs(1)).await;
        drop(used_late.begin());
        let newest = take().unwrap();
        assert!(is_told(&never_used) && !is_told(&used_early) && !is_told(&used_late));
        drop(newest.begin());
        drop(never_used);
        let _more = take().unwrap();
        assert!(is_told(&used_early) && !is_told(&used_late) && !is_told(&newest));
    }

    #[tokio::test(start_paused = true)]
    async fn one_with_a_request_under_way_stays() {
        let places = Places::new(2);
        let (first, second) = (places.take().unwrap().0, places.take().unwrap().0);
        let (busy, also_busy) = (first.begin(), second.begin());
        assert!(places.take().is_none());
        drop(also_busy);
        assert!(places.take().is_some_and(|(_, evicted)| evicted == 1));
        assert!(is_told(&second) && !is_told(&first) && first.is_busy() && !second.is_busy());
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_just_used_is_spared_while_there_may_be_others() {
        let places = Places::new(8);
        let (used, _unused) = (places.take().unwrap().0, places.take().unwrap().0);
        drop(used.begin());
        let recent = Duration::from_secs(5);
        assert_eq!((places.make_room(8, recent), is_told(&used)), (1, false));
        advance(Duration::from_secs(6)).await;
        assert_eq!((places.make_room(8, recent), is_told(&used)), (1, true));
    }

    #[tokio::test]
    async fn no_more_are_told_to_leave_than_there_are_places() {
        let places = Places::new(2);
        let mut told_but_there = vec![places.take().unwrap().0, places.take().unwrap().0];
        while let Some((place, _)) = places.take() {
            told_but_there.push(place);
            assert!(told_but_there.len() <= 4, "connections that do not go pile up");
        }
        told_but_there.clear();
        assert!(places.take().is_some());
    }
}
