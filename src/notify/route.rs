//! Who is told of a namespace: a target's own say, and the namespace's annotation.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::notifications::{Reach, Target, Way};
use crate::policy::NamespaceMeta;
use crate::policy::modes::OFF;

/// What an annotation's key begins with; the target's name follows.
pub(super) const PREFIX: &str = "notify.gatepost.dev/";

/// Whom a namespace's annotation names; none: whoever the target tells anyway.
pub(super) type Recipient = Option<String>;

/// Says for each namespace of a target who is told of it.
pub(super) struct Router<'a> {
    target: &'a Target,
    known: BTreeMap<&'a str, &'a NamespaceMeta>,
}

impl<'a> Router<'a> {
    pub(super) fn new(target: &'a Target, namespaces: &'a [Arc<NamespaceMeta>]) -> Self {
        Self { target, known: namespaces.iter().map(|meta| (meta.name.as_str(), &**meta)).collect() }
    }

    /// Returns who is told of a namespace, the empty one for what is in none; nobody where the target does not reach it.
    pub(super) fn recipient(&self, namespace: &str) -> Option<Recipient> {
        let key = format!("{PREFIX}{}", self.target.name);
        let said = self.known.get(namespace).and_then(|meta| meta.annotations.get(&key)).map(|text| text.trim());
        match said {
            Some(OFF) => None,
            Some(text) => Some(self.allowed(text)),
            None => (self.target.reach == Reach::All).then_some(None),
        }
    }

    /// Whoever may annotate a namespace must not have mail sent to just anybody.
    fn allowed(&self, text: &str) -> Recipient {
        let Way::Email(mail) = &self.target.way else { return Some(text.to_owned()).filter(|text| !text.is_empty()) };
        let addresses = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let allowed: Vec<&str> = addresses.filter(|text| mail.allow.iter().any(|glob| glob.is_match(text))).collect();
        (!allowed.is_empty()).then(|| allowed.join(","))
    }

    /// Puts namespaces together by who is told of them.
    pub(super) fn share_out<'n>(
        &self,
        namespaces: impl IntoIterator<Item = &'n str>,
    ) -> BTreeMap<Recipient, Vec<String>> {
        let mut shares: BTreeMap<Recipient, Vec<String>> = BTreeMap::new();
        for namespace in namespaces {
            if let Some(recipient) = self.recipient(namespace) {
                shares.entry(recipient).or_default().push(namespace.to_owned());
            }
        }
        shares
    }
}
