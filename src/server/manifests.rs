//! Manifests that stand in for a cluster: their Namespaces, and the objects that rules look up.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::thread;

use super::load::LoadError;
use crate::input::Inputs;
use crate::input::document::{STACK_BYTES, parse};
use crate::input::surroundings::{Surroundings, namespace_name};

/// Reads what `--manifests` names, if it names anything.
pub fn read(folder: Option<&Path>, kinds: BTreeSet<String>) -> Result<Surroundings, LoadError> {
    let mut known = Surroundings::new(kinds);
    if let Some(folder) = folder {
        let reading = thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, || collect(folder, &mut known)).map(thread::ScopedJoinHandle::join)
        });
        let faults = reading?.unwrap_or_else(|_| vec!["reading them panicked".into()]);
        if !faults.is_empty() {
            return Err(LoadError::Manifests(faults));
        }
    }
    Ok(known)
}

fn collect(folder: &Path, known: &mut Surroundings) -> Vec<String> {
    let paths = [folder.to_owned()];
    let inputs = Inputs::new(&paths, io::empty());
    let (mut faults, mut named) = (Vec::new(), BTreeSet::new());
    for piece in inputs.pieces() {
        let file = piece.file.clone();
        for chunk in piece.chunks(|_| true) {
            let parsed = match chunk {
                Ok(chunk) => parse(&chunk),
                Err(fault) => {
                    faults.push(fault.in_file(&file));
                    continue;
                }
            };
            faults.extend(parsed.faults.iter().map(|fault| fault.in_file(&file)));
            for found in &parsed.manifests {
                known.add(&found.object);
                named.insert(namespace_name(&found.object).to_owned());
            }
        }
    }
    known.add_named(&named);
    faults
}
