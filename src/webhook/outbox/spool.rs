//! What waits to be delivered: two lanes, one order, a limit on disk, and where a delivery stands.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::Weight;
use super::frame::Frame;
use super::lane::Lane;

/// Where a delivery stands.
const PLACE: &str = "place.json";
/// Who uses the directory.
const LOCK: &str = "lock";
/// Bytes that may wait in memory when no disk takes them.
const MEMORY_BYTES: u64 = 16 << 20;
/// Bytes that are read at a time.
const READ_BYTES: u64 = 1 << 20;
/// Parts of the limit that one file is.
const PARTS: u64 = 16;
/// Smallest and largest file.
const SEGMENT_BYTES: (u64, u64) = (64 << 10, 8 << 20);

/// Everything that waits.
#[derive(Debug)]
pub struct Spool {
    /// Where; none where there is no disk to write to, and everything is in memory.
    directory: Option<PathBuf>,
    limit: u64,
    /// By weight: what goes first when there is no room, then what goes last.
    lanes: [Lane; Weight::ALL.len()],
    place: Place,
    /// Number of the last decision.
    last: u64,
    /// Held while this process uses the directory.
    _lock: Option<File>,
}

/// Where a delivery stands, as a restart finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Tells this spool's parcels from those of others.
    id: String,
    /// Everything below has been delivered.
    next: u64,
    /// Last number of the parcel that is under way: when it is sent again after a restart, it has the same key.
    end: Option<u64>,
}

/// What is to be delivered next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The same whenever the same is sent again.
    pub key: String,
    /// Number of the last decision in it.
    pub last: u64,
    /// Decisions as JSON, in their order.
    pub decisions: Vec<Box<[u8]>>,
    /// When the first of them was taken in, in milliseconds since 1970.
    pub oldest_millis: u64,
}

/// What a parcel may hold.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Decisions.
    pub decisions: usize,
    /// Bytes of their JSON; one decision may be more.
    pub bytes: usize,
}

/// Decisions that had to go, by weight.
pub type Dropped = [u64; Weight::ALL.len()];

impl Spool {
    /// Opens what an earlier process left, in a directory that is made where there is none; `id` names a new spool.
    /// Returns how many bytes of it cannot be read, too.
    pub fn open(directory: &Path, limit: u64, id: String) -> io::Result<(Self, u64)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = File::create(directory.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another process uses it"),
        })?;
        let read = fs::read(directory.join(PLACE)).ok().and_then(|text| serde_json::from_slice::<Place>(&text).ok());
        let place = read.unwrap_or(Place { id, next: 1, end: None });
        let (mut last, mut unreadable) = (place.next.saturating_sub(1), 0_u64);
        let mut open = |weight: Weight| {
            let (lane, found) = Lane::open(directory, weight.as_str(), place.next)?;
            last = last.max(found.last);
            unreadable = unreadable.saturating_add(found.unreadable);
            io::Result::Ok(lane)
        };
        let lanes = [open(Weight::Clean)?, open(Weight::Violation)?];
        let directory = Some(directory.to_owned());
        Ok((Self { directory, limit, lanes, place, last, _lock: Some(lock) }, unreadable))
    }

    /// Keeps everything in memory.
    pub fn in_memory(id: String) -> Self {
        let lanes = Weight::ALL.map(|weight| Lane::in_memory(weight.as_str()));
        let place = Place { id, next: 1, end: None };
        Self { directory: None, limit: MEMORY_BYTES, lanes, place, last: 0, _lock: None }
    }

    /// Takes decisions in and writes them, with all that an earlier write could not; what goes for lack of room is
    /// returned beside what the disk says. What it did not take is kept in memory.
    pub fn commit(
        &mut self,
        decisions: impl IntoIterator<Item = (Weight, Box<[u8]>)>,
        millis: u64,
    ) -> (Dropped, io::Result<()>) {
        for (weight, json) in decisions {
            self.last = self.last.saturating_add(1);
            let frame = Frame { number: self.last, millis, json };
            self.lane(weight).push(frame);
        }
        let mut dropped = Dropped::default();
        self.make_room(&mut dropped);
        let segment = (self.limit / PARTS).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
        let has_disk = self.directory.is_some();
        let written = if has_disk { self.lanes.iter_mut().try_for_each(|lane| lane.write(segment)) } else { Ok(()) };
        if !has_disk || written.is_err() {
            self.make_room_in_memory(&mut dropped);
        }
        (dropped, written)
    }

    fn lane(&mut self, weight: Weight) -> &mut Lane {
        let [clean, violation] = &mut self.lanes;
        match weight {
            Weight::Clean => clean,
            Weight::Violation => violation,
        }
    }

    /// The oldest without violations go first, then the oldest.
    fn make_room(&mut self, dropped: &mut Dropped) {
        while self.bytes().saturating_add(self.unwritten_bytes()) > self.limit {
            let gone = self.lanes.iter_mut().zip(&mut *dropped).any(|(lane, dropped)| {
                let is_any = lane.len() > 0 || lane.bytes() > 0;
                *dropped = dropped.saturating_add(if is_any { lane.drop_oldest() } else { 0 });
                is_any
            });
            if !gone {
                return;
            }
        }
    }

    fn make_room_in_memory(&mut self, dropped: &mut Dropped) {
        while self.unwritten_bytes() > MEMORY_BYTES {
            let gone = self.lanes.iter_mut().zip(&mut *dropped).any(|(lane, dropped)| {
                let gone = lane.drop_unwritten();
                *dropped = dropped.saturating_add(gone);
                gone > 0
            });
            if !gone {
                return;
            }
        }
    }

    /// Returns what comes next; none where nothing waits. Files that cannot be read any more go, and are counted.
    pub fn next(&mut self, most: Most, dropped: &mut Dropped) -> io::Result<Option<Parcel>> {
        for (lane, dropped) in self.lanes.iter_mut().zip(dropped.iter_mut()) {
            while let Err(error) = lane.read_ahead(READ_BYTES) {
                if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) {
                    return Err(error);
                }
                *dropped = dropped.saturating_add(lane.drop_oldest());
            }
        }
        let until = self.place.end.filter(|end| *end >= self.place.next);
        let parcel = self.merged(most, until.unwrap_or(u64::MAX));
        let Some(parcel) = parcel else {
            // The rest of what was under way had to go.
            let was_limited = self.place.end.take().is_some() && until.is_some();
            return if was_limited { self.next(most, dropped) } else { Ok(None) };
        };
        if until.is_none() {
            self.place.end = Some(parcel.last);
            self.write_place();
        }
        Ok(Some(Parcel { key: format!("{}-{}-{}", self.place.id, self.place.next, parcel.last), ..parcel }))
    }

    fn merged(&self, most: Most, until: u64) -> Option<Parcel> {
        let [(clean, clean_ends), (violations, violations_end)] = self.lanes.each_ref().map(Lane::at_hand);
        let (mut clean, mut violations) = (clean.peekable(), violations.peekable());
        let mut decisions: Vec<&Frame> = Vec::new();
        let mut bytes = 0_usize;
        while decisions.len() < most.decisions {
            let numbers = (clean.peek().map(|frame| frame.number), violations.peek().map(|frame| frame.number));
            let frame = match numbers {
                (Some(a), Some(b)) if a < b => clean.next(),
                (Some(_), Some(_)) => violations.next(),
                (None, Some(_)) if clean_ends => violations.next(),
                (Some(_), None) if violations_end => clean.next(),
                // What follows may be older than what is at hand of the other.
                _ => None,
            };
            let Some(frame) = frame.filter(|frame| frame.number <= until) else { break };
            bytes = bytes.saturating_add(frame.json.len());
            if bytes > most.bytes && !decisions.is_empty() {
                break;
            }
            decisions.push(frame);
        }
        let (first, last) = (decisions.first()?, decisions.last()?);
        Some(Parcel {
            key: String::new(),
            last: last.number,
            oldest_millis: first.millis,
            decisions: decisions.iter().map(|frame| frame.json.clone()).collect(),
        })
    }

    /// Forgets what has been delivered.
    pub fn delivered(&mut self, parcel: &Parcel) {
        for lane in &mut self.lanes {
            lane.delivered(parcel.last);
        }
        self.place.next = parcel.last.saturating_add(1);
        self.place.end = self.place.end.filter(|end| *end >= self.place.next);
        if self.len() == 0 {
            self.write_place();
        }
    }

    /// Notes where it stands. If that fails, a restart delivers again what the receiver then knows.
    fn write_place(&self) {
        let Some(directory) = &self.directory else { return };
        let (path, aside) = (directory.join(PLACE), directory.join(format!("{PLACE}.new")));
        let Ok(text) = serde_json::to_vec(&self.place) else { return };
        let _ = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path));
    }

    /// Returns the number of the decision that is delivered next.
    pub fn position(&self) -> u64 {
        self.place.next
    }

    /// Returns how many wait.
    pub fn len(&self) -> u64 {
        self.lanes.iter().map(Lane::len).sum()
    }

    /// Returns the bytes that its files take.
    pub fn bytes(&self) -> u64 {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    /// Returns the bytes of what is in memory only.
    pub fn unwritten_bytes(&self) -> u64 {
        self.lanes.iter().map(Lane::unwritten_bytes).sum()
    }
}
