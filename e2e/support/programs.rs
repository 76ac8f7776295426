//! The control plane's programs, all in one that is built from `e2e/cluster`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::go::Module;

/// Names a directory that holds etcd, kube-apiserver and kubectl, as `setup-envtest` lays them out.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

const GO_MOD: &str = include_str!("../cluster/go.mod");
const SOURCES: [&str; 3] = [GO_MOD, include_str!("../cluster/go.sum"), include_str!("../cluster/main.go")];

/// A program, and what makes it play one component.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    component: Option<&'static str>,
}

impl Program {
    /// Returns what one component of a program is.
    pub fn component(path: PathBuf, component: &'static str) -> Self {
        Self { path, component: Some(component) }
    }

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
        let module = Module {
            folder: "cluster",
            prebuilt: "GATEPOST_E2E_CLUSTER",
            sources: &SOURCES,
            linker_flags: linker_flags()?,
            takes: "6 minutes on 2 cores",
        };
        let built = match module.program()? {
            Ok(built) => built,
            Err(reason) => return Ok(Err(reason)),
        };
        let assets = std::env::var_os(ASSETS).map(PathBuf::from);
        let program = |component: &'static str| match assets.as_ref().map(|directory| directory.join(component)) {
            // envtest has no controller manager.
            Some(path) if component != "kube-controller-manager" && path.is_file() => Program { path, component: None },
            _ => Program::component(built.clone(), component),
        };
        Ok(Ok(Self {
            etcd: program("etcd"),
            apiserver: program("kube-apiserver"),
            controllers: program("kube-controller-manager"),
            kubectl: program("kubectl"),
        }))
    }
}

/// Tells the components their version, which Kubernetes' own build sets this way.
fn linker_flags() -> anyhow::Result<String> {
    let version = kubernetes_version()?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    Ok(format!("-X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"))
}

/// Returns the version of Kubernetes that `go.mod` requires, for example `v1.36.3`.
pub fn kubernetes_version() -> anyhow::Result<&'static str> {
    GO_MOD
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .context("e2e/cluster/go.mod does not require k8s.io/kubernetes")
}
