//! Certificates in the data directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::CertificateError;
use super::state::{ALL, CA_CERTIFICATE, CERTIFICATE, Contents};

/// The data directory.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes the directory if it is not there; only its owner may look into one that is made.
    pub fn open(path: &Path) -> Result<Self, CertificateError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|cause| CertificateError::Write { path: path.to_owned(), cause })?;
        Ok(Self(path.to_owned()))
    }

    /// Returns a directory that is there, or not; nothing is made.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads what is there; what is no text is left for the parser to refuse.
    pub fn read(&self) -> Result<Contents, CertificateError> {
        let mut contents = Contents::new();
        for name in ALL {
            let path = self.0.join(name);
            match fs::read(&path) {
                Ok(bytes) => drop(contents.insert(name, String::from_utf8_lossy(&bytes).into_owned())),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(CertificateError::Read { path, cause }),
            }
        }
        Ok(contents)
    }

    /// Writes what differs, and removes what is not to be there.
    pub fn write(&self, contents: &Contents) -> Result<(), CertificateError> {
        let there = self.read()?;
        for name in ALL {
            let path = self.0.join(name);
            match contents.get(name) {
                Some(text) if there.get(name) == Some(text) => {}
                Some(text) => write(&path, text)?,
                None if there.contains_key(name) => {
                    fs::remove_file(&path).map_err(|cause| CertificateError::Write { path, cause })?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Writes one of them.
    pub fn write_one(&self, name: &str, text: &str) -> Result<(), CertificateError> {
        let path = self.0.join(name);
        if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) { Ok(()) } else { write(&path, text) }
    }
}

/// Writes a file so that nobody ever finds half of it; only the owner reads what may be secret.
fn write(path: &Path, text: &str) -> Result<(), CertificateError> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    // Left by a process that was killed here; in a container every process has the same id.
    drop(fs::remove_file(&temporary));
    let name = path.file_name().unwrap_or_default();
    let is_public = name == CA_CERTIFICATE || name == CERTIFICATE;
    let written = options(is_public).open(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|cause| {
        // Half of it would take up what little room there is.
        drop(fs::remove_file(&temporary));
        CertificateError::Write { path: path.to_owned(), cause }
    })
}

fn options(is_public: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if is_public { 0o644 } else { 0o600 });
    #[cfg(not(unix))]
    let _ = is_public;
    options
}
