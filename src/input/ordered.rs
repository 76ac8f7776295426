//! Work on all cores whose results come out in the order in which it went in.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::document::STACK_BYTES;

/// Jobs that may be under way or waiting for an earlier one, for each worker.
const AHEAD: usize = 8;

/// What workers and the emitting thread share.
struct Progress {
    emitted: usize,
    is_stopped: bool,
}

/// Does `work` on every job on `workers` threads and hands the results to `emit` in the jobs' order, until it breaks.
///
/// However many jobs there are, only a few results are held: a worker that runs ahead waits.
pub fn for_each<J, S, R>(
    jobs: impl Iterator<Item = J> + Send,
    workers: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> R + Sync,
    mut emit: impl FnMut(R) -> ControlFlow<()>,
) -> io::Result<()>
where
    J: Send,
    R: Send,
{
    let workers = workers.max(1);
    let window = workers.saturating_mul(AHEAD);
    let jobs = Mutex::new(jobs.enumerate());
    let progress = Mutex::new(Progress { emitted: 0, is_stopped: false });
    let moved = Condvar::new();
    let (sender, results) = sync_channel::<(usize, R)>(window);
    thread::scope(|scope| {
        for _ in 0..workers {
            let sender = sender.clone();
            let run = || {
                let sender = sender;
                let mut state = state();
                loop {
                    let Some((position, job)) = lock(&jobs).next() else { return };
                    let waiting = |progress: &mut Progress| {
                        !progress.is_stopped && position >= progress.emitted.saturating_add(window)
                    };
                    let guard = moved.wait_while(lock(&progress), waiting).unwrap_or_else(PoisonError::into_inner);
                    if guard.is_stopped {
                        return;
                    }
                    drop(guard);
                    if sender.send((position, work(&mut state, job))).is_err() {
                        return;
                    }
                }
            };
            thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run)?;
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut next = 0;
        for (position, result) in results {
            early.insert(position, result);
            while let Some(result) = early.remove(&next) {
                next = next.saturating_add(1);
                let is_stopped = emit(result).is_break();
                *lock(&progress) = Progress { emitted: next, is_stopped };
                moved.notify_all();
                if is_stopped {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order() {
        let mut seen = Vec::new();
        let work = |(): &mut (), job: u64| {
            thread::sleep(std::time::Duration::from_micros((job * 7919) % 500));
            job
        };
        let emit = |job| {
            seen.push(job);
            ControlFlow::Continue(())
        };
        for_each(0..300, 4, || (), work, emit).unwrap();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn stops_when_told_to() {
        let mut seen = 0;
        let emit = |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        for_each(0.., 2, || (), |(), job: u64| job, emit).unwrap();
        assert_eq!(seen, 3);
    }
}
