//! From the paths that a user names to pieces of work.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use ignore::{DirEntry, Walk, WalkBuilder};

use super::split::split_all;
use super::{Chunk, Fault, Splitter};

/// Name of the standard input, as an argument and in reports.
pub const STDIN: &str = "-";
/// Files above this size are split, so that every core can work on one of them and none holds it whole.
const LARGE_BYTES: u64 = 512 * 1024;
/// Documents of a large file are worked on in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;

/// What the paths that a user names stand for; they can be walked more than once.
#[derive(Debug)]
pub struct Inputs {
    roots: Vec<Root>,
}

#[derive(Debug)]
enum Root {
    File(PathBuf),
    Directory(PathBuf),
    Glob {
        base: PathBuf,
        matcher: GlobMatcher,
        pattern: String,
        any_extension: bool,
    },
    /// What can be read only once: the standard input, a pipe.
    Buffered {
        name: Arc<str>,
        bytes: Arc<[u8]>,
    },
    Faulty {
        name: String,
        fault: Fault,
    },
}

/// One piece of work: a file, or a part of a large one.
#[derive(Debug)]
pub struct Piece {
    /// Name of the file in reports.
    pub file: Arc<str>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(PathBuf),
    Chunks(Vec<Result<Chunk, Fault>>),
    Fault(Fault),
}

impl Piece {
    /// Reads the documents, unless `is_wanted` says of a file's bytes that they need not be looked at.
    pub fn chunks(self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Result<Chunk, Fault>> {
        match self.content {
            Content::Fault(fault) => vec![Err(fault)],
            Content::Chunks(chunks) => chunks,
            Content::File(path) => {
                let bytes = match fs::read(&path) {
                    Ok(bytes) => bytes,
                    Err(error) => return vec![Err(unreadable(&error))],
                };
                // What is not plain text must be decoded before anybody can tell.
                let is_plain = !bytes.starts_with(&[0xFE, 0xFF]) && !bytes.starts_with(&[0xFF, 0xFE]);
                if is_plain && !is_wanted(&bytes) {
                    return Vec::new();
                }
                split_all(&bytes[..]).unwrap_or_else(|fault| vec![Err(fault)])
            }
        }
    }
}

fn unreadable(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => Fault::of_file("there is no such file or directory"),
        _ => Fault::of_file(format_args!("cannot be read: {error}")),
    }
}

impl Inputs {
    /// Looks at what each path is; the standard input and pipes are read whole, since they are walked twice.
    pub fn new(paths: &[PathBuf], mut stdin: impl Read) -> Self {
        Self { roots: paths.iter().map(|path| root(path, &mut stdin)).collect() }
    }

    /// Returns a number over which files there are, how long they are and when they were written.
    pub fn state(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        for entry in self.roots.iter().flat_map(Root::entries) {
            entry.path().hash(&mut hash);
            if let Ok(metadata) = entry.metadata() {
                (metadata.len(), metadata.modified().ok()).hash(&mut hash);
            }
        }
        hash.finish()
    }

    /// Yields the work, file by file, in the order of the paths and sorted below a directory.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + Send + '_ {
        let mut roots = self.roots.iter();
        let mut current: Option<Box<dyn Iterator<Item = Piece> + Send + '_>> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some(piece) = current.as_mut().and_then(Iterator::next) {
                    return Some(piece);
                }
                current = Some(roots.next()?.pieces());
            }
        })
    }
}

fn root(path: &Path, stdin: &mut impl Read) -> Root {
    let name = name_of(path);
    if path.as_os_str() == STDIN {
        return buffered(&name, stdin);
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Root::Directory(path.to_owned()),
        Ok(metadata) if metadata.is_file() => Root::File(path.to_owned()),
        Ok(_) => match File::open(path) {
            Ok(mut pipe) => buffered(&name, &mut pipe),
            Err(error) => Root::Faulty { name, fault: unreadable(&error) },
        },
        Err(error) if name.contains(['*', '?', '[', '{']) => {
            glob(path).unwrap_or_else(|| Root::Faulty { name, fault: unreadable(&error) })
        }
        Err(error) => Root::Faulty { name, fault: unreadable(&error) },
    }
}

fn buffered(name: &str, reader: &mut impl Read) -> Root {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Root::Buffered { name: name.into(), bytes: bytes.into() },
        Err(error) => Root::Faulty { name: name.to_owned(), fault: unreadable(&error) },
    }
}

fn glob(path: &Path) -> Option<Root> {
    let pattern = path.to_str()?.to_owned();
    let pattern = pattern.strip_prefix("./").map_or(pattern.clone(), str::to_owned);
    let is_plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    let base: PathBuf = Path::new(&pattern).components().take_while(is_plain).collect();
    let base = if base.as_os_str().is_empty() { PathBuf::from(".") } else { base };
    let matcher = GlobBuilder::new(&pattern).literal_separator(true).build().ok()?.compile_matcher();
    let any_extension = pattern.rsplit('/').next().is_some_and(|last| last.contains('.'));
    Some(Root::Glob { base, matcher, pattern, any_extension })
}

/// Returns a path as reports write it.
fn name_of(path: &Path) -> String {
    let name = path.to_string_lossy().replace('\\', "/");
    name.strip_prefix("./").map_or(name.clone(), str::to_owned)
}

fn is_manifest(path: &Path) -> bool {
    matches!(path.extension().and_then(|extension| extension.to_str()), Some("yaml" | "yml" | "json"))
}

impl Root {
    /// Returns the manifests that a directory holds; nothing for what is no directory.
    fn entries(&self) -> impl Iterator<Item = DirEntry> {
        let walk = if let Self::Directory(path) = self { Some(walk(path, true)) } else { None };
        walk.into_iter().flatten().flatten().filter(|entry| is_manifest(entry.path()))
    }

    fn pieces(&self) -> Box<dyn Iterator<Item = Piece> + Send + '_> {
        match self {
            Self::File(path) => pieces_of_file(path.clone()),
            Self::Buffered { name, bytes } => pieces_of(name.clone(), Cursor::new(bytes.clone())),
            Self::Faulty { name, fault } => one_fault(name, fault.clone()),
            Self::Directory(path) => files(walk(path, true), is_manifest),
            Self::Glob { base, matcher, pattern, any_extension } => {
                let wanted =
                    move |file: &Path| (*any_extension || is_manifest(file)) && matcher.is_match(name_of(file));
                let mut found = files(walk(base, false), wanted).peekable();
                if found.peek().is_none() {
                    return one_fault(pattern, Fault::of_file("matches no file"));
                }
                Box::new(found)
            }
        }
    }
}

fn one_fault<'a>(name: &str, fault: Fault) -> Box<dyn Iterator<Item = Piece> + Send + 'a> {
    Box::new(std::iter::once(Piece { file: name.into(), content: Content::Fault(fault) }))
}

/// Walks a directory in order. Ignore files in it count, those above it do not; hidden entries are passed over.
fn walk(path: &Path, honours_ignore_files: bool) -> Walk {
    WalkBuilder::new(path)
        .standard_filters(honours_ignore_files)
        .hidden(true)
        .parents(false)
        .git_global(false)
        .require_git(false)
        .follow_links(true)
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .filter_entry(|entry| !leads_up(entry))
        .build()
}

fn files<'a>(walk: Walk, is_wanted: impl Fn(&Path) -> bool + Send + 'a) -> Box<dyn Iterator<Item = Piece> + Send + 'a> {
    Box::new(walk.flat_map(move |entry| match entry {
        Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) && is_wanted(entry.path()) => {
            pieces_of_file(entry.into_path())
        }
        Ok(_) => Box::new(std::iter::empty()),
        Err(error) if is_harmless(&error, &is_wanted) => Box::new(std::iter::empty()),
        Err(error) => {
            let (name, cause) = place_of(&error);
            one_fault(&name, Fault::of_file(cause))
        }
    }))
}

/// Returns whether an error of the walk hides no manifest: a link to a directory above it, or a link to nothing whose
/// name is not that of a manifest.
fn is_harmless(error: &ignore::Error, is_wanted: &impl Fn(&Path) -> bool) -> bool {
    match error {
        ignore::Error::Loop { .. } => true,
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => is_harmless(err, is_wanted),
        ignore::Error::WithPath { path, err } => is_harmless(err, is_wanted) || (is_not_found(err) && !is_wanted(path)),
        _ => false,
    }
}

fn is_not_found(error: &ignore::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Returns whether an entry is a link to a directory that it stands in: everything there is read anyway.
fn leads_up(entry: &DirEntry) -> bool {
    let is_link = entry.depth() > 0 && entry.path_is_symlink() && entry.file_type().is_some_and(|kind| kind.is_dir());
    let target = || fs::canonicalize(entry.path()).ok();
    let place = || fs::canonicalize(entry.path().parent()?).ok();
    is_link && target().zip(place()).is_some_and(|(target, place)| place.starts_with(target))
}

/// Returns the path that an error of the walk is about, and what it is.
fn place_of(error: &ignore::Error) -> (String, String) {
    match error {
        ignore::Error::WithPath { path, err } => (name_of(path), place_of(err).1),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => place_of(err),
        ignore::Error::Io(error) => (String::new(), unreadable(error).cause),
        other => (String::new(), other.to_string()),
    }
}

fn pieces_of_file<'a>(path: PathBuf) -> Box<dyn Iterator<Item = Piece> + Send + 'a> {
    let file: Arc<str> = name_of(&path).into();
    let is_large = fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LARGE_BYTES);
    if !is_large {
        return Box::new(std::iter::once(Piece { file, content: Content::File(path) }));
    }
    match File::open(&path) {
        Ok(reader) => pieces_of(file, BufReader::with_capacity(PIECE_BYTES, reader)),
        Err(error) => one_fault(&file, unreadable(&error)),
    }
}

fn pieces_of<'a>(file: Arc<str>, reader: impl BufRead + Send + 'static) -> Box<dyn Iterator<Item = Piece> + Send + 'a> {
    let mut splitter = match Splitter::open(reader) {
        Ok(splitter) => splitter,
        Err(error) => return one_fault(&file, unreadable(&error)),
    };
    Box::new(std::iter::from_fn(move || {
        let mut chunks = Vec::new();
        let mut bytes = 0_usize;
        for next in splitter.by_ref() {
            bytes = bytes.saturating_add(next.as_ref().map_or(0, |chunk| chunk.text.len()));
            chunks.push(next);
            if bytes >= PIECE_BYTES {
                break;
            }
        }
        (!chunks.is_empty()).then(|| Piece { file: file.clone(), content: Content::Chunks(chunks) })
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let inputs = Inputs::new(paths, io::empty());
        inputs.pieces().map(|piece| piece.file.to_string()).collect()
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn below(root: &Path, names: Vec<String>) -> Vec<String> {
        let prefix = format!("{}/", name_of(root));
        names.into_iter().map(|name| name.strip_prefix(&prefix).map_or(name.clone(), str::to_owned)).collect()
    }

    #[test]
    fn honours_ignore_files_inside_but_not_above() {
        let root = tree(&[
            (".gitignore", "dir\n*.yaml\n"),
            ("dir/b.yml", ""),
            ("dir/a.json", ""),
            ("dir/sub/c.yaml", ""),
            ("dir/sub/README.md", ""),
            ("dir/.gitignore", "ignored/\n"),
            ("dir/ignored/d.yaml", ""),
            ("dir/.hidden/e.yaml", ""),
        ]);
        let dir = root.path().join("dir");
        assert_eq!(below(&dir, names(std::slice::from_ref(&dir))), ["a.json", "b.yml", "sub/c.yaml"]);
        let named = dir.join("ignored/d.yaml");
        assert_eq!(below(&dir, names(&[named])), ["ignored/d.yaml"]);
    }

    #[test]
    fn matches_globs() {
        let root = tree(&[("a/x.yaml", ""), ("a/b/y.yaml", ""), ("a/z.txt", ""), ("a/k.yml", "")]);
        let glob = |pattern: &str| below(root.path(), names(&[root.path().join(pattern)]));
        assert_eq!(glob("a/*.yaml"), ["a/x.yaml"]);
        assert_eq!(glob("a/**/*.yaml"), ["a/b/y.yaml", "a/x.yaml"]);
        assert_eq!(glob("a/*"), ["a/k.yml", "a/x.yaml"]);
        assert_eq!(glob("a/*.{yml,txt}"), ["a/k.yml", "a/z.txt"]);
    }

    #[test]
    fn what_is_not_there_is_a_fault() {
        for path in ["nowhere/at/all.yaml", "nowhere/*.yaml"] {
            let inputs = Inputs::new(&[path.into()], io::empty());
            let chunks: Vec<_> = inputs.pieces().flat_map(|piece| piece.chunks(|_| true)).collect();
            assert!(matches!(chunks.as_slice(), [Err(_)]), "{path}: {chunks:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_that_hide_no_manifest_are_no_faults() {
        use std::os::unix::fs::symlink;
        let root = tree(&[("dir/sub/a.yaml", ""), ("other/b.yaml", "")]);
        let dir = root.path().join("dir");
        let links = [("nowhere", "dangling"), ("..", "sub/up"), ("../..", "sub/out"), ("../other", "aside")];
        for (target, link) in links {
            symlink(target, dir.join(link)).unwrap();
        }
        assert_eq!(below(&dir, names(std::slice::from_ref(&dir))), ["aside/b.yaml", "sub/a.yaml"]);
        symlink("nowhere", dir.join("gone.yaml")).unwrap();
        let inputs = Inputs::new(&[dir], io::empty());
        let faults = inputs.pieces().flat_map(|piece| piece.chunks(|_| true)).filter(Result::is_err).count();
        assert_eq!(faults, 1);
    }

    #[test]
    fn large_files_come_in_pieces() {
        let document = format!("a: {}\n---\n", "x".repeat(1000));
        let root = tree(&[("big.yaml", &document.repeat(1000))]);
        let inputs = Inputs::new(&[root.path().join("big.yaml")], io::empty());
        let pieces: Vec<Piece> = inputs.pieces().collect();
        assert!(pieces.len() > 10, "{}", pieces.len());
        let chunks: Vec<Chunk> =
            pieces.into_iter().flat_map(|piece| piece.chunks(|_| true)).map(Result::unwrap).collect();
        assert_eq!(chunks.len(), 1001);
        assert!(chunks.iter().enumerate().all(|(index, chunk)| chunk.index == index));
    }

    #[test]
    fn the_standard_input_can_be_walked_twice() {
        let inputs = Inputs::new(&[STDIN.into()], &b"a: 1\n---\nb: 2\n"[..]);
        for _ in 0..2 {
            assert_eq!(inputs.pieces().flat_map(|piece| piece.chunks(|_| true)).count(), 2);
        }
    }
}
