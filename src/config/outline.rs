//! The configuration file at its top: which settings it holds, which sections, and where they stand.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::scalars::scalars;
use super::slots::GROUPS;
use crate::policy::nearest;

/// Top-level keys that are read elsewhere, each with what stands for its absence.
pub(super) const SECTIONS: [(&str, &str); 10] = [
    ("namespaces", "[]"),
    ("floors", "[]"),
    ("static", "{}"),
    ("controllers", "{}"),
    ("modes", "{}"),
    ("exemptions", "{}"),
    ("audit", "{policies: [strict], instanceLabelKey: app.kubernetes.io/instance}"),
    ("groups", "{}"),
    ("notifications", "[]"),
    ("auth", "{}"),
];

/// What a file says of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// One value, or those of a list.
    pub texts: Vec<String>,
    /// Counted from 1.
    pub line: u64,
}

/// A configuration file, as far as settings go.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// Settings by key.
    pub settings: BTreeMap<String, Written>,
    /// The line where the value of each section begins.
    pub sections: BTreeMap<String, u64>,
    /// Keys that mean nothing.
    unknown: Vec<(String, u64)>,
}

impl Outline {
    /// Reads it; the error has a line where it is known.
    pub(super) fn read(text: &str) -> Result<Self, (Option<u64>, String)> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let outline: Self = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let cause = error.to_string();
            (error.location().map(|at| at.line()).or_else(|| line_in(&cause)), cause)
        })?;
        match outline.unknown.first() {
            Some((key, line)) => Err((Some(*line), unknown(key))),
            None => Ok(outline),
        }
    }
}

/// Finds the line in a cause that carries another one: "… at line 2, column 8".
fn line_in(cause: &str) -> Option<u64> {
    let (_, rest) = cause.rsplit_once("at line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Says that a key is not known, and names the nearest one.
fn unknown(key: &str) -> String {
    let (group, word) = key.split_once('.').map_or((None, key), |(group, entry)| (Some(group), entry));
    let keys = scalars().iter().map(|scalar| scalar.key.as_str());
    let others = SECTIONS.iter().map(|(name, _)| *name).chain(GROUPS.iter().map(|(name, _)| *name));
    let known: Vec<&str> = match group {
        Some(group) => keys.filter_map(|key| key.strip_prefix(group)?.strip_prefix('.')).collect(),
        None => keys.filter(|key| !key.contains('.')).chain(others).collect(),
    };
    let near = nearest(word, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    format!("unknown key `{key}`{near}")
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Outline;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of settings and sections")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Outline, M::Error> {
        let mut outline = Outline::default();
        while let Some(key) = map.next_key::<String>()? {
            if SECTIONS.iter().any(|(name, _)| *name == key) {
                let line = map.next_value::<Spanned<IgnoredAny>>()?.referenced.line();
                outline.sections.insert(key, line);
            } else if GROUPS.iter().any(|(name, _)| *name == key) {
                let entries: Option<BTreeMap<String, Spanned<Option<String>>>> = map.next_value()?;
                for (entry, value) in entries.into_iter().flatten() {
                    outline.take(format!("{key}.{entry}"), value.referenced.line(), value.value.map(|text| vec![text]));
                }
            } else if scalars().iter().any(|scalar| scalar.key == key && scalar.is_list) {
                let value = map.next_value::<Spanned<Option<Vec<String>>>>();
                let value = value.map_err(|error| M::Error::custom(format!("`{key}` takes a list: {error}")))?;
                outline.take(key, value.referenced.line(), value.value);
            } else if scalars().iter().any(|scalar| scalar.key == key) {
                let value = map.next_value::<Spanned<Option<String>>>().map_err(|error| {
                    // `namespace: []` means another key.
                    let near = nearest(&key, SECTIONS.map(|(name, _)| name));
                    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    M::Error::custom(format!("`{key}` takes a single value{near}: {error}"))
                })?;
                outline.take(key, value.referenced.line(), value.value.map(|text| vec![text]));
            } else {
                let line = map.next_value::<Spanned<IgnoredAny>>()?.referenced.line();
                outline.unknown.push((key, line));
            }
        }
        Ok(outline)
    }
}

impl Outline {
    /// Takes a value in; null is none.
    fn take(&mut self, key: String, line: u64, texts: Option<Vec<String>>) {
        if !scalars().iter().any(|scalar| scalar.key == key) {
            self.unknown.push((key, line));
        } else if let Some(texts) = texts {
            self.settings.insert(key, Written { texts, line });
        }
    }
}
