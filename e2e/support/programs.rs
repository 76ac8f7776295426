//! The control plane's programs: built once from `e2e/cluster` and kept under `target/e2e`, or brought along.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::watchdog::Guarded;

/// Names a program built elsewhere from `e2e/cluster`, so that nothing is built here.
const PREBUILT: &str = "GATEPOST_E2E_CLUSTER";
/// Names a directory that holds etcd, kube-apiserver and kubectl, as `setup-envtest` lays them out.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

const GO_MOD: &str = include_str!("../cluster/go.mod");
const GO_SUM: &str = include_str!("../cluster/go.sum");
const MAIN_GO: &str = include_str!("../cluster/main.go");

/// A program, and what makes it play one component.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    component: Option<&'static str>,
}

impl Program {
    /// Returns a command without arguments of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(self.component);
        command
    }
}

/// What a control plane is made of.
#[derive(Debug)]
pub struct Programs {
    pub etcd: Program,
    pub apiserver: Program,
    pub controllers: Program,
    pub kubectl: Program,
}

impl Programs {
    /// Finds or builds the programs; `None`, with a reason, where this machine has neither them nor Go.
    pub fn find() -> anyhow::Result<Result<Self, String>> {
        let built = match std::env::var_os(PREBUILT) {
            Some(path) => PathBuf::from(path),
            None if !has_go() => {
                return Ok(Err(format!("there is no Go toolchain to build e2e/cluster with, and no {PREBUILT}")));
            }
            None => build()?,
        };
        if !built.is_file() {
            bail!("{PREBUILT} names {}, which is no file", built.display());
        }
        let assets = std::env::var_os(ASSETS).map(PathBuf::from);
        let program = |component: &'static str| match assets.as_ref().map(|directory| directory.join(component)) {
            // envtest has no controller manager.
            Some(path) if component != "kube-controller-manager" && path.is_file() => Program { path, component: None },
            _ => Program { path: built.clone(), component: Some(component) },
        };
        Ok(Ok(Self {
            etcd: program("etcd"),
            apiserver: program("kube-apiserver"),
            controllers: program("kube-controller-manager"),
            kubectl: program("kubectl"),
        }))
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

/// Builds the program unless it stands there already; one build at a time, whoever asks.
fn build() -> anyhow::Result<PathBuf> {
    let directory = target_directory()?.join("e2e");
    fs::create_dir_all(&directory)?;
    let lock = File::create(directory.join("build.lock"))?;
    lock.lock().context("cannot lock target/e2e/build.lock")?;
    let program = directory.join(format!("cluster-{}", fingerprint()));
    if !program.is_file() {
        // Past the test harness's capture: the first build takes minutes, and silence would look like a hang.
        let _ = writeln!(std::io::stderr(), "e2e: building the control plane, 6 minutes on 2 cores the first time");
        let unfinished = directory.join(format!("unfinished-{}", std::process::id()));
        let built = go_build(&unfinished);
        if built.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        built?;
        fs::rename(&unfinished, &program)?;
    }
    Ok(program)
}

fn go_build(output: &Path) -> anyhow::Result<()> {
    let log = output.with_extension("log");
    let mut go = Command::new("go");
    go.args(["build", "-ldflags", &linker_flags()?, "-o"])
        .args([output.as_os_str(), OsStr::new(".")])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster"))
        .stdout(Stdio::null())
        .stderr(File::create(&log)?);
    let status = Guarded::spawn(&mut go)?.wait()?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    if !status.success() {
        bail!("go build of e2e/cluster failed ({status}):\n{said}");
    }
    Ok(())
}

/// Tells the components their version, which Kubernetes' own build sets this way.
fn linker_flags() -> anyhow::Result<String> {
    let version = kubernetes_version()?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    Ok(format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"))
}

/// Returns the version of Kubernetes that `go.mod` requires, for example `v1.36.3`.
pub fn kubernetes_version() -> anyhow::Result<&'static str> {
    GO_MOD
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .context("e2e/cluster/go.mod does not require k8s.io/kubernetes")
}

/// Returns what tells one build from another: everything that goes into it.
fn fingerprint() -> String {
    let digest = Sha256::new().chain_update(GO_MOD).chain_update(GO_SUM).chain_update(MAIN_GO).finalize();
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns cargo's target directory, wherever it was put.
fn target_directory() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("cargo's temporary directory has no parent")
}
