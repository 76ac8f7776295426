//! Log lines leave on a thread of their own: a pipe that nobody reads, or a full disk, holds up no request.
//!
//! What does not fit into the queue, or cannot be written, is lost and counted; once lines go out again, one says how
//! many are missing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// So many lines wait at most.
const LINES: usize = 8192;
/// And so many bytes.
const BYTES: usize = 4 << 20;
/// How long the end of the process waits for lines to go out.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
/// So many bytes go out in one write, if they wait.
const BATCH: usize = 64 << 10;

/// Lines that were lost since the start of the process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines were lost.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue's entrance; writing to it never waits.
#[derive(Debug, Clone)]
pub struct LogQueue {
    sender: SyncSender<Entry>,
    waiting: Arc<AtomicUsize>,
}

/// Dropping it gives the lines that wait a moment to go out.
#[derive(Debug)]
pub struct LogGuard(SyncSender<Entry>);

impl LogQueue {
    /// Starts the thread that writes to `out`.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let (sender, receiver) = sync_channel(LINES);
        let waiting = Arc::<AtomicUsize>::default();
        let queue = Self { sender: sender.clone(), waiting: waiting.clone() };
        thread::Builder::new().name("log".into()).spawn(move || write_lines(&receiver, out, &waiting))?;
        Ok((queue, LogGuard(sender)))
    }

    fn push(&self, line: &[u8]) {
        let size = line.len();
        let waiting = self.waiting.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        if waiting > BYTES || self.sender.try_send(Entry::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (told, flushed) = sync_channel(1);
        let end = Instant::now() + PATIENCE;
        let mut entry = Entry::Flush(told);
        // A queue that is full is tried again: its reader may only be slow.
        while let Err(TrySendError::Full(again)) = self.0.try_send(entry) {
            if Instant::now() >= end {
                return;
            }
            entry = again;
            thread::sleep(PAUSE);
        }
        let _ = flushed.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn write_lines(receiver: &Receiver<Entry>, mut out: impl Write, waiting: &AtomicUsize) {
    let mut told = 0;
    let mut buffer = Vec::new();
    while let Ok(first) = receiver.recv() {
        let (mut lines, mut flush) = (0, None);
        let mut next = Some(first);
        // What waits already goes out in one write.
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => {
                    buffer.extend_from_slice(&line);
                    lines += 1;
                }
                Entry::Flush(told) => flush = Some(told),
            }
            next = if buffer.len() < BATCH { receiver.try_recv().ok() } else { None };
        }
        let written = out.write_all(&buffer).and_then(|()| out.flush());
        waiting.fetch_sub(buffer.len(), Ordering::Relaxed);
        buffer.clear();
        match written {
            Err(_) => _ = LOST.fetch_add(lines, Ordering::Relaxed),
            Ok(()) => told = tell_of_losses(told),
        }
        if let Some(flush) = flush {
            // Whoever asked may have stopped waiting.
            let _ = flush.send(());
        }
    }
}

/// Says how many lines were lost since it was last said; returns how many that are in all.
fn tell_of_losses(told: u64) -> u64 {
    let lost = lost();
    if lost > told {
        tracing::warn!(lines = lost.saturating_sub(told), "log lines were lost: they could not be written in time");
    }
    lost
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &LogQueue {
    /// Takes a whole line, as the formatter hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// A reader that takes nothing until it is told to.
    struct Stuck(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once the other end is dropped, everything goes out.
            let _ = self.0.recv();
            self.1.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_reads_nothing_holds_nobody_up() {
        let (release, released) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (queue, guard) = LogQueue::start(Stuck(released, written.clone())).unwrap();
        let before = lost();
        for number in 0..3 * LINES {
            // Long enough that one write takes a small part of what waits.
            (&queue).write_all(format!("{number:<79}\n").as_bytes()).unwrap();
        }
        assert!(lost() - before >= u64::try_from(LINES).unwrap());
        drop(release);
        drop(guard);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let first: Vec<&str> = written.lines().take(2).map(str::trim).collect();
        assert_eq!(first, ["0", "1"]);
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (queue, guard) = LogQueue::start(Full).unwrap();
        let before = lost();
        (&queue).write_all(b"a line\n").unwrap();
        drop(guard);
        assert!(lost() > before);
    }
}
