//! What a namespace's owner should know: labels and annotations that do not mean what they seem to.

use std::collections::BTreeMap;
use std::fmt;

use super::break_glass::{BREAK_GLASS, BREAK_GLASS_UNTIL, BreakGlassFault};
use super::modes::{ENFORCE_FROM, ENFORCE_SCOPE, ENFORCE_SEVERITY, Mode, PREFIX};
use super::mutation::{MUTATE, SLOT_LABELS};
use super::namespace::NamespaceMeta;
use super::suggest::nearest;

/// Something in a namespace's labels or annotations that does not mean what its author thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A label names a policy that does not exist; the slot falls back as if there were no label.
    UnknownPolicy {
        /// The slot's label.
        label: &'static str,
        /// What the label says.
        name: String,
        /// The policy that was most likely meant.
        nearest: Option<String>,
    },
    /// An annotation cannot be read; the strictest reading holds.
    Unreadable {
        /// The annotation.
        annotation: &'static str,
        /// What is wrong with its value.
        cause: String,
    },
    /// An annotation stands without the namespace's own enforce label, so it does not count.
    WithoutLabel {
        /// The annotation.
        annotation: &'static str,
    },
    /// A label or annotation of ours that means nothing: misspelt, or an annotation's name on a label.
    UnknownKey {
        /// The key.
        key: String,
        /// What was most likely meant.
        nearest: Option<&'static str>,
    },
    /// Annotations that should break glass do nothing, or no more.
    BreakGlass(BreakGlassFault),
    /// The namespace could not be read, so only what is certain judges it.
    UnreadNamespace,
}

impl Notice {
    /// Returns whether a Namespace write that brings this in is refused.
    pub fn refuses_write(&self) -> bool {
        match self {
            Self::UnknownPolicy { .. } | Self::Unreadable { .. } | Self::UnknownKey { .. } | Self::BreakGlass(_) => {
                true
            }
            Self::WithoutLabel { .. } | Self::UnreadNamespace => false,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPolicy { label, name, nearest } => {
                write!(f, "label {label}: there is no policy \"{name}\"")?;
                match nearest {
                    Some(nearest) => write!(f, ", did you mean \"{nearest}\"?"),
                    None => Ok(()),
                }
            }
            Self::Unreadable { annotation, cause } => write!(f, "annotation {annotation}: {cause}"),
            Self::WithoutLabel { annotation } => {
                write!(f, "annotation {annotation} does not count without the label {}", Mode::Enforce.label())
            }
            Self::UnknownKey { key, nearest } => {
                write!(f, "{key} means nothing here")?;
                nearest.map_or(Ok(()), |nearest| write!(f, ", did you mean the {nearest}?"))
            }
            Self::BreakGlass(fault) => fault.fmt(f),
            Self::UnreadNamespace => {
                f.write_str("the namespace could not be read in time, its labels were not taken into account")
            }
        }
    }
}

/// Keys under [`PREFIX`], each with what it is.
const KEYS: [(&str, &str); 9] = [
    ("gatepost.dev/enforce", "label gatepost.dev/enforce"),
    ("gatepost.dev/warn", "label gatepost.dev/warn"),
    ("gatepost.dev/audit", "label gatepost.dev/audit"),
    (MUTATE, "label gatepost.dev/mutate"),
    (ENFORCE_SEVERITY, "annotation gatepost.dev/enforce-severity"),
    (ENFORCE_SCOPE, "annotation gatepost.dev/enforce-scope"),
    (ENFORCE_FROM, "annotation gatepost.dev/enforce-from"),
    (BREAK_GLASS, "annotation gatepost.dev/break-glass"),
    (BREAK_GLASS_UNTIL, "annotation gatepost.dev/break-glass-until"),
];

/// Returns a notice for each key of ours that is none: it would have to be seen as a mode that does not hold.
pub fn unknown_keys(namespace: &NamespaceMeta) -> Vec<Notice> {
    let (labels, annotations) = KEYS.split_at(SLOT_LABELS.len());
    let unknown = |keys: &BTreeMap<String, String>, known: &[(&str, &str)]| -> Vec<Notice> {
        let ours = keys.keys().filter(|key| key.starts_with(PREFIX) && known.iter().all(|(name, _)| name != key));
        ours.map(|key| {
            let near = nearest(key, KEYS.iter().map(|(name, _)| *name));
            let nearest = KEYS.iter().find(|(name, _)| Some(*name) == near).map(|(_, what)| *what);
            Notice::UnknownKey { key: key.clone(), nearest }
        })
        .collect()
    };
    let mut notices = unknown(&namespace.labels, labels);
    notices.extend(unknown(&namespace.annotations, annotations));
    notices
}
