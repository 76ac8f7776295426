//! Reading a `--policies` directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use crate::policy::Source;

/// A policy file or directory that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct PoliciesError {
    /// Its path.
    pub path: PathBuf,
    /// What the system says.
    pub cause: io::Error,
}

/// Reads every `.rego`, `.yaml`, `.yml` file below a directory, sorted by path; links are followed, what a mounted
/// ConfigMap hides behind them is read once. A path that is a file is read as the only one.
pub fn read_policies(dir: &Path) -> Result<Vec<Source>, PoliciesError> {
    let failed = |path: &Path, cause: io::Error| PoliciesError { path: path.to_owned(), cause };
    fs::metadata(dir).map_err(|cause| failed(dir, cause))?;
    let walk = WalkBuilder::new(dir).standard_filters(false).hidden(true).follow_links(true).build();
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| failed(dir, io::Error::other(error)))?;
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        let path = entry.into_path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if is_file && ["rego", "yaml", "yml"].contains(&extension) {
            files.push(path);
        }
    }
    files.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|cause| failed(path, cause))?;
        Ok(Source::new(path.to_string_lossy().replace('\\', "/"), text))
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn reads_a_mounted_config_map_once() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("..2026");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("b.rego"), "package b").unwrap();
        fs::write(root.path().join("a.yaml"), "a: 1").unwrap();
        fs::write(root.path().join("README.md"), "#").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("..2026", root.path().join("..data")).unwrap();
            std::os::unix::fs::symlink("..data/b.rego", root.path().join("b.rego")).unwrap();
        }
        let read = read_policies(root.path()).unwrap();
        let names: Vec<&str> = read.iter().filter_map(|source| source.file.rsplit('/').next()).collect();
        assert_eq!(names, ["a.yaml", "b.rego"]);
        assert!(read_policies(&root.path().join("none")).is_err());
    }
}
