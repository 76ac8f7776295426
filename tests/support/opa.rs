//! Open Policy Agent itself, built once from `e2e/opa` and kept under `target/e2e`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

const SOURCES: [&str; 5] = [
    include_str!("../../e2e/opa/go.mod"),
    include_str!("../../e2e/opa/go.sum"),
    include_str!("../../e2e/opa/main.go"),
    include_str!("../../e2e/opa/judge.go"),
    include_str!("../../e2e/opa/serve.go"),
];

/// A running evaluator that answers one JSON line with another.
pub struct Opa {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

impl Opa {
    /// Starts OPA; none, having said why, where there is no Go. In CI that is a failure.
    pub fn start() -> Option<Self> {
        if Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            assert!(std::env::var_os("CI").is_none(), "there is no Go toolchain to build e2e/opa with");
            eprintln!("skipped: there is no Go toolchain to build e2e/opa with, so OPA is not asked");
            return None;
        }
        let mut child =
            Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("opa-judge starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Some(Self { child, input, output })
    }

    /// Evaluates a query; an error is its text.
    pub fn ask(&mut self, modules: &Value, query: &str, input: &Value) -> Result<Value, String> {
        let line = serde_json::json!({"modules": modules, "query": query, "input": input});
        let pipe = self.input.as_mut().expect("not closed yet");
        writeln!(pipe, "{line}").expect("opa-judge reads");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("opa-judge answers");
        let answer: Value = serde_json::from_str(&answer).expect("opa-judge answers JSON");
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].clone()),
        }
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target").join("e2e");
    fs::create_dir_all(&folder).expect("target/e2e can be made");
    let lock = File::create(folder.join("opa.lock")).expect("target/e2e/opa.lock can be made");
    lock.lock().expect("target/e2e/opa.lock can be locked");
    let digest = SOURCES.iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    let digest = digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let program = folder.join(format!("opa-judge-{digest}"));
    if !program.is_file() {
        let status = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/opa"))
            .status()
            .expect("go runs");
        assert!(status.success(), "go build of e2e/opa failed");
    }
    program
}
