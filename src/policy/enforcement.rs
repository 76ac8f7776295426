//! What a namespace is to enforce: the labels and annotations that say so, and how they are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::metadata::Severity;
use super::modes::{ENFORCE_FROM, ENFORCE_SCOPE, ENFORCE_SEVERITY, Mode, OFF, Scope, parse_from};
use super::namespace::NamespaceMeta;

/// What a namespace is to enforce by its own labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enforcement {
    /// The policy, or `off`; none takes the label away, so that the configuration decides.
    pub policy: Option<String>,
    /// Denies only at or above this severity.
    pub severity: Option<Severity>,
    /// What an UPDATE is denied for.
    pub scope: Scope,
    /// The date from which it denies, as it is written.
    pub from: Option<String>,
}

/// Our keys of a namespace that decide what it enforces, with their values; a key that is not there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnforceKeys {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

const LABEL: &str = Mode::Enforce.label();
const ANNOTATIONS: [&str; 3] = [ENFORCE_SEVERITY, ENFORCE_SCOPE, ENFORCE_FROM];

impl Enforcement {
    /// Returns what is wrong with the date.
    pub fn check(&self) -> Result<(), String> {
        self.from.as_deref().map_or(Ok(()), |from| parse_from(from).map(drop))
    }

    /// Returns the keys that say it; without a policy none of them does anything.
    pub fn keys(&self) -> EnforceKeys {
        let mut keys = EnforceKeys::default();
        let Some(policy) = &self.policy else { return keys };
        keys.labels.insert(LABEL.into(), policy.clone());
        if policy == OFF {
            return keys;
        }
        let mut annotate = |key: &str, value: String| keys.annotations.insert(key.to_owned(), value);
        if let Some(severity) = self.severity {
            annotate(ENFORCE_SEVERITY, severity.to_string());
        }
        if self.scope == Scope::All {
            annotate(ENFORCE_SCOPE, "all".into());
        }
        if let Some(from) = &self.from {
            annotate(ENFORCE_FROM, from.clone());
        }
        keys
    }
}

impl EnforceKeys {
    /// Returns those that a namespace has.
    pub fn of(namespace: &NamespaceMeta) -> Self {
        let some = |map: &BTreeMap<String, String>, keys: &[&str]| {
            let found = keys.iter().filter_map(|key| Some(((*key).to_owned(), map.get(*key)?.clone())));
            found.collect()
        };
        Self { labels: some(&namespace.labels, &[LABEL]), annotations: some(&namespace.annotations, &ANNOTATIONS) }
    }

    /// Returns a namespace as it would be with these and none of the others.
    pub fn applied(&self, namespace: &NamespaceMeta) -> NamespaceMeta {
        let mut changed = namespace.clone();
        changed.labels.remove(LABEL);
        changed.annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
        changed.labels.extend(self.labels.clone());
        changed.annotations.extend(self.annotations.clone());
        changed
    }

    /// Returns the JSON merge patch (RFC 7386) that makes these of what a namespace has.
    pub fn patch(&self, namespace: &NamespaceMeta) -> Value {
        let before = Self::of(namespace);
        let part = |to: &BTreeMap<String, String>, from: &BTreeMap<String, String>| {
            let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
            let set = to.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
            Value::Object(gone.chain(set).collect())
        };
        let mut metadata = serde_json::Map::new();
        for (key, part) in [
            ("labels", part(&self.labels, &before.labels)),
            ("annotations", part(&self.annotations, &before.annotations)),
        ] {
            if part.as_object().is_some_and(|part| !part.is_empty()) {
                metadata.insert(key.into(), part);
            }
        }
        json!({"metadata": metadata})
    }

    /// Returns the command that makes these of what a namespace has: one write, so that nothing holds in between.
    pub fn command(&self, namespace: &NamespaceMeta) -> String {
        let before = Self::of(namespace);
        let name = &namespace.name;
        if before.annotations.is_empty() && self.annotations.is_empty() {
            return match self.labels.get(LABEL) {
                Some(policy) => format!("kubectl label namespace {name} {LABEL}={policy} --overwrite"),
                None => format!("kubectl label namespace {name} {LABEL}-"),
            };
        }
        // Nothing that these hold has an apostrophe in it: names of policies, words and dates.
        format!("kubectl patch namespace {name} --type=merge -p '{}'", self.patch(namespace))
    }

    /// Returns the part of the Namespace's manifest that says it.
    pub fn manifest(&self, namespace: &NamespaceMeta) -> String {
        let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {}\n", namespace.name);
        for (key, part) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !part.is_empty() {
                let _ = writeln!(text, "  {key}:");
            }
            for (key, value) in part {
                let _ = writeln!(text, "    {key}: {}", Value::from(value.as_str()));
            }
        }
        let gone = Self::of(namespace);
        let gone = gone.labels.keys().chain(gone.annotations.keys());
        for key in gone.filter(|key| !self.labels.contains_key(*key) && !self.annotations.contains_key(*key)) {
            let _ = writeln!(text, "  # take out {key}");
        }
        text
    }

    /// Returns them in words: `enforce=baseline, enforce-severity=high`; `nothing` where there are none.
    pub fn in_words(&self) -> String {
        let short = |key: &String| key.trim_start_matches(super::modes::PREFIX).to_owned();
        let each = self.labels.iter().chain(&self.annotations);
        let words: Vec<String> = each.map(|(key, value)| format!("{}={value}", short(key))).collect();
        if words.is_empty() { "nothing of its own".to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn namespace(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> NamespaceMeta {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        NamespaceMeta { name: "shop".into(), labels: map(labels), annotations: map(annotations) }
    }

    fn enforcement(policy: &str) -> Enforcement {
        Enforcement { policy: Some(policy.into()), ..Enforcement::default() }
    }

    #[test]
    fn what_is_written_is_what_is_asked_and_the_rest_goes() {
        let before = namespace(
            &[("team", "a"), (LABEL, "baseline")],
            &[("note", "b"), (ENFORCE_SEVERITY, "high"), (ENFORCE_FROM, "2026-12-01")],
        );
        let wanted = Enforcement { scope: Scope::All, from: Some("2027-01-01".into()), ..enforcement("strict") };
        let keys = wanted.keys();
        let after = keys.applied(&before);
        assert_eq!(after.labels["team"], "a");
        assert_eq!(EnforceKeys::of(&after), keys);
        assert_eq!(after.annotations.keys().collect::<Vec<_>>(), [ENFORCE_FROM, ENFORCE_SCOPE, "note"]);
        let expected = json!({"metadata": {
            "labels": {LABEL: "strict"},
            "annotations": {ENFORCE_SEVERITY: null, ENFORCE_SCOPE: "all", ENFORCE_FROM: "2027-01-01"},
        }});
        assert_eq!(keys.patch(&before), expected);
        let back = EnforceKeys::of(&before);
        assert_eq!(back.applied(&after), before, "taking it back leaves nothing");
        assert!(keys.command(&before).starts_with("kubectl patch namespace shop --type=merge -p '{\"metadata\""));
        assert!(keys.manifest(&before).ends_with("  # take out gatepost.dev/enforce-severity\n"));
    }

    #[test]
    fn a_plain_label_is_a_plain_command() {
        let plain = namespace(&[], &[]);
        let command = |wanted: &Enforcement, namespace| wanted.keys().command(namespace);
        assert_eq!(
            command(&enforcement("baseline"), &plain),
            "kubectl label namespace shop gatepost.dev/enforce=baseline --overwrite"
        );
        let labelled = namespace(&[(LABEL, "baseline")], &[]);
        assert_eq!(command(&Enforcement::default(), &labelled), "kubectl label namespace shop gatepost.dev/enforce-");
        let off = Enforcement { severity: Some(Severity::High), ..enforcement(OFF) };
        assert!(off.keys().annotations.is_empty(), "what is off has no severity");
        assert_eq!(Enforcement::default().keys().in_words(), "nothing of its own");
        assert_eq!(enforcement("baseline").keys().in_words(), "enforce=baseline");
        assert!(Enforcement { from: Some("soon".into()), ..enforcement("baseline") }.check().is_err());
    }
}
