//! Embeds `policies/`, and refuses to build a rule that is not whole.

#[path = "src/policy/metadata.rs"]
#[allow(dead_code, reason = "the library uses what the build script does not")]
mod metadata;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("policies");
    println!("cargo::rerun-if-changed=policies");
    println!("cargo::rerun-if-changed=src/policy/metadata.rs");
    if let Err(error) = embed(&root) {
        println!("cargo::error={error}");
        process::exit(1);
    }
}

fn embed(root: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    collect(root, &mut files).map_err(|error| format!("{}: {error}", root.display()))?;
    files.sort();
    let mut code = String::from("/// Path below `policies/` and text of every file, sorted by path.\n");
    code.push_str("pub static FILES: &[(&str, &str)] = &[\n");
    for file in &files {
        let relative = file.strip_prefix(root).map_err(|error| error.to_string())?.to_string_lossy().into_owned();
        if relative.starts_with("rules/") && relative.ends_with("/rule.rego") {
            check_rule(file).map_err(|cause| format!("policies/{relative}: {cause}"))?;
        }
        if is_embedded(&relative) {
            let _ = writeln!(code, "    ({relative:?}, include_str!({:?})),", file.display().to_string());
        }
    }
    code.push_str("];\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("embedded.rs");
    fs::write(&target, code).map_err(|error| format!("{}: {error}", target.display()))
}

fn is_embedded(path: &str) -> bool {
    path == "vm.json" || path.ends_with(".rego") || path.ends_with(".yaml")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn check_rule(file: &Path) -> Result<(), String> {
    let source = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let rule = metadata::read(&source).map_err(|error| error.to_string())?;
    let folder = file.parent().ok_or("has no folder")?;
    if folder.file_name().and_then(|name| name.to_str()) != Some(rule.custom.id.as_str()) {
        return Err(format!("stands in another folder than its id \"{}\"", rule.custom.id));
    }
    let mut files = Vec::new();
    collect(folder, &mut files).map_err(|error| error.to_string())?;
    for kind in ["pass", "fail"] {
        let is_one = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(kind) && name.ends_with(".yaml")
        };
        let count = files.iter().filter(is_one).count();
        if count < 2 {
            return Err(format!("has {count} fixtures {kind}*.yaml, two are the least"));
        }
    }
    Ok(())
}
