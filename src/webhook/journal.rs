//! What came in under break-glass: one JSON line each in the data directory, written off the request's path.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};

/// Name of the file in the data directory; older ones have `.1`, `.2` and so on behind it.
pub const FILE: &str = "break-glass.jsonl";
/// A file that would grow larger is moved aside first.
const FILE_BYTES: u64 = 10 << 20;
/// So many are kept aside.
const OLDER: usize = 4;
/// So many lines may wait for the disk.
const QUEUE: usize = 1024;

/// A request that was admitted only because glass was broken in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admitted {
    /// When it was admitted, RFC 3339.
    pub time: String,
    /// The incident.
    pub incident: String,
    /// Until when glass was broken, RFC 3339.
    pub until: String,
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub operation: String,
    /// Group and version of the object.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name, or what it is to be made of.
    pub name: String,
    /// Who asked.
    pub user: String,
    /// The rules that would have denied it.
    pub rules: Vec<String>,
    /// Uid of the request, as in the log.
    pub uid: String,
    /// Whether a client certificate vouches for the request.
    pub verified: bool,
}

/// Writes the list. Dropping it waits until what was handed in is written.
#[derive(Debug)]
pub struct Journal {
    sender: Option<SyncSender<Admitted>>,
    writer: Option<JoinHandle<()>>,
    lost: Counter,
}

impl Journal {
    /// Starts the thread that writes below a data directory; `lost` counts what could not be written.
    pub fn start(data_dir: &Path, lost: Counter) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (mut file, counter) = (Rotated::new(data_dir.join(FILE), FILE_BYTES), lost.clone());
        let write = move || write_all(&receiver, &mut file, &counter);
        let writer = thread::Builder::new().name("gatepost-journal".into()).spawn(write)?;
        Ok(Self { sender: Some(sender), writer: Some(writer), lost })
    }

    /// Hands a line in. It never waits: a list that is behind loses the line, and counts it.
    pub fn keep(&self, admitted: Admitted) {
        if self.sender.as_ref().is_none_or(|sender| sender.try_send(admitted).is_err()) {
            self.lost.inc();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_all(receiver: &Receiver<Admitted>, file: &mut Rotated, lost: &Counter) {
    let mut is_failing = false;
    while let Ok(admitted) = receiver.recv() {
        let line = serde_json::to_string(&admitted).map_err(io::Error::from);
        let written = line.and_then(|line| file.append(&line));
        if let Err(error) = &written {
            lost.inc();
            // Once, not with every line: the disk may stay full for long.
            if !is_failing {
                tracing::error!(path = %file.path.display(), %error, "break-glass admissions cannot be listed");
            }
        }
        is_failing = written.is_err();
    }
}

/// A file of lines that is moved aside when it is full.
struct Rotated {
    path: PathBuf,
    limit: u64,
    /// The last line may have been written in part.
    is_torn: bool,
}

impl Rotated {
    fn new(path: PathBuf, limit: u64) -> Self {
        Self { path, limit, is_torn: true }
    }

    /// Appends a line. The file is opened anew each time: lines are few, and whoever moves it away loses none.
    fn append(&mut self, line: &str) -> io::Result<()> {
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if size > 0 && size.saturating_add(length) >= self.limit {
            self.rotate()?;
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let is_torn = std::mem::replace(&mut self.is_torn, true) && !ends_with_a_line(&self.path)?;
        let text = format!("{}{line}\n", if is_torn { "\n" } else { "" });
        file.write_all(text.as_bytes())?;
        self.is_torn = false;
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..OLDER).rev() {
            move_if_there(&older(&self.path, number), &older(&self.path, number.saturating_add(1)))?;
        }
        move_if_there(&self.path, &older(&self.path, 1))
    }
}

fn older(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn ends_with_a_line(path: &Path) -> io::Result<bool> {
    use std::io::{Read as _, Seek as _, SeekFrom};

    let mut file = fs::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// What a data directory lists.
#[derive(Debug, Default)]
pub struct Listing {
    /// The oldest first.
    pub admitted: Vec<Admitted>,
    /// Lines that cannot be read, for example the last one before a disk was full.
    pub unreadable: usize,
}

/// Reads what a data directory lists; a directory in which nothing was ever written lists nothing.
pub fn read(data_dir: &Path) -> io::Result<Listing> {
    fs::read_dir(data_dir)?;
    let path = data_dir.join(FILE);
    let mut listing = Listing::default();
    let files = (1..=OLDER).rev().map(|number| older(&path, number)).chain([path.clone()]);
    for file in files {
        let text = match fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            match serde_json::from_str(line) {
                Ok(admitted) => listing.admitted.push(admitted),
                Err(_) => listing.unreadable = listing.unreadable.saturating_add(1),
            }
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(name: &str) -> Admitted {
        Admitted {
            time: "2026-06-01T08:00:00Z".into(),
            incident: "INC-1".into(),
            until: "2026-06-01T09:00:00Z".into(),
            operation: "CREATE".into(),
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: name.into(),
            user: "jane\n".into(),
            rules: vec!["container-privileged".into()],
            uid: "u".into(),
            verified: false,
        }
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing.admitted.iter().map(|admitted| admitted.name.as_str()).collect()
    }

    #[test]
    fn what_was_handed_in_is_listed_when_the_journal_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(names(&read(folder.path()).unwrap()).is_empty(), "nothing yet");
        let journal = Journal::start(folder.path(), Counter::default()).unwrap();
        for name in ["a", "b", "c"] {
            journal.keep(admitted(name));
        }
        drop(journal);
        let listing = read(folder.path()).unwrap();
        assert_eq!((names(&listing), listing.unreadable), (vec!["a", "b", "c"], 0));
        assert_eq!(listing.admitted[0], admitted("a"));
        assert!(read(&folder.path().join("elsewhere")).is_err(), "a wrong directory is no empty list");
    }

    #[test]
    fn its_size_is_bounded_and_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let line = serde_json::to_string(&admitted("000")).unwrap();
        let limit = u64::try_from(line.len() * 3 + 4).unwrap();
        let mut file = Rotated::new(folder.path().join(FILE), limit);
        for number in 0..100 {
            file.append(&serde_json::to_string(&admitted(&format!("{number:03}"))).unwrap()).unwrap();
        }
        let files: Vec<u64> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert!(files.len() == OLDER + 1 && files.iter().all(|size| *size <= limit), "{files:?}");
        let listing = read(folder.path()).unwrap();
        let expected: Vec<String> = (100 - listing.admitted.len()..100).map(|number| format!("{number:03}")).collect();
        assert_eq!(names(&listing), expected, "without a gap, in order");
        assert!(listing.admitted.len() > 3 * OLDER);
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{\"time\": \"2026").unwrap();
        let mut file = Rotated::new(folder.path().join(FILE), FILE_BYTES);
        file.append(&serde_json::to_string(&admitted("next")).unwrap()).unwrap();
        let listing = read(folder.path()).unwrap();
        assert_eq!((names(&listing), listing.unreadable), (vec!["next"], 1));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let lost = Counter::default();
        let journal = Journal::start(&data_dir, lost.clone()).unwrap();
        journal.keep(admitted("a"));
        drop(journal);
        assert_eq!(lost.get(), 1);
        fs::create_dir(&data_dir).unwrap();
        let journal = Journal::start(&data_dir, lost.clone()).unwrap();
        journal.keep(admitted("b"));
        drop(journal);
        assert_eq!((names(&read(&data_dir).unwrap()), lost.get()), (vec!["b"], 1));
    }
}
