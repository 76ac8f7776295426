//! Go programs of the project's own: built once from a folder of `e2e/` and kept under `target/e2e`, or brought along.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::watchdog::Guarded;

/// A Go module that makes one program.
#[derive(Debug)]
pub struct Module {
    /// Its folder in `e2e/`.
    pub folder: &'static str,
    /// The environment variable that names a program built elsewhere.
    pub prebuilt: &'static str,
    /// Everything that goes into the program, which tells one build from another.
    pub sources: &'static [&'static str],
    /// What the linker is told beside leaving debug information out.
    pub linker_flags: String,
    /// How long the first build takes.
    pub takes: &'static str,
}

impl Module {
    /// Finds or builds the program; `None`, with a reason, where this machine has neither it nor Go.
    pub fn program(&self) -> anyhow::Result<Result<PathBuf, String>> {
        let Self { folder, prebuilt, .. } = self;
        let program = match std::env::var_os(prebuilt) {
            Some(path) => PathBuf::from(path),
            None if !has_go() => {
                return Ok(Err(format!("there is no Go toolchain to build e2e/{folder} with, and no {prebuilt}")));
            }
            None => self.build()?,
        };
        if !program.is_file() {
            bail!("{prebuilt} names {}, which is no file", program.display());
        }
        Ok(Ok(program))
    }

    /// Returns the folder that holds the sources of a module which this one requires, downloading it if need be.
    pub fn source_of(&self, module: &str) -> anyhow::Result<PathBuf> {
        let found = Command::new("go").args(["mod", "download", "-json", module]).current_dir(self.path()).output()?;
        let found: serde_json::Value = serde_json::from_slice(&found.stdout).context("go mod download answers JSON")?;
        let folder = found["Dir"].as_str().with_context(|| format!("{module} is not to be had: {found}"))?;
        Ok(PathBuf::from(folder))
    }

    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e").join(self.folder)
    }

    /// Builds the program unless it stands there already; one build at a time, whoever asks.
    fn build(&self) -> anyhow::Result<PathBuf> {
        let directory = target_directory()?.join("e2e");
        fs::create_dir_all(&directory)?;
        let lock = File::create(directory.join("build.lock"))?;
        lock.lock().context("cannot lock target/e2e/build.lock")?;
        let program = directory.join(format!("{}-{}", self.folder, self.fingerprint()));
        if !program.is_file() {
            // Past the test harness's capture: the first build takes minutes, and silence would look like a hang.
            let _ = writeln!(std::io::stderr(), "e2e: building e2e/{}, {} the first time", self.folder, self.takes);
            let unfinished = directory.join(format!("unfinished-{}", std::process::id()));
            let built = self.go_build(&unfinished);
            if built.is_err() {
                let _ = fs::remove_file(&unfinished);
            }
            built?;
            fs::rename(&unfinished, &program)?;
        }
        Ok(program)
    }

    fn go_build(&self, output: &Path) -> anyhow::Result<()> {
        let log = output.with_extension("log");
        let mut go = Command::new("go");
        go.args(["build", "-ldflags", &format!("-s -w {}", self.linker_flags), "-o"])
            .args([output.as_os_str(), OsStr::new(".")])
            .current_dir(self.path())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let status = Guarded::spawn(&mut go)?.wait()?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        if !status.success() {
            bail!("go build of e2e/{} failed ({status}):\n{said}", self.folder);
        }
        Ok(())
    }

    fn fingerprint(&self) -> String {
        let digest = self.sources.iter().fold(Sha256::new(), Digest::chain_update).finalize();
        digest.iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

fn has_go() -> bool {
    Command::new("go")
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns cargo's target directory, wherever it was put.
fn target_directory() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("cargo's temporary directory has no parent")
}
