//! SQLite: one thread that writes, and a few connections that read beside it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::database::Job;
use super::schema::{self, Dialect};
use super::session::{Param, Row, Session, unreadable};
use super::{StoreError, Stored, Turn};

/// Connections that read at a time.
const READERS: usize = 4;

/// Writes that may wait for the writer before those who ask wait themselves.
const WAITING: usize = 64;

/// Statements that a connection keeps prepared.
const PREPARED: usize = 128;

/// Bytes of a page of a file that is made anew. Neighbours share larger pages, so that an audit writes fewer of them.
const PAGE_BYTES: u32 = 8 << 10;

/// Bytes in the write-ahead log before they go to the file itself.
const LOG_BYTES: u32 = 64 << 20;

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

type Write = Box<dyn FnOnce(&mut Connection) + Send>;

/// The file and its connections.
#[derive(Debug)]
pub(super) struct Sqlite {
    writer: mpsc::Sender<Write>,
    readers: Arc<Readers>,
    /// Turns of this process by name, with who of it has each: a lock ends with the process, however that ends.
    turns: Mutex<BTreeMap<String, (String, File)>>,
}

#[derive(Debug)]
struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens or makes the file, brings its schema up, and starts the writer.
    pub(super) async fn open(file: PathBuf) -> Stored<Self> {
        let path = file.clone();
        let opened = tokio::task::spawn_blocking(move || open_to_write(&path)).await;
        let mut connection = opened.map_err(|error| failed("opening the store")(error))??;
        let (writer, mut jobs) = mpsc::channel::<Write>(WAITING);
        let run = move || {
            while let Some(job) = jobs.blocking_recv() {
                job(&mut connection);
            }
        };
        std::thread::Builder::new().name("store-writer".into()).spawn(run).map_err(failed("starting the writer"))?;
        let turns = Arc::new(Semaphore::new(READERS));
        let readers = Arc::new(Readers { file, idle: Mutex::default(), turns });
        Ok(Self { writer, readers, turns: Mutex::default() })
    }

    /// Takes a turn, or keeps it: a lock on a file beside the store, which all processes that have it open share.
    pub(super) fn take_turn(&self, name: &str, holder: &str) -> Stored<Turn> {
        let taking = "taking a turn";
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((holder, _)) = turns.get(name) {
            return Ok(Turn { holder: holder.clone(), taken: 0 });
        }
        let store = self.readers.file.canonicalize().map_err(failed(taking))?;
        let number =
            Sha256::digest(name.as_bytes()).iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        let lock = File::create(store.with_extension(format!("{number:08x}.turn"))).map_err(failed(taking))?;
        match lock.try_lock() {
            Ok(()) => {
                turns.insert(name.to_owned(), (holder.to_owned(), lock));
                Ok(Turn { holder: holder.to_owned(), taken: 0 })
            }
            Err(TryLockError::WouldBlock) => Ok(Turn { holder: "another process".into(), taken: 0 }),
            Err(TryLockError::Error(error)) => Err(failed(taking)(error)),
        }
    }

    /// Gives a turn up.
    pub(super) fn leave_turn(&self, name: &str, holder: &str) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(name).is_some_and(|(other, _)| other == holder) {
            turns.remove(name);
        }
    }

    /// Runs a job in one transaction on the writer's thread.
    pub(super) async fn write<T: Send + 'static>(&self, job: Job<T>) -> Stored<T> {
        let (answer, answered) = oneshot::channel();
        let write: Write = Box::new(move |connection| {
            // Whoever asked may have gone; what was written is written.
            let _ = answer.send(in_transaction(connection, "BEGIN IMMEDIATE", job));
        });
        self.writer.send(write).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs a job that only reads, on one picture of the store.
    pub(super) async fn read<T: Send + 'static>(&self, job: Job<T>) -> Stored<T> {
        let turn = Arc::clone(&self.readers.turns).acquire_owned().await.map_err(failed("waiting to read"))?;
        let readers = Arc::clone(&self.readers);
        let read = move || {
            let _turn = turn;
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = idle.map_or_else(|| open_to_read(&readers.file), Ok)?;
            let answer = in_transaction(&mut connection, "BEGIN", job);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            answer
        };
        tokio::task::spawn_blocking(read).await.map_err(failed("reading the store"))?
    }
}

fn gone() -> StoreError {
    StoreError::Failed { context: "writing to the store", cause: "its writer has ended".into() }
}

fn failed<E: std::fmt::Display>(context: &'static str) -> impl Fn(E) -> StoreError {
    move |error| StoreError::Failed { context, cause: error.to_string() }
}

fn open_to_write(file: &Path) -> Stored<Connection> {
    let opening = "opening the store";
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).map_err(failed(opening))?;
    }
    make(file).map_err(failed(opening))?;
    // Of several processes that start at once, one brings the schema up and the others find it done.
    let lock = File::create(file.with_extension("lock")).map_err(failed(opening))?;
    lock.lock().map_err(failed(opening))?;
    let mut connection = Connection::open(file).map_err(failed(opening))?;
    prepare(&connection).map_err(failed(opening))?;
    schema::runner(Dialect::Sqlite)?.run(&mut connection).map_err(schema::failed)?;
    Ok(connection)
}

/// Makes the file for its owner only; the journals beside it take its rights.
fn make(file: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // An audit writes most pages of the indexes again and again: fewer of them go to the file in between.
    let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_BYTES / page_bytes.max(1))?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    add_functions(connection)
}

fn open_to_read(file: &Path) -> Stored<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(file, flags)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        add_functions(&connection)?;
        Ok(connection)
    };
    open().map_err(failed::<rusqlite::Error>("opening the store to read"))
}

/// Adds what PostgreSQL has in its schema.
fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("holds_word", -1, flags, |given| {
        let text = |at: usize| given.get_raw(at).as_str_or_null().map(Option::unwrap_or_default);
        let word = text(0)?;
        for at in 1..given.len() {
            if holds_word(text(at)?.as_bytes(), word.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    })?;
    connection.create_scalar_function("has_result", 2, flags, |given| {
        let text = |at: usize| given.get_raw(at).as_str();
        Ok(has_result(text(0)?, text(1)?))
    })
}

/// Returns whether one of the results has one of the values wanted in each of their fields.
fn has_result(wanted: &str, results: &str) -> bool {
    let wanted: BTreeMap<String, Vec<String>> = serde_json::from_str(wanted).unwrap_or_default();
    let results: Vec<BTreeMap<String, Json>> = serde_json::from_str(results).unwrap_or_default();
    let has = |result: &BTreeMap<String, Json>, (field, values): (&String, &Vec<String>)| {
        let value = result.get(field).and_then(Json::as_str);
        value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
    };
    results.iter().any(|result| wanted.iter().all(|field| has(result, field)))
}

/// Returns whether a text holds a word in lower case, in any case of A to Z.
fn holds_word(text: &[u8], word: &[u8]) -> bool {
    let Some((first, rest)) = word.split_first() else { return true };
    let begins = memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text);
    let mut after = begins.filter_map(|at| text.get(at.saturating_add(1)..)?.get(..rest.len()));
    after.any(|next| next.eq_ignore_ascii_case(rest))
}

/// Runs a job between `begin` and its end; by hand, because rusqlite's own transaction cannot go into a future.
fn in_transaction<T>(connection: &mut Connection, begin: &str, job: Job<T>) -> Stored<T> {
    connection.execute_batch(begin).map_err(failed("beginning a transaction"))?;
    let mut session = Statements(connection);
    // Nothing in it waits, for every statement is run where it stands.
    let answer = job(&mut session).now_or_never().unwrap_or_else(|| Err(unreadable("a statement waited")));
    let ended = answer
        .and_then(|answer| connection.execute_batch("COMMIT").map_err(failed("ending a transaction")).map(|()| answer));
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(failed("ending a transaction"))?;
    }
    ended
}

/// Runs statements on a connection.
struct Statements<'a>(&'a mut Connection);

impl Statements<'_> {
    fn rows(&self, sql: &str, params: &[Param]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(&numbered(sql))?;
        let columns = statement.column_count();
        let mut rows = statement.query(rusqlite::params_from_iter(params))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let cells = (0..columns).map(|column| row.get_ref(column).map(param)).collect::<rusqlite::Result<_>>()?;
            found.push(Row(cells));
        }
        Ok(found)
    }

    fn run_each(&self, sql: &str, each: &[Vec<Param>]) -> rusqlite::Result<u64> {
        let mut statement = self.0.prepare_cached(&numbered(sql))?;
        let mut changed = 0_u64;
        for params in each {
            let rows = statement.execute(rusqlite::params_from_iter(params))?;
            changed = changed.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX));
        }
        Ok(changed)
    }
}

/// `$1` is a name to SQLite and `?1` a number.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

fn param(value: ValueRef<'_>) -> Param {
    match value {
        ValueRef::Null => Param::Null,
        ValueRef::Integer(number) => Param::Int(number),
        ValueRef::Text(text) | ValueRef::Blob(text) => Param::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Real(number) => Param::Text(number.to_string()),
    }
}

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

#[async_trait]
impl Session for Statements<'_> {
    async fn rows(&mut self, sql: &str, params: Vec<Param>) -> Stored<Vec<Row>> {
        Statements::rows(self, sql, &params).map_err(failed("reading the store"))
    }

    async fn run(&mut self, sql: &str, params: Vec<Param>) -> Stored<u64> {
        Statements::run_each(self, sql, &[params]).map_err(failed("writing to the store"))
    }

    async fn run_each(&mut self, sql: &str, each: Vec<Vec<Param>>) -> Stored<u64> {
        Statements::run_each(self, sql, &each).map_err(failed("writing to the store"))
    }
}
