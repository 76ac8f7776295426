//! Directories as the kubelet mounts ConfigMaps: names are links into `..data`, which is a link to the present version.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

static VERSIONS: AtomicU32 = AtomicU32::new(0);

/// Exchanges all files of a mounted directory at once, making it if it is not there; names that are left out go.
pub fn swap(root: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let version = format!("..version_{}", VERSIONS.fetch_add(1, Ordering::Relaxed));
    fs::create_dir(root.join(&version))?;
    files.iter().try_for_each(|(name, text)| fs::write(root.join(&version).join(name), text))?;
    let (data, aside) = (root.join("..data"), root.join("..data_tmp"));
    let before = fs::read_link(&data).ok();
    symlink(&version, &aside)?;
    fs::rename(&aside, &data)?;
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_symlink() && !path.exists() {
            fs::remove_file(path)?;
        }
    }
    for (name, _) in files {
        if !root.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), root.join(name))?;
        }
    }
    before.map_or(Ok(()), |before| fs::remove_dir_all(root.join(before)))
}
