//! Manifests that stand in for a cluster: their Namespaces, and the objects that rules look up.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::thread;

use super::{Given, ServeError};
use crate::input::Inputs;
use crate::input::document::{STACK_BYTES, parse};
use crate::input::surroundings::Surroundings;

/// Reads what `--manifests` names; the configuration's `static` namespaces count more.
pub fn read(given: &Given, kinds: BTreeSet<String>) -> Result<Surroundings, ServeError> {
    let mut known = Surroundings::new(kinds);
    if let Some(folder) = &given.settings.manifests {
        let reading = thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, || collect(folder, &mut known)).map(thread::ScopedJoinHandle::join)
        });
        let faults = reading.map_err(ServeError::System)?.unwrap_or_else(|_| vec!["reading them panicked".into()]);
        if !faults.is_empty() {
            return Err(ServeError::Manifests(faults.join("\n")));
        }
    }
    known.add_namespaces(&given.config.static_namespaces);
    Ok(known)
}

fn collect(folder: &Path, known: &mut Surroundings) -> Vec<String> {
    let paths = [folder.to_owned()];
    let inputs = Inputs::new(&paths, io::empty());
    let mut faults = Vec::new();
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
            parsed.manifests.iter().for_each(|found| known.add(&found.object));
        }
    }
    faults
}
