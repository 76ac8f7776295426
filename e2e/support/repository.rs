//! A Git repository on this machine, from which Argo CD takes what it applies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::objects::{Object, documents};

/// A repository with one branch.
#[derive(Debug)]
pub struct Repository {
    directory: PathBuf,
    /// Git itself gives up where another commit is under way.
    commits: Mutex<()>,
}

impl Repository {
    /// Returns whether this machine has Git.
    pub fn is_possible() -> bool {
        Command::new("git").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Makes an empty repository.
    pub fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("a directory for the repository");
        let repository = Self { directory: directory.to_owned(), commits: Mutex::default() };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Returns how Argo CD names it.
    pub fn url(&self) -> String {
        format!("file://{}", self.directory.display())
    }

    /// Commits objects as the one file of a folder, in the place of what was there.
    pub fn commit<'a>(&self, folder: &str, objects: impl IntoIterator<Item = &'a Object>) {
        let _one_at_a_time = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.directory.join(folder);
        fs::create_dir_all(&folder).expect("a folder of the repository");
        fs::write(folder.join("objects.yaml"), documents(objects)).expect("a file of the repository");
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=Change"]);
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(&self.directory)
            .output()
            .expect("git starts");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
