//! Files that tests write and hold to what they would write again.

use std::path::Path;

/// Compares a file of the project with its text as generated; with `GATEPOST_UPDATE` it is written first.
#[track_caller]
pub fn check_generated(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let stands = || std::fs::read_to_string(&path).unwrap_or_default();
    // What is as it should be is left alone: other tests read it at the same time.
    if std::env::var_os("GATEPOST_UPDATE").is_some() && stands() != text {
        std::fs::write(&path, text).expect("a generated file can be written");
    }
    assert!(stands() == text, "{file} is not as generated; run the tests with GATEPOST_UPDATE=1");
}
