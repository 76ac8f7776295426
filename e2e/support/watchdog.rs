//! Ends what the tests started, however the tests end: by returning, by panicking, or by being killed.
//!
//! A small shell holds the other end of a pipe. When this process goes, the kernel closes the pipe, the shell reads
//! its end, kills every process it was told of by its pid, and takes the state directory away.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Context;

/// Set to keep the state directory, with every log in it, for a look afterwards.
const KEEP: &str = "GATEPOST_E2E_KEEP";

/// Reads `kill PID` and `spare PID` lines; `$1`, if there is one, is the directory to remove in the end.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
doomed=''
while read -r verb pid; do
  case $verb in
    kill) doomed="$doomed $pid" ;;
    spare) set -- "${1-}" $doomed; doomed=''
      directory=$1; shift
      for other; do [ "$other" = "$pid" ] || doomed="$doomed $other"; done
      set -- "$directory" ;;
  esac
done
for pid in $doomed; do kill -9 "$pid"; done
[ -n "${1-}" ] || exit 0
for _ in 1 2 3 4 5; do rm -rf "$1" && exit 0; sleep 1; done
"#;

static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(Watchdog::start);

struct Watchdog {
    state: PathBuf,
    shell: Mutex<Child>,
}

impl Watchdog {
    /// Starts the shell in a process group of its own, where a terminal's Ctrl-C does not reach it.
    fn start() -> Self {
        let state = tempfile::Builder::new().prefix("gatepost-e2e-").tempdir().expect("a state directory").keep();
        let removed = if std::env::var_os(KEEP).is_some() { Path::new("") } else { &state };
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "gatepost-e2e-watchdog"])
            .arg(removed)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self { state, shell: Mutex::new(shell) }
    }

    fn order(&self, verb: &str, pid: u32) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = shell.stdin.as_mut().expect("the stdin asked for");
        // Without its watchdog this process still ends what it drops.
        let _ = writeln!(orders, "{verb} {pid}");
    }
}

/// Returns the directory that holds everything this run writes; it goes when the run ends.
pub fn state_directory() -> &'static Path {
    &WATCHDOG.state
}

/// A process that does not outlive this one; dropping it kills it.
#[derive(Debug)]
pub struct Guarded(Child);

impl Guarded {
    /// Starts a command with nothing to read.
    pub fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        WATCHDOG.order("kill", child.id());
        Ok(Self(child))
    }

    /// Returns the process's id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Returns how the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.0.wait()?)
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        // Spared before it is reaped: until then nothing else can have its pid.
        WATCHDOG.order("spare", self.0.id());
        let _ = self.0.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}
