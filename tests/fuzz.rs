//! What the fuzzer found worth keeping, replayed: every input of `fuzz/corpus` through its target.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use gatepost::input::document::STACK_BYTES;

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// Runs one input on a stack as large as the one that such input is read on.
fn replay(run: fn(&[u8]), path: &Path) -> Result<(), String> {
    let data = fs::read(path).expect("an input");
    let builder = thread::Builder::new().stack_size(STACK_BYTES);
    let thread = builder.spawn(move || run(&data)).expect("a thread");
    thread.join().map_err(|_| format!("{} breaks a promise; its message stands above", path.display()))
}

#[test]
fn every_input_of_the_corpora_keeps_the_promises() {
    for (name, run) in TARGETS {
        let inputs: Vec<PathBuf> = fs::read_dir(corpora().join(name))
            .unwrap_or_else(|error| panic!("fuzz/corpus/{name}: {error}"))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert!(!inputs.is_empty(), "fuzz/corpus/{name} is empty");
        let failed: Vec<String> = inputs.iter().filter_map(|path| replay(run, path).err()).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

#[test]
fn every_target_is_built_and_every_corpus_has_its_target() {
    let manifest = fs::read_to_string(corpora().join("../Cargo.toml")).expect("fuzz/Cargo.toml");
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    for name in &names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not built");
        let program = corpora().join(format!("../fuzz_targets/{name}.rs"));
        let program = fs::read_to_string(program).expect("a fuzz target");
        assert!(program.contains(&format!("gatepost_fuzz::{name}(")), "{name} calls something else");
    }
    names.sort_unstable();
    let mut corpora: Vec<String> = fs::read_dir(corpora())
        .expect("fuzz/corpus")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    corpora.sort_unstable();
    assert_eq!(names, corpora);
}
