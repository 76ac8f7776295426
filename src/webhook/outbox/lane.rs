//! Decisions of one kind in their order: files that are only appended to, and behind them what no disk has taken yet.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::frame::{Frame, HEAD};

/// What a file's name ends with.
const EXTENSION: &str = "frames";

/// One file.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// Bytes that can be read.
    bytes: u64,
    /// Decisions in it.
    frames: u64,
    /// Number of the last one.
    last: u64,
}

/// Decisions of one kind.
#[derive(Debug)]
pub struct Lane {
    directory: PathBuf,
    name: &'static str,
    segments: VecDeque<Segment>,
    /// The last segment, while it is appended to.
    open: Option<File>,
    /// What has been read of the first segment and not been delivered.
    ahead: VecDeque<Frame>,
    /// How far the first segment has been read.
    offset: u64,
    /// Decisions of the first segment that have been delivered.
    delivered: u64,
    /// What is in no file: the newest.
    unwritten: VecDeque<Frame>,
    unwritten_bytes: u64,
    /// Everything below has been delivered.
    next: u64,
}

/// What was found when files were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Number of the last decision.
    pub last: u64,
    /// Bytes that cannot be read: what was being written when a process ended, or damage.
    pub unreadable: u64,
}

impl Lane {
    /// Begins one that is in no file, and never will be.
    pub fn in_memory(name: &'static str) -> Self {
        Self {
            directory: PathBuf::new(),
            name,
            segments: VecDeque::new(),
            open: None,
            ahead: VecDeque::new(),
            offset: 0,
            delivered: 0,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            next: 0,
        }
    }

    /// Opens the files of a name; what is numbered below `next` has been delivered.
    pub fn open(directory: &Path, name: &'static str, next: u64) -> io::Result<(Self, Found)> {
        let mut lane = Self { directory: directory.to_owned(), next, ..Self::in_memory(name) };
        let mut found = Found::default();
        let mut paths: Vec<PathBuf> =
            fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| lane.is_ours(path));
        // Numbers are padded, so that names are in the order of what they hold.
        paths.sort();
        for path in paths {
            let (segment, delivered, unreadable) = scan(&path, next)?;
            found.last = found.last.max(segment.last);
            found.unreadable = found.unreadable.saturating_add(unreadable);
            if segment.frames == delivered {
                fs::remove_file(&path)?;
                continue;
            }
            lane.segments.push_back(segment);
        }
        Ok((lane, found))
    }

    fn is_ours(&self, path: &Path) -> bool {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        path.extension().is_some_and(|extension| extension == EXTENSION)
            && stem.strip_prefix(self.name).is_some_and(|number| number.starts_with('-'))
    }

    /// Takes one in, to be written by the next [`Lane::write`].
    pub fn push(&mut self, frame: Frame) {
        self.unwritten_bytes = self.unwritten_bytes.saturating_add(frame.size());
        self.unwritten.push_back(frame);
    }

    /// Writes everything that no file has, in files of at most about so many bytes. What cannot be written stays.
    pub fn write(&mut self, segment_bytes: u64) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            if self.segments.back().is_some_and(|segment| segment.bytes >= segment_bytes) {
                self.open = None;
                self.clear_delivered();
            }
            if self.open.is_none() {
                self.open = Some(self.begin()?);
            }
            let Some((file, segment)) = self.open.as_mut().zip(self.segments.back_mut()) else { return Ok(()) };
            let (mut bytes, mut frames, mut last) = (Vec::new(), 0_usize, segment.last);
            for frame in &self.unwritten {
                frame.write(&mut bytes);
                (frames, last) = (frames.saturating_add(1), frame.number);
                if size(&bytes).saturating_add(segment.bytes) >= segment_bytes {
                    break;
                }
            }
            if let Err(error) = file.write_all(&bytes) {
                // Part of it may be there; what follows must not stand behind it.
                if file.set_len(segment.bytes).and_then(|()| file.seek(SeekFrom::Start(segment.bytes))).is_err() {
                    self.open = None;
                }
                return Err(error);
            }
            segment.bytes = segment.bytes.saturating_add(size(&bytes));
            segment.frames = segment.frames.saturating_add(u64::try_from(frames).unwrap_or(u64::MAX));
            segment.last = last;
            self.unwritten.drain(..frames);
            self.unwritten_bytes = self.unwritten_bytes.saturating_sub(size(&bytes));
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<File> {
        let first = self.unwritten.front().map_or(0, |frame| frame.number);
        let path = self.directory.join(format!("{}-{first:020}.{EXTENSION}", self.name));
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        // One to which nothing could be written has the same name.
        if self.segments.back().is_some_and(|segment| segment.frames == 0) {
            self.segments.pop_back();
        }
        self.segments.push_back(Segment { path, bytes: 0, frames: 0, last: 0 });
        Ok(file)
    }

    /// Reads on, so that what comes next is at hand; only the first file, and only while little is.
    pub fn read_ahead(&mut self, bytes: u64) -> io::Result<()> {
        self.clear_delivered();
        let Some(segment) = self.segments.front() else { return Ok(()) };
        if !self.ahead.is_empty() || self.offset >= segment.bytes {
            return Ok(());
        }
        let mut file = File::open(&segment.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut buffer = Vec::new();
        file.take(bytes.min(segment.bytes.saturating_sub(self.offset))).read_to_end(&mut buffer)?;
        let mut rest = buffer.as_slice();
        while let Some(frame) = Frame::read(rest) {
            rest = rest.get(HEAD.saturating_add(frame.json.len())..).unwrap_or_default();
            self.offset = self.offset.saturating_add(frame.size());
            self.take_ahead(frame);
        }
        if size(rest) == size(&buffer) {
            // Longer than what was asked for, or damaged since it was written.
            return if size(&buffer) < bytes { Err(io::ErrorKind::InvalidData.into()) } else { self.read_one() };
        }
        Ok(())
    }

    fn read_one(&mut self) -> io::Result<()> {
        let Some(segment) = self.segments.front() else { return Ok(()) };
        let mut file = File::open(&segment.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut buffer = Vec::new();
        file.read_to_end(&mut buffer)?;
        let frame = Frame::read(&buffer).ok_or(io::ErrorKind::InvalidData)?;
        self.offset = self.offset.saturating_add(frame.size());
        self.take_ahead(frame);
        Ok(())
    }

    fn take_ahead(&mut self, frame: Frame) {
        if frame.number >= self.next {
            self.ahead.push_back(frame);
        } else {
            self.delivered = self.delivered.saturating_add(1);
        }
    }

    /// Returns what is at hand in its order, and whether nothing else follows it.
    pub fn at_hand(&self) -> (impl Iterator<Item = &Frame>, bool) {
        let rest = match self.segments.front() {
            Some(first) => self.segments.len() > 1 || self.offset < first.bytes,
            None => false,
        };
        let unwritten = self.unwritten.iter().take(if rest { 0 } else { usize::MAX });
        (self.ahead.iter().chain(unwritten), !rest)
    }

    /// Forgets what is numbered up to `last`: it has been delivered.
    pub fn delivered(&mut self, last: u64) {
        self.next = self.next.max(last.saturating_add(1));
        while self.ahead.front().is_some_and(|frame| frame.number <= last) {
            self.ahead.pop_front();
            self.delivered = self.delivered.saturating_add(1);
        }
        while self.unwritten.front().is_some_and(|frame| frame.number <= last) {
            self.drop_unwritten();
        }
        self.clear_delivered();
    }

    /// Lets go of files of which everything has been delivered, but not of the one that is written.
    fn clear_delivered(&mut self) {
        while let Some(first) = self.segments.front() {
            let is_open = self.segments.len() == 1 && self.open.is_some();
            if is_open || first.last >= self.next {
                return;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) -> u64 {
        let Some(first) = self.segments.pop_front() else { return 0 };
        // One that stays is found again at the next start, and so are the numbers that say that it was delivered.
        let _ = fs::remove_file(&first.path);
        if self.segments.is_empty() {
            self.open = None;
        }
        self.ahead.clear();
        let lost = first.frames.saturating_sub(self.delivered);
        (self.offset, self.delivered) = (0, 0);
        lost
    }

    /// Drops the oldest file, or where there is none the oldest decision; returns how many were dropped.
    pub fn drop_oldest(&mut self) -> u64 {
        if self.segments.is_empty() { self.drop_unwritten() } else { self.forget_first() }
    }

    /// Drops the oldest decision that is in no file; returns how many were dropped.
    pub fn drop_unwritten(&mut self) -> u64 {
        let Some(frame) = self.unwritten.pop_front() else { return 0 };
        self.unwritten_bytes = self.unwritten_bytes.saturating_sub(frame.size());
        1
    }

    /// Returns the bytes that its files take.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Returns the bytes of what is in no file.
    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// Returns how many wait.
    pub fn len(&self) -> u64 {
        let written: u64 = self.segments.iter().map(|segment| segment.frames).sum();
        let unwritten = u64::try_from(self.unwritten.len()).unwrap_or(u64::MAX);
        written.saturating_sub(self.delivered).saturating_add(unwritten)
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Returns what a file holds, how many of it are numbered below `next`, and how many bytes cannot be read.
fn scan(path: &Path, next: u64) -> io::Result<(Segment, u64, u64)> {
    let bytes = fs::read(path)?;
    let mut segment = Segment { path: path.to_owned(), bytes: 0, frames: 0, last: 0 };
    let (mut rest, mut delivered) = (bytes.as_slice(), 0_u64);
    while let Some(frame) = Frame::read(rest) {
        rest = rest.get(HEAD.saturating_add(frame.json.len())..).unwrap_or_default();
        segment.bytes = segment.bytes.saturating_add(frame.size());
        segment.frames = segment.frames.saturating_add(1);
        segment.last = frame.number;
        delivered = delivered.saturating_add(u64::from(frame.number < next));
    }
    Ok((segment, delivered, size(rest)))
}
