//! Tests that this machine cannot run.

use std::io::Write as _;
use std::thread;

/// Says that the running test is skipped, and why; where `CI=true`, that is a failure.
pub fn skip(needs: &str, reason: &str) {
    assert!(std::env::var("CI").map_or(true, |ci| ci != "true"), "{needs} cannot be had: {reason}");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Past the test harness's capture: nobody should take this for a proof.
    let _ = writeln!(std::io::stderr(), "e2e: SKIPPED {test}, which needs {needs}: {reason}");
}
