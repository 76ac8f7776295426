//! Threads that judge the objects of pages, and give way to everything else.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::judge::{Desk, Seen};
use super::list::{Page, PageMeta};
use crate::background;
use crate::engine::Machines;
use crate::input::document::STACK_BYTES;

/// Objects that a thread judges before it tells of them.
const SLICE: usize = 50;

/// Slices that may be judged before those before them are taken in.
const AHEAD: usize = 4;

/// What is said of some objects of a page, or why nobody knows which one is.
pub type Slice = Vec<Result<Seen, String>>;

/// The objects of a page, as text.
#[derive(Debug)]
pub struct Items {
    page: String,
    places: Vec<Range<usize>>,
}

impl Items {
    /// Reads a page, and returns what it says of the list beside its objects; the error says what is wrong with it.
    pub fn read(page: String) -> Result<(Self, PageMeta), String> {
        let read: Page<'_> = serde_json::from_str(&page).map_err(|error| format!("the list: {error}"))?;
        let start = page.as_ptr().addr();
        let place = |item: &&RawValue| {
            let start = item.get().as_ptr().addr().saturating_sub(start);
            start..start.saturating_add(item.get().len())
        };
        let places = read.items.iter().flatten().map(place).collect();
        let metadata = read.metadata;
        Ok((Self { page, places }, metadata))
    }

    /// Returns how many there are.
    pub const fn count(&self) -> usize {
        self.places.len()
    }

    fn within(&self, slice: Range<usize>) -> impl Iterator<Item = &str> {
        self.places.get(slice).into_iter().flatten().filter_map(|place| self.page.get(place.clone()))
    }
}

/// Some objects of a page that are to be judged.
struct Job {
    desk: Arc<Desk>,
    items: Arc<Items>,
    slice: Range<usize>,
    told: mpsc::Sender<Slice>,
}

/// Threads that judge; what each has learnt of rules outlives a page. They end when this is dropped.
#[derive(Debug)]
pub struct Judges {
    jobs: Sender<Job>,
}

impl Judges {
    /// Judges on so many threads.
    pub fn new(threads: usize) -> Self {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.max(1) {
            let queue = queue.clone();
            let thread = thread::Builder::new().name("audit".into()).stack_size(STACK_BYTES);
            if let Err(error) = thread.spawn(move || work(&queue)) {
                tracing::error!(%error, "a thread that judges in audits could not be started");
            }
        }
        Self { jobs }
    }

    /// Has items judged, some at a time; what is said of them is told in no order.
    ///
    /// The threads wait for whoever takes that in, so that little of it is held at once, and stop when nobody does any more.
    pub fn judge(&self, desk: Desk, items: Items) -> mpsc::Receiver<Slice> {
        let (told, slices) = mpsc::channel(AHEAD);
        let (desk, items) = (Arc::new(desk), Arc::new(items));
        for start in (0..items.places.len()).step_by(SLICE) {
            let slice = start..start.saturating_add(SLICE).min(items.places.len());
            let job = Job { desk: desk.clone(), items: items.clone(), slice, told: told.clone() };
            if self.jobs.send(job).is_err() {
                // It is the first that is told, so there is room.
                let _ = told.try_send(vec![Err("no thread judges: none could be started".into())]);
                break;
            }
        }
        slices
    }
}

/// Judges what is queued, until nobody can queue anything any more.
fn work(queue: &Mutex<Receiver<Job>>) {
    // Not the idle class: on a busy machine a rule would be out of time before it had its turn.
    background::step_back();
    let mut machines = Machines::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if job.told.is_closed() {
            continue;
        }
        let judging = |item: &str| {
            let panicked = || job.desk.unjudged(item, "judging it panicked".to_owned());
            guarded(&mut machines, |machines| job.desk.object(item, machines), panicked)
        };
        let slice = job.items.within(job.slice.clone()).map(judging).collect();
        let _ = job.told.blocking_send(slice);
    }
}

/// Judges an object; of a panic nothing is left but what is said in the answer's place.
fn guarded<A>(machines: &mut Machines, judge: impl FnOnce(&mut Machines) -> A, panicked: impl FnOnce() -> A) -> A {
    catch_unwind(AssertUnwindSafe(|| judge(machines))).unwrap_or_else(|_| {
        *machines = Machines::default();
        panicked()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_panics_costs_its_neighbours_nothing() {
        let mut machines = Machines::default();
        let judge = |object: &'static str| {
            guarded(&mut machines, |_| if object == "b" { panic!("on purpose") } else { object }, || "panicked")
        };
        assert_eq!(["a", "b", "c"].map(judge), ["a", "panicked", "c"]);
    }

    #[test]
    fn objects_stand_where_they_were_read() {
        let text = "{\"metadata\": {\"continue\": \"c\"}, \"items\": [ {\"a\": \"ü\"} ,\n{\"b\": [1]}, 3]}";
        let (items, metadata) = Items::read(text.to_owned()).unwrap();
        assert_eq!((items.count(), metadata.next.as_deref()), (3, Some("c")));
        assert_eq!(items.within(0..3).collect::<Vec<_>>(), ["{\"a\": \"ü\"}", "{\"b\": [1]}", "3"]);
        assert_eq!(items.within(1..2).collect::<Vec<_>>(), ["{\"b\": [1]}"]);
        assert!(Items::read("{\"items\": [".to_owned()).unwrap_err().starts_with("the list: "));
    }
}
