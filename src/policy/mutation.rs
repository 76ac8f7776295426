//! The mutate slot: which policy's patches a namespace's new objects get.
//!
//! It stands beside the modes and is none of them: it says nothing of violations, no floor brings it, and only objects
//! in a namespace have it.

use std::sync::Arc;

use super::modes::{Mode, Modes, PolicyNames, Slot, labelled_slot};
use super::namespace::NamespaceMeta;
use super::notices::Notice;

/// Label: the policy whose patches are applied.
pub const MUTATE: &str = "gatepost.dev/mutate";
/// The labels of all slots; each names a policy, or `off`.
pub const SLOT_LABELS: [&str; 4] = [Mode::Enforce.label(), Mode::Warn.label(), Mode::Audit.label(), MUTATE];

impl Modes {
    /// Returns the policy whose patches a namespace's new objects get: what its label says, else the last matching entry
    /// of the configuration, else the default; nothing unless one of them names a policy.
    ///
    /// A label that names no policy is no label here; whoever writes to the namespace is told of it.
    pub fn mutation(&self, namespace: &NamespaceMeta, policies: &impl PolicyNames) -> Option<Arc<str>> {
        match self.mutate_slot(namespace, policies, &mut Vec::new())? {
            Slot::Policy(name) => Some(name),
            Slot::Off => None,
        }
    }

    pub(super) fn mutate_slot(
        &self,
        namespace: &NamespaceMeta,
        policies: &impl PolicyNames,
        notices: &mut Vec<Notice>,
    ) -> Option<Slot> {
        labelled_slot(MUTATE, namespace, policies, notices).or_else(|| {
            let configured = self.last_match(namespace, |set| set.mutate.is_some());
            configured.unwrap_or(&self.defaults).mutate.clone()
        })
    }
}
