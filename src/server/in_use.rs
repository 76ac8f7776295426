//! Whether a change takes away a policy that a namespace asks for by its label.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::load::Fault;
use crate::engine::Bundle;
use crate::policy::NamespaceMeta;
use crate::policy::mutation::SLOT_LABELS;

/// So many namespaces are named.
const NAMED: usize = 5;

/// Returns a fault for each policy that is there now, would be gone, and is named by a label of a namespace.
pub fn missed(before: &Bundle, next: &Bundle, namespaces: &[Arc<NamespaceMeta>]) -> Vec<Fault> {
    let mut users: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for namespace in namespaces {
        for label in SLOT_LABELS {
            let Some(name) = namespace.labels.get(label) else { continue };
            if before.policy(name).is_some() && next.policy(name).is_none() {
                users.entry(name).or_default().push(format!("{} ({label})", namespace.name));
            }
        }
    }
    users.into_iter().map(|(name, users)| fault(before, name, &users)).collect()
}

/// Returns a fault for each policy that would be gone, when nobody can say yet who uses it.
pub fn unsure(before: &Bundle, next: &Bundle) -> Vec<Fault> {
    let gone = before.policies().keys().filter(|name| next.policy(name).is_none());
    let cause = |name: &Arc<str>| {
        format!("policy \"{name}\" would be gone, and the cluster's namespaces are not known yet: it may be in use")
    };
    gone.map(|name| Fault { place: file_of(before, name), line: None, cause: cause(name) }).collect()
}

fn fault(before: &Bundle, name: &str, users: &[String]) -> Fault {
    let named = users.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = match users.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let cause = format!(
        "policy \"{name}\" would be gone, but is in use by the namespaces {named}{more}: take the labels off first"
    );
    Fault { place: file_of(before, name), line: None, cause }
}

/// Returns the file that a policy was read from.
fn file_of(bundle: &Bundle, name: &str) -> String {
    bundle.catalogue().sets().get(name).map_or_else(String::new, |set| set.source.file.to_string())
}
