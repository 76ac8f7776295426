//! kubectl as users run it, and what it answers.

use std::borrow::Borrow;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread;

use super::objects::{Object, documents};
use super::programs::Program;

/// What kubectl puts before a webhook's own words.
const DENIED: &str = "denied the request: ";

/// kubectl for one cluster, in one namespace once that is named.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: Program,
    kubeconfig: PathBuf,
    cache: PathBuf,
    namespace: Option<String>,
}

impl Kubectl {
    /// Returns kubectl for the cluster of this kubeconfig.
    pub fn new(program: Program, kubeconfig: &Path, cache: &Path) -> Self {
        Self { program, kubeconfig: kubeconfig.to_owned(), cache: cache.to_owned(), namespace: None }
    }

    /// Returns the same kubectl, at work in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Runs a request and returns the answer, whatever it is.
    pub fn run(&self, request: impl Borrow<Request>) -> Answer {
        let request = request.borrow();
        let mut command = self.program.command();
        command.args(&request.arguments).arg("--kubeconfig").arg(&self.kubeconfig).arg("--request-timeout=60s");
        if let Some(namespace) = &self.namespace {
            command.args(["--namespace", namespace]);
        }
        command.env("KUBECACHEDIR", &self.cache).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("the stdin asked for");
        let output = thread::scope(|scope| {
            // From beside: kubectl prints while it reads. A broken pipe shows in its answer.
            scope.spawn(move || stdin.write_all(request.input.as_bytes()));
            child.wait_with_output().expect("kubectl ends")
        });
        Answer::new(request, &output)
    }

    /// Runs a request that must succeed.
    #[track_caller]
    pub fn accepts(&self, request: impl Borrow<Request>) -> Answer {
        let answer = self.run(request);
        assert!(answer.succeeded, "should be accepted: {answer}");
        answer
    }

    /// Runs a request that an admission webhook must deny; any other failure fails the test.
    #[track_caller]
    pub fn rejects(&self, request: impl Borrow<Request>) -> Answer {
        let answer = self.run(request);
        assert!(answer.denial().is_some(), "should be denied by the webhook: {answer}");
        answer
    }
}

/// One call of kubectl.
#[derive(Debug, Clone)]
pub struct Request {
    arguments: Vec<String>,
    input: String,
}

/// Returns a call that is written as in a shell, with single spaces and without quotes.
pub fn kubectl(command: &str) -> Request {
    Request { arguments: command.split_whitespace().map(str::to_owned).collect(), input: String::new() }
}

/// Returns `kubectl apply` of one object.
pub fn apply(object: &Object) -> Request {
    kubectl("apply -f -").reading([object])
}

/// Returns `kubectl create` of one object.
pub fn create(object: &Object) -> Request {
    kubectl("create -f -").reading([object])
}

/// Returns `kubectl replace`: an UPDATE with the whole object.
pub fn replace(object: &Object) -> Request {
    kubectl("replace -f -").reading([object])
}

/// Returns `kubectl patch` with a JSON merge patch, or with a JSON patch if it is a list.
pub fn patch(target: &str, patch: &serde_json::Value) -> Request {
    let form = if patch.is_array() { "json" } else { "merge" };
    kubectl(&format!("patch {target} --type={form}")).with(&format!("--patch={patch}"))
}

impl Request {
    /// Adds one argument, which may hold spaces.
    pub fn with(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets the objects on standard input.
    pub fn reading<'a>(mut self, objects: impl IntoIterator<Item = &'a Object>) -> Self {
        self.input = documents(objects);
        self
    }

    /// Makes it a server-side dry run: everything happens but the write.
    pub fn dry_run(self) -> Self {
        self.with("--dry-run=server")
    }

    /// Acts as another user, with no rights but those that its roles give it.
    pub fn by(self, name: &str) -> Self {
        self.with(&format!("--as={name}"))
    }

    /// Acts as another user, who may do everything too but is no controller.
    pub fn acting_as(self, name: &str) -> Self {
        self.with(&format!("--as={name}")).with("--as-group=system:masters")
    }
}

/// What kubectl printed, and whether it succeeded.
#[derive(Debug, Clone)]
pub struct Answer {
    command: String,
    succeeded: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    fn new(request: &Request, output: &Output) -> Self {
        Self {
            command: request.arguments.join(" "),
            succeeded: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Returns whether kubectl succeeded.
    pub fn succeeded(&self) -> bool {
        self.succeeded
    }

    /// Returns Gatepost's warnings, without kubectl's `Warning: ` and with their own `gatepost: `.
    pub fn warnings(&self) -> Vec<&str> {
        let lines = self.stderr.lines().filter_map(|line| line.strip_prefix("Warning: "));
        lines.filter(|warning| warning.starts_with("gatepost: ")).collect()
    }

    /// Returns the words with which a webhook denied the request, if one did.
    pub fn denial(&self) -> Option<&str> {
        let told = self.stderr.find(DENIED)? + DENIED.len();
        if self.succeeded { None } else { self.stderr.get(told..) }
    }

    /// Asserts that the denial holds a text.
    #[track_caller]
    pub fn denies_for(&self, text: &str) -> &Self {
        assert!(self.denial().is_some_and(|denial| denial.contains(text)), "should be denied for {text:?}: {self}");
        self
    }

    /// Asserts that a warning holds a text.
    #[track_caller]
    pub fn warns_of(&self, text: &str) -> &Self {
        assert!(self.warnings().iter().any(|warning| warning.contains(text)), "should warn of {text:?}: {self}");
        self
    }

    /// Asserts that no warning came from Gatepost.
    #[track_caller]
    pub fn is_silent(&self) -> &Self {
        assert!(self.warnings().is_empty(), "should not warn: {self}");
        self
    }

    /// Returns the objects that `-o json` printed, one after the other.
    #[track_caller]
    pub fn objects(&self) -> Vec<Object> {
        let objects = serde_json::Deserializer::from_str(&self.stdout).into_iter().collect::<Result<_, _>>();
        objects.unwrap_or_else(|error| panic!("{error} in {self}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.succeeded { "succeeded" } else { "failed" };
        write!(f, "`kubectl {}` {outcome}\nstdout: {}\nstderr: {}", self.command, self.stdout, self.stderr)
    }
}
