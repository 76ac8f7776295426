//! The shape of the code: the pure core stays pure, dependencies point one way, and `main` stays thin.

use std::fmt::Write as _;
use std::path::Path;

/// What has no place in the pure core: I/O, clocks, environment, and the libraries that are made of them.
const IMPURE: &[&str] = &[
    "tokio",
    "axum",
    "kube",
    "hyper",
    "hyper_util",
    "reqwest",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "tracing",
];

/// Modules from the bottom up, each with those that it must not name.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "policy",
        &[
            "engine",
            "admission",
            "report",
            "input",
            "webhook",
            "cluster",
            "audit",
            "cli",
            "config",
            "server",
            "telemetry",
        ],
    ),
    (
        "engine",
        &["admission", "report", "input", "webhook", "cluster", "audit", "cli", "config", "server", "telemetry"],
    ),
    ("admission", &["input", "webhook", "cluster", "audit", "cli", "config", "server", "telemetry"]),
    ("report", &["input", "webhook", "cluster", "audit", "cli", "config", "server", "telemetry"]),
    ("input", &["webhook", "cluster", "audit", "cli", "server", "telemetry"]),
    ("config", &["webhook", "cluster", "audit", "cli", "server", "telemetry"]),
    ("cluster", &["webhook", "dashboard", "cli", "server"]),
    ("webhook", &["dashboard", "cli", "server"]),
    ("scan", &["dashboard", "cli", "server"]),
    ("dashboard", &["cli", "server"]),
    ("store", &["input", "webhook", "cluster", "audit", "scan", "cli", "config", "server", "telemetry"]),
    ("audit", &["dashboard", "cli", "server"]),
    ("auth", &["input", "cluster", "audit", "dashboard", "notify", "store", "cli", "server"]),
    ("notify", &["input", "webhook", "cluster", "audit", "dashboard", "cli", "server"]),
];

const PURE: [&str; 4] = ["policy", "engine", "admission", "report"];

/// A line of a file, without its comment and without what only tests see.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    number: usize,
    code: &'a str,
}

/// Returns the lines that are built into the program: no comments, no `#[cfg(test)]` items.
fn program_lines(text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut test_item: Option<i32> = None;
    for (index, line) in text.lines().enumerate() {
        let code = without_comment(line);
        if code.trim() == "#[cfg(test)]" {
            test_item = Some(0);
            continue;
        }
        if let Some(depth) = test_item {
            let depth = depth + balance(code);
            let is_attribute = code.trim().starts_with("#[") || code.trim().is_empty();
            test_item = (depth > 0 || is_attribute || !code.contains(['{', '}', ';'])).then_some(depth);
            continue;
        }
        lines.push(Line { number: index + 1, code });
    }
    lines
}

fn without_comment(line: &str) -> &str {
    let is_comment = |at: &usize| line[..*at].matches('"').count().is_multiple_of(2);
    let start = line.match_indices("//").map(|(at, _)| at).find(is_comment);
    start.map_or(line, |at| &line[..at])
}

fn balance(code: &str) -> i32 {
    code.chars()
        .map(|c| match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        })
        .sum()
}

/// Returns whether a path such as `std::fs` or a macro such as `println!` stands in a line as a word of its own.
fn names(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let ends_open = code[at + word.len()..].chars().next().is_some_and(is_part) && word.ends_with(is_part);
        let starts_open = code[..at].chars().next_back().is_some_and(is_part);
        !ends_open && !starts_open && (word.contains("::") || word.ends_with('!') || is_path(code, at, word))
    })
}

/// Returns whether a crate's name stands where a path begins: `tokio::x`, `use tokio;`, but not `self.tokio`.
fn is_path(code: &str, at: usize, word: &str) -> bool {
    let (before, after) = (&code[..at], &code[at + word.len()..]);
    !before.ends_with("::") && (after.starts_with("::") || before.trim_end().ends_with("use"))
}

/// Returns the lines, with `use a::{b, c};` taken apart into one line for each member, also where it goes over several.
fn expanded(lines: &[Line<'_>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in lines {
        let code = line.code.trim();
        let (number, text) = match open.take() {
            Some((number, text)) => (number, text + code),
            None => (line.number, code.to_owned()),
        };
        let list = text.split_once("::{").filter(|_| text.starts_with("use ") || text.starts_with("pub use "));
        match list {
            None => found.push((number, text)),
            Some(_) if balance(&text) > 0 => open = Some((number, text)),
            Some((path, list)) => {
                found.extend(members(list).into_iter().map(|member| (number, format!("{path}::{member};"))));
            }
        }
    }
    found
}

/// Returns the entries of a list in braces, split at the commas that stand in no inner braces.
fn members(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut members = vec![String::new()];
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            _ => {}
        }
        if let Some(last) = members.last_mut().filter(|_| c != ',' || depth > 0) {
            last.push(c);
        }
    }
    members.iter().map(|member| member.trim().to_owned()).filter(|member| !member.is_empty()).collect()
}

/// Returns what a file breaks, one `path:line: cause` each; the path is below `src/`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    if is_test {
        return Vec::new();
    }
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let lines = program_lines(text);
    let mut faults = Vec::new();
    let forbidden = FORBIDDEN.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, forbidden)| forbidden);
    for (number, code) in expanded(&lines) {
        if PURE.contains(&module) {
            let found = IMPURE.iter().filter(|word| names(&code, word));
            faults.extend(found.map(|word| format!("{path}:{number}: the pure core names {word}")));
        }
        if path != "engine/rego.rs" && names(&code, "regorus") {
            faults.push(format!("{path}:{number}: only engine/rego.rs names regorus"));
        }
        let found = forbidden.iter().filter(|above| names(&code, &format!("crate::{above}")));
        faults.extend(found.map(|above| format!("{path}:{number}: {module} names {above}, which stands above it")));
    }
    faults.dedup();
    if path == "main.rs" && text.lines().count() >= 40 {
        faults.push("main.rs: has 40 lines or more".into());
    }
    faults
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_core_is_pure_and_dependencies_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    let relative = |path: &Path| path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
    for module in PURE {
        assert!(found.iter().any(|path| relative(path).starts_with(&format!("{module}/"))), "src/{module} is gone");
    }
    let faults: Vec<String> = found
        .iter()
        .flat_map(|path| faults(&relative(path), &std::fs::read_to_string(path).expect("a source file")))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn each_thing_that_has_no_place_in_the_core_is_seen() {
    let table = [
        ("use tokio::sync::Mutex;", "tokio"),
        ("use axum::Router;", "axum"),
        ("let client: kube::Client = client;", "kube"),
        ("fn body() -> hyper::body::Incoming;", "hyper"),
        ("use hyper_util::rt::TokioIo;", "hyper_util"),
        ("let text = std::fs::read_to_string(path);", "std::fs"),
        ("use std::{collections::{BTreeMap, BTreeSet}, fs};", "std::fs"),
        ("use std::{\n    fmt,\n    fs::File,\n};", "std::fs"),
        ("use std::net::IpAddr;", "std::net"),
        ("if std::env::var(\"HOME\").is_ok() {}", "std::env"),
        ("let now = SystemTime::now();", "SystemTime::now"),
        ("let now = std::time::Instant::now();", "Instant::now"),
        ("let now = jiff::Timestamp::now();", "Timestamp::now"),
        ("std::process::exit(1);", "std::process"),
        ("println!(\"x\");", "println!"),
        ("tracing::info!(\"x\");", "tracing"),
    ];
    for module in PURE {
        for (line, word) in table {
            let path = format!("{module}/bad.rs");
            let text = format!("//! A module.\n\nfn f() {{\n    {line}\n}}\n");
            assert_eq!(faults(&path, &text), [format!("{path}:4: the pure core names {word}")], "{line}");
            assert!(faults("webhook/good.rs", &text).is_empty(), "{line}");
        }
    }
}

#[test]
fn each_dependency_that_points_up_is_seen() {
    let table = [
        ("policy/a.rs", "use crate::engine::Value;", "engine"),
        ("policy/a.rs", "use crate::{engine::Value, policy::Rule};", "engine"),
        ("policy/a.rs", "use crate::{\n    policy::{Rule, RuleId},\n    report,\n};", "report"),
        ("engine/a.rs", "fn f(x: &crate::admission::Envelope) {}", "admission"),
        ("engine/a/b.rs", "use crate::cluster::Namespaces;", "cluster"),
        ("admission/a.rs", "use crate::webhook;", "webhook"),
        ("admission/a.rs", "use crate::config::Config;", "config"),
        ("report/a.rs", "use crate::cli::output::{self, Style};", "cli"),
        ("webhook/a.rs", "use crate::server::start;", "server"),
        ("scan/a.rs", "use crate::dashboard::routes;", "dashboard"),
        ("dashboard/a.rs", "use crate::cli::output;", "cli"),
    ];
    for (path, text, above) in table {
        let module = path.split('/').next().unwrap_or_default();
        assert_eq!(faults(path, text), [format!("{path}:1: {module} names {above}, which stands above it")], "{text}");
    }
    assert_eq!(
        faults("engine/judge.rs", "use regorus::Value;"),
        ["engine/judge.rs:1: only engine/rego.rs names regorus"]
    );
    assert!(faults("engine/rego.rs", "use regorus::Value;").is_empty());
    assert_eq!(faults("main.rs", &"\n".repeat(40)), ["main.rs: has 40 lines or more"]);
    assert!(faults("main.rs", &"\n".repeat(39)).is_empty());
}

#[test]
fn what_only_tests_see_and_what_only_looks_alike_is_left_alone() {
    let mut text =
        String::from("//! Uses no tokio::sync and no std::fs.\n\nuse crate::policy::Rule; // not crate::cli::x\n");
    for line in
        ["use crate::engine_room::X;", "let kube_version = 1;", "let x = input.kube;", "const TEXT: &str = \"a//b\";"]
    {
        let _ = writeln!(text, "{line}");
    }
    text.push_str("#[cfg(test)]\nuse std::fs;\n#[cfg(test)]\nmod tests;\n");
    text.push_str("#[cfg(test)]\n#[allow(clippy::unwrap_used, reason = \"a test\")]\nmod more {\n    fn f() {\n        println!(\"{}\", std::env::var(\"A\").unwrap());\n    }\n}\n");
    assert_eq!(faults("policy/a.rs", &text), Vec::<String>::new());
    let after = format!("{text}fn g() {{\n    std::process::exit(1);\n}}\n");
    let line = after.lines().position(|line| line.contains("exit")).map_or(0, |at| at + 1);
    assert_eq!(faults("policy/a.rs", &after), [format!("policy/a.rs:{line}: the pure core names std::process")]);
    assert!(faults("policy/tests.rs", "use std::fs;\nuse crate::config::Config;").is_empty());
}
