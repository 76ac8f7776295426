//! A real PostgreSQL server for the tests: apt's programs on a directory and a port of their own.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::store::url::Encryption;
use crate::store::{Address, Remote};

/// Where Debian keeps each version's programs; a `PATH` may have them too.
const VERSIONS: &str = "/usr/lib/postgresql";

const PASSWORD: &str = "not: @ secret?";

/// `PASSWORD` as a URL has it.
const PASSWORD_IN_URL: &str = "not%3A%20%40%20secret%3F";

/// Ends the server, at once, when standard input ends, however the tests end; without a word before, it takes the
/// directory away, too. `postgres` itself is `$1`, its data `$2`, its port `$3`.
const KEEPER: &str = r#"
"$1" -D "$2" -p "$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$2" -c fsync=off \
  -c max_connections=200 -c shared_buffers=32MB -c ssl="$4" </dev/null >>"$2/log" 2>&1 &
server=$!
trap '' INT TERM HUP
word=$(cat)
kill -QUIT "$server"
wait "$server"
[ -n "$word" ] || rm -rf "$PWD"
"#;

/// A server that does not outlive the tests.
#[derive(Debug)]
pub(super) struct Server {
    programs: PathBuf,
    user: Option<(u32, u32)>,
    directory: TempDir,
    port: u16,
    ssl: &'static str,
    keeper: Mutex<Option<Child>>,
}

impl Server {
    /// Makes and starts a server; says why not where there is no PostgreSQL.
    pub(super) fn start() -> Result<Self, String> {
        let programs = programs().ok_or_else(|| format!("there is no PostgreSQL below {VERSIONS}"))?;
        let directory = tempfile::Builder::new().prefix("gatepost-postgres-").tempdir().map_err(text)?;
        let user = other_user()?;
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group)).map_err(text)?;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).map_err(text)?.port();
        let server = Self { programs, user, directory, port, ssl: "off", keeper: Mutex::default() };
        server.initialise()?;
        server.restart()?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn initialise(&self) -> Result<(), String> {
        let password = self.directory.path().join("password");
        fs::write(&password, PASSWORD).map_err(text)?;
        let mut made = self.command(&self.programs.join("initdb"));
        made.args(["--no-sync", "--no-locale", "--encoding=UTF8", "--username=gatepost", "--auth=scram-sha-256"]);
        made.arg("--pwfile").arg(&password).arg("-D").arg(self.data());
        let made = made.output().map_err(text)?;
        if made.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&made.stderr).into_owned()) }
    }

    /// Has the server speak TLS, too.
    pub(super) fn with_certificate(mut self, certificate: &str, key: &str) -> Result<Self, String> {
        self.stop();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data().join(name);
            fs::write(&path, text).map_err(self::text)?;
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(self::text)?;
            if let Some((user, group)) = self.user {
                chown(&path, Some(user), Some(group)).map_err(self::text)?;
            }
        }
        self.ssl = "on";
        self.restart()?;
        Ok(self)
    }

    /// Starts the server on what it has kept.
    pub(super) fn restart(&self) -> Result<(), String> {
        let mut keeper = self.command(Path::new("sh"));
        keeper.args(["-c", KEEPER, "gatepost-postgres"]).arg(self.programs.join("postgres")).arg(self.data());
        keeper.args([&self.port.to_string(), self.ssl]).stdin(Stdio::piped()).process_group(0);
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper.spawn().map_err(text)?);
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.answers() {
            if Instant::now() > deadline {
                return Err(fs::read_to_string(self.data().join("log")).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends the server and waits until it is gone.
    pub(super) fn stop(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut keeper) = keeper {
            let _ = keeper.stdin.take().map(|mut stdin| stdin.write_all(b"stay"));
            let _ = keeper.wait();
        }
    }

    fn answers(&self) -> bool {
        let mut ready = self.command(&self.programs.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    /// A command as somebody whom PostgreSQL serves: it refuses root.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes an empty database and returns its URL.
    pub(super) async fn database(&self, name: &str) -> String {
        let client = client(&remote(&self.url("postgres"))).await;
        client.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await.unwrap();
        self.url(name)
    }

    /// Returns the URL of a database.
    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://gatepost:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns what a store is opened by.
pub(super) fn remote(url: &str) -> Remote {
    Remote { address: Address::Url(url.parse().unwrap()), authority: None }
}

/// Connects past the store.
pub(super) async fn client(remote: &Remote) -> tokio_postgres::Client {
    let Address::Url(url) = &remote.address else { panic!("a URL") };
    let (client, connection) = url.config(Encryption::Disable).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Says that the running test is skipped, and why; where `CI=true`, that is a failure.
pub(super) fn skip(reason: &str) {
    assert!(std::env::var("CI").map_or(true, |ci| ci != "true"), "no PostgreSQL to test on: {reason}");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Past the test harness's capture: nobody should take this for a proof.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}, which needs PostgreSQL (apt's postgresql): {reason}");
}

fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    versions.filter(|bin| bin.join("initdb").exists()).max()
}

/// Returns whom the server runs as: none where that is us.
fn other_user() -> Result<Option<(u32, u32)>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(text)?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.map(Some).ok_or_else(|| "it does not run as root, and there is no user postgres".into())
}

#[allow(clippy::needless_pass_by_value, reason = "goes into map_err")]
fn text(error: std::io::Error) -> String {
    error.to_string()
}
