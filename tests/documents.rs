//! What the documents point at is there: tests by name, files by link.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every file of an extension that Git would keep.
fn files(extension: &str) -> Vec<PathBuf> {
    let walk = WalkBuilder::new(root()).hidden(false).filter_entry(|entry| entry.file_name() != "target").build();
    let files = walk.filter_map(Result::ok).map(ignore::DirEntry::into_path);
    files.filter(|path| path.is_file() && path.extension().is_some_and(|found| found == extension)).collect()
}

fn documents() -> Vec<(PathBuf, String)> {
    let found = files("md").into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap()));
    let found: Vec<_> = found.collect();
    assert!(found.len() > 10, "the documents were not found");
    found
}

/// Returns what stands in backticks and is a test's name by its looks: a sentence of four words or more.
fn test_names(text: &str) -> impl Iterator<Item = &str> {
    let is_sentence = |word: &&str| {
        word.matches('_').count() >= 3
            && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
            && !word.starts_with("gatepost_")
            && !word.starts_with("apiserver_")
    };
    text.split('`').skip(1).step_by(2).filter(is_sentence)
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests: String = files("rs").into_iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let defined: BTreeSet<&str> =
        tests.match_indices("fn ").filter_map(|(at, _)| tests[at + 3..].split(['(', '<', ' ']).next()).collect();
    let mut named = 0;
    for (path, text) in documents() {
        for name in test_names(&text) {
            named += 1;
            assert!(defined.contains(name), "{} names the test `{name}`, which does not exist", path.display());
        }
    }
    assert!(named > 20, "only {named} names of tests were found");
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let mut links = 0;
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if link.is_empty() || link.contains("://") || link.contains(' ') {
                continue;
            }
            links += 1;
            let target = path.parent().unwrap().join(link);
            assert!(target.exists(), "{} links to {link}, which does not exist", path.display());
        }
    }
    assert!(links > 10, "only {links} links were found");
}
