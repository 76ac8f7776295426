//! Evaluation off the I/O threads: a fixed pool, bounded queues, and jobs whose panics stay theirs.

use std::any::Any;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::{io, thread};

use tokio::sync::oneshot;

use crate::engine::Machines;

/// Address space of a worker's stack: nested objects recurse, and pages that are not touched cost nothing.
const STACK_BYTES: usize = 8 << 20;

type Job = Box<dyn FnOnce(&mut Machines) + Send>;

/// A fixed pool of threads, each with its own [`Machines`].
///
/// Dropping it lets the threads finish the jobs that somebody waits for; what is in the background is lost.
#[derive(Debug)]
pub struct Workers(Arc<Pool>);

/// The queue is full: failing now is better than answering too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for evaluation")]
pub struct Overloaded;

/// A job ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("evaluation panicked: {message}")]
pub struct JobPanicked {
    /// What the panic said.
    pub message: String,
}

/// The answer to come of a job; dropping it before a thread has begun takes the job out.
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<Result<T, JobPanicked>>);

impl<T> Future for Answer<T> {
    type Output = Result<T, JobPanicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|received| received.unwrap_or_else(|_| Err(JobPanicked { message: "the pool has ended".into() })))
    }
}

impl Workers {
    /// Starts `threads` threads; each of the two queues holds at most `queue_len` jobs that no thread has begun.
    pub fn new(threads: NonZeroUsize, queue_len: usize) -> io::Result<Self> {
        Self::named("evaluate", STACK_BYTES, threads, queue_len)
    }

    /// Starts threads of another name, with stacks of so many bytes.
    pub fn named(name: &str, stack_bytes: usize, threads: NonZeroUsize, queue_len: usize) -> io::Result<Self> {
        let pool = Arc::new(Pool {
            queues: Mutex::new(Queues::default()),
            wakeup: Condvar::new(),
            queue_len,
            // One thread is kept for requests: a job that has begun cannot be taken back.
            background_threads: (threads.get() - 1).max(1),
        });
        let workers = Self(pool);
        for number in 0..threads.get() {
            let pool = workers.0.clone();
            let builder = thread::Builder::new().name(format!("{name}-{number}")).stack_size(stack_bytes);
            builder.spawn(move || pool.work())?;
        }
        Ok(workers)
    }

    /// Returns the number of threads that suits the machine.
    pub fn available_threads() -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// Queues a job that somebody waits for.
    pub fn try_submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Machines) -> T + Send + 'static,
    ) -> Result<Answer<T>, Overloaded> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move |machines: &mut Machines| {
            if sender.is_closed() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| job(machines))).map_err(|panic| {
                *machines = Machines::default();
                JobPanicked { message: message(&*panic) }
            });
            // Nobody waits any longer: the request is over.
            drop(sender.send(outcome));
        });
        self.0.push(job, |queues| &mut queues.urgent)?;
        Ok(Answer(receiver))
    }

    /// Queues a job that nobody waits for; it begins only when no other job waits.
    pub fn try_submit_background(&self, job: impl FnOnce(&mut Machines) + Send + 'static) -> Result<(), Overloaded> {
        self.0.push(Box::new(job), |queues| &mut queues.background)
    }

    /// Returns the number of jobs that somebody waits for and no thread has begun.
    pub fn queued(&self) -> usize {
        self.0.lock().urgent.len()
    }

    /// Returns the number of background jobs that no thread has begun.
    pub fn queued_in_background(&self) -> usize {
        self.0.lock().background.len()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut queues = self.0.lock();
        queues.is_closed = true;
        let lost = std::mem::take(&mut queues.background);
        drop(queues);
        drop(lost);
        self.0.wakeup.notify_all();
    }
}

#[derive(Default)]
struct Queues {
    urgent: VecDeque<Job>,
    background: VecDeque<Job>,
    background_running: usize,
    is_closed: bool,
}

struct Pool {
    queues: Mutex<Queues>,
    wakeup: Condvar,
    queue_len: usize,
    background_threads: usize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("queue_len", &self.queue_len).finish_non_exhaustive()
    }
}

impl Pool {
    /// No job runs under the lock, so what it guards is whole even after a panic.
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job, queue: impl FnOnce(&mut Queues) -> &mut VecDeque<Job>) -> Result<(), Overloaded> {
        let mut queues = self.lock();
        let queue = queue(&mut queues);
        if queue.len() >= self.queue_len {
            return Err(Overloaded);
        }
        queue.push_back(job);
        drop(queues);
        self.wakeup.notify_one();
        Ok(())
    }

    fn work(&self) {
        let mut machines = Machines::default();
        while let Some((job, is_background)) = self.next() {
            // The panic hook has told of it.
            if catch_unwind(AssertUnwindSafe(|| job(&mut machines))).is_err() {
                machines = Machines::default();
            }
            if is_background {
                self.lock().background_running -= 1;
            }
        }
    }

    /// Waits for the next job; none when the pool has ended.
    fn next(&self) -> Option<(Job, bool)> {
        let mut queues = self.lock();
        loop {
            if let Some(job) = queues.urgent.pop_front() {
                return Some((job, false));
            }
            if queues.background_running < self.background_threads
                && let Some(job) = queues.background.pop_front()
            {
                queues.background_running += 1;
                return Some((job, true));
            }
            if queues.is_closed {
                return None;
            }
            queues = self.wakeup.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn workers(threads: usize, queue_len: usize) -> Workers {
        Workers::new(NonZeroUsize::new(threads).unwrap(), queue_len).unwrap()
    }

    /// Occupies one thread until what it returns is dropped.
    fn occupy(workers: &Workers) -> (mpsc::Sender<()>, Answer<()>) {
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let job = move |_: &mut Machines| {
            begun.send(()).unwrap();
            released.recv().unwrap_err();
        };
        let answer = workers.try_submit(job).unwrap();
        has_begun.recv_timeout(LIMIT).unwrap();
        (release, answer)
    }

    #[tokio::test]
    async fn answers_from_another_thread() {
        let workers = workers(2, 8);
        let name = workers.try_submit(|_| thread::current().name().map(str::to_owned)).unwrap();
        assert!(name.await.unwrap().unwrap().starts_with("evaluate-"));
    }

    #[tokio::test]
    async fn a_panic_harms_no_other_job() {
        let workers = workers(1, 8);
        let broken = workers.try_submit(|_| -> u32 { panic!("rule {} went wrong", 7) }).unwrap();
        let whole = workers.try_submit(|_| 42).unwrap();
        assert_eq!(broken.await.unwrap_err().message, "rule 7 went wrong");
        assert_eq!(whole.await, Ok(42));
        workers.try_submit_background(|_| panic!("in the background")).unwrap();
        assert_eq!(workers.try_submit(|_| 43).unwrap().await, Ok(43));
    }

    #[tokio::test]
    async fn refuses_more_than_the_queue_holds() {
        let workers = workers(1, 2);
        let release = occupy(&workers);
        let waiting = [workers.try_submit(|_| 1).unwrap(), workers.try_submit(|_| 2).unwrap()];
        assert_eq!(workers.queued(), 2);
        assert_eq!(workers.try_submit(|_| 3).err(), Some(Overloaded));
        drop(release);
        for (answer, expected) in waiting.into_iter().zip([1, 2]) {
            assert_eq!(answer.await, Ok(expected));
        }
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_not_run() {
        let workers = workers(1, 8);
        let release = occupy(&workers);
        let (ran, has_run) = mpsc::channel();
        drop(workers.try_submit(move |_| ran.send(())).unwrap());
        drop(release);
        workers.try_submit(|_| ()).unwrap().await.unwrap();
        assert!(has_run.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_background_gives_way() {
        let workers = workers(1, 2);
        let release = occupy(&workers);
        let (order, ran) = mpsc::channel();
        let (first, second) = (order.clone(), order.clone());
        workers.try_submit_background(move |_| first.send("background").unwrap()).unwrap();
        workers.try_submit_background(|_| ()).unwrap();
        assert_eq!(workers.try_submit_background(|_| ()), Err(Overloaded));
        assert_eq!(workers.queued_in_background(), 2);
        let answer = workers.try_submit(move |_| second.send("urgent").unwrap()).unwrap();
        drop((release, order));
        answer.await.unwrap();
        assert_eq!(ran.iter().collect::<Vec<_>>(), ["urgent", "background"]);
    }

    #[tokio::test]
    async fn a_thread_is_kept_free_of_background_jobs() {
        let workers = workers(2, 8);
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        workers
            .try_submit_background(move |_| {
                begun.send(()).unwrap();
                released.recv().unwrap_err();
            })
            .unwrap();
        has_begun.recv_timeout(LIMIT).unwrap();
        workers.try_submit_background(|_| ()).unwrap();
        assert_eq!(workers.try_submit(|_| 1).unwrap().await, Ok(1));
        assert_eq!(workers.queued_in_background(), 1);
        drop(release);
    }

    #[tokio::test]
    async fn jobs_that_somebody_waits_for_outlive_the_pool() {
        let workers = workers(1, 8);
        let release = occupy(&workers);
        let answer = workers.try_submit(|_| 1).unwrap();
        drop(workers);
        drop(release);
        assert_eq!(answer.await, Ok(1));
    }
}
