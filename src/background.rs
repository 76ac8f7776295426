//! Work that nobody waits for: it lets requests go first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The lowest priority of the normal class; requests have 0.
const LOWEST: i32 = 19;

/// Gives the calling thread the lowest priority that is still served when the machine is busy.
///
/// Linux keeps a priority for each thread; where it is the process's, or where this is refused, it stays as it is.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        tracing::debug!(%error, "background work goes on at normal priority");
    }
}

/// Works only while nothing else wants the processor; `None` if the work panics.
///
/// Linux' idle class gives way at once, where the lowest priority of the normal one finishes its slice of some milliseconds
/// first while a request waits. On a machine that is never idle such work would never end, and an unprivileged thread cannot
/// leave that class again: after `patience` the work is begun anew on the calling thread, and what the other one still
/// brings is dropped.
pub fn when_idle<T: Send + 'static>(
    patience: Duration,
    stack_bytes: usize,
    work: impl Fn() -> T + Send + Sync + 'static,
) -> Option<T> {
    let work = Arc::new(work);
    let (sender, result) = mpsc::channel();
    let idle = {
        let work = work.clone();
        move || {
            become_idle();
            let _ = sender.send(catch_unwind(AssertUnwindSafe(|| work())).ok());
        }
    };
    let started = thread::Builder::new().name("idle".into()).stack_size(stack_bytes).spawn(idle);
    if started.is_ok()
        && let Ok(result) = result.recv_timeout(patience)
    {
        return result;
    }
    catch_unwind(AssertUnwindSafe(|| work())).ok()
}

fn become_idle() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::ThreadPriority::Min;
        use thread_priority::unix::{
            NormalThreadSchedulePolicy::Idle, ThreadSchedulePolicy::Normal, set_thread_priority_and_policy,
            thread_native_id,
        };
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), Min, Normal(Idle)) {
            tracing::debug!(?error, "this kernel has no idle class for background work");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use thread_priority::unix::{NormalThreadSchedulePolicy::*, ThreadSchedulePolicy::Normal, thread_schedule_policy};

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);
    const STACK: usize = 1 << 20;

    #[test]
    fn only_the_work_is_idle() {
        assert_eq!(when_idle(PATIENCE, STACK, || thread_schedule_policy().ok()), Some(Some(Normal(Idle))));
        assert_eq!(thread_schedule_policy().ok(), Some(Normal(Other)));
    }

    #[test]
    fn work_that_gets_no_turn_is_done_by_who_waits() {
        let turns = Arc::new(AtomicUsize::new(0));
        let count = turns.clone();
        let work = move || {
            let turn = count.fetch_add(1, SeqCst);
            if turn == 0 {
                thread::sleep(Duration::from_secs(5));
            }
            (turn, thread_schedule_policy().ok())
        };
        let (turn, policy) = when_idle(Duration::from_millis(300), STACK, work).expect("a result");
        assert_eq!(policy, Some(Normal(Other)), "turn {turn}");
    }

    #[test]
    fn work_that_panics_brings_nothing() {
        assert_eq!(when_idle(PATIENCE, STACK, || -> u8 { panic!("broken") }), None);
    }
}
