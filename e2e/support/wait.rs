//! Waiting for a condition, with a limit; nothing here sleeps for its own sake.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_mins(2);

/// Tries again and again until there is a value, or the limit is reached.
pub fn wait_for<T>(what: &str, limit: Duration, mut value: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = value() {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} for {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Waits for a value that must come, or fails the test.
#[track_caller]
pub fn eventually<T>(what: &str, value: impl FnMut() -> Option<T>) -> T {
    match wait_for(what, PATIENCE, value) {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
