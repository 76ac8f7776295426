//! A bound on the memory that requests under way take: for their text, and for what it becomes when it is parsed.
//!
//! Small requests are bounded by the number that wait and by the threads that judge. Large ones wait their turn for the
//! memory that they become, and never hold the last quarter of what there is for text.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Every request takes at least this much, however short its text.
const LEAST: usize = 8 << 10;
/// A text longer than this is a large one.
const LARGE: usize = 1 << 20;
/// What is parsed is counted in units of this many bytes.
const UNIT: usize = 1 << 10;
/// How long a large request waits for its turn at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// Requests under way take all the memory that they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("overloaded: requests under way take all the memory that they may")]
pub struct Full;

/// What requests under way may take; clones share it.
#[derive(Debug, Clone)]
pub struct RequestMemory {
    text: Arc<Share>,
    parsed: Arc<Semaphore>,
    parsed_limit: usize,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Share {
    limit: usize,
    used: AtomicUsize,
}

impl RequestMemory {
    /// Shares `bytes` out: a quarter to the text of requests, the rest to what large ones become when they are parsed.
    /// Of `threads` that judge, one is left to small requests.
    pub fn new(bytes: usize, threads: usize) -> Self {
        let text = bytes / 4;
        let parsed_limit = bytes.saturating_sub(text);
        let units = (parsed_limit / UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            text: Arc::new(Share { limit: text, used: AtomicUsize::new(0) }),
            parsed: Arc::new(Semaphore::new(units)),
            parsed_limit,
            turns: Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))),
        }
    }

    /// Returns the longest text that is ever taken in, in bytes.
    pub fn longest(bytes: usize) -> usize {
        bytes / 4 / 4 * 3
    }

    /// Lets a request in whose text will have at least so many bytes.
    pub fn enter(&self, announced: usize) -> Result<TextRoom, Full> {
        let room = TextRoom { share: self.text.clone(), length: 0, held: 0 };
        if !room.fits(announced.max(LEAST)) {
            return Err(Full);
        }
        room.holding(LEAST)
    }

    /// Returns whether something of this estimated size may ever be parsed.
    pub fn can_ever_parse(&self, weight: usize) -> bool {
        weight <= self.parsed_limit
    }

    /// Waits until so many bytes may be taken by what is parsed.
    pub async fn room_to_parse(&self, weight: usize, remaining: Duration) -> Result<Option<ParseRoom>, Full> {
        if weight <= LARGE {
            return Ok(None);
        }
        let units = u32::try_from(weight.min(self.parsed_limit) / UNIT).unwrap_or(u32::MAX);
        let both = async {
            let turn = self.turns.clone().acquire_owned().await.ok()?;
            let memory = self.parsed.clone().acquire_many_owned(units).await.ok()?;
            Some(ParseRoom { _memory: memory, _turn: turn })
        };
        match timeout(remaining.min(PATIENCE), both).await {
            Ok(Some(room)) => Ok(Some(room)),
            Ok(None) | Err(_) => Err(Full),
        }
    }

    /// Returns how many bytes the text of requests takes now.
    pub fn text_bytes(&self) -> usize {
        self.text.used.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are set aside for what is parsed now.
    pub fn parsed_bytes(&self) -> usize {
        let free = self.parsed.available_permits().saturating_mul(UNIT);
        (self.parsed_limit / UNIT * UNIT).saturating_sub(free)
    }
}

/// The memory that one request's text takes, given back when dropped.
#[derive(Debug)]
pub struct TextRoom {
    share: Arc<Share>,
    length: usize,
    held: usize,
}

/// The memory that one large request takes when it is parsed, given back when dropped.
#[derive(Debug)]
pub struct ParseRoom {
    _memory: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl TextRoom {
    /// Takes room for so many bytes more of text.
    pub fn grow(&mut self, by: usize) -> Result<(), Full> {
        let length = self.length.saturating_add(by);
        let missing = length.saturating_sub(self.held);
        if missing > 0 && !self.take(missing) {
            return Err(Full);
        }
        self.length = length;
        Ok(())
    }

    fn holding(mut self, bytes: usize) -> Result<Self, Full> {
        if self.take(bytes) { Ok(self) } else { Err(Full) }
    }

    fn take(&mut self, bytes: usize) -> bool {
        let limit = self.limit(self.held.saturating_add(bytes));
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= limit);
        let taken = self.share.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if taken {
            self.held = self.held.saturating_add(bytes);
        }
        taken
    }

    fn fits(&self, bytes: usize) -> bool {
        self.share.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.limit(bytes)
    }

    /// Returns how full the share may be for a request of this size: large ones leave a quarter to small ones.
    fn limit(&self, bytes: usize) -> usize {
        if bytes > LARGE { self.share.limit / 4 * 3 } else { self.share.limit }
    }
}

impl Drop for TextRoom {
    fn drop(&mut self) {
        self.share.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 64 << 20;

    fn memory() -> RequestMemory {
        RequestMemory::new(MEMORY, 2)
    }

    fn holding(memory: &RequestMemory, bytes: usize) -> Result<TextRoom, Full> {
        let mut room = memory.enter(bytes)?;
        room.grow(bytes)?;
        Ok(room)
    }

    #[test]
    fn text_is_bounded_and_given_back() {
        let memory = memory();
        let large = holding(&memory, 12 << 20).unwrap();
        assert_eq!(memory.text_bytes(), 12 << 20);
        assert_eq!(holding(&memory, 2 << 20).err(), Some(Full), "large ones leave a quarter");
        let small: Vec<_> = (0..4).map(|_| holding(&memory, 1 << 20).unwrap()).collect();
        assert_eq!(memory.enter(0).err(), Some(Full));
        drop((large, small));
        assert_eq!(memory.text_bytes(), 0);
    }

    #[test]
    fn a_length_that_cannot_fit_is_refused_before_anything_is_read() {
        let memory = memory();
        assert_eq!(memory.enter(RequestMemory::longest(MEMORY) + 1).err(), Some(Full));
        assert!(memory.enter(RequestMemory::longest(MEMORY)).is_ok());
        assert_eq!(memory.enter(usize::MAX).err(), Some(Full));
        assert_eq!(memory.text_bytes(), 0);
    }

    #[test]
    fn what_is_announced_takes_nothing_until_it_comes() {
        let memory = memory();
        let rooms: Vec<_> = (0..100).map(|_| memory.enter(10 << 20).unwrap()).collect();
        assert_eq!(memory.text_bytes(), 100 * LEAST);
        drop(rooms);
        let mut unannounced = memory.enter(0).unwrap();
        while unannounced.grow(1 << 16).is_ok() {}
        assert_eq!(memory.text_bytes(), RequestMemory::longest(MEMORY));
    }

    #[tokio::test(start_paused = true)]
    async fn large_ones_wait_their_turn_and_small_ones_do_not() {
        let memory = memory();
        let wait = Duration::from_secs(10);
        let first = memory.room_to_parse(20 << 20, wait).await.unwrap();
        assert!(first.is_some());
        assert_eq!(memory.parsed_bytes(), 20 << 20);
        assert!(memory.room_to_parse(1 << 20, wait).await.unwrap().is_none(), "a small one takes no turn");
        assert_eq!(memory.room_to_parse(2 << 20, wait).await.err(), Some(Full));
        drop(first);
        assert!(memory.room_to_parse(48 << 20, wait).await.unwrap().is_some());
        assert_eq!(memory.parsed_bytes(), 0);
        assert!(memory.can_ever_parse(48 << 20) && !memory.can_ever_parse((48 << 20) + 1));
    }
}
