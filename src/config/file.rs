//! The YAML form of the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Config;
use super::authority::AuthorityText;
use crate::admission::Controllers;
use crate::policy::modes::{OFF, Slot, SlotSet, parse_from};
use crate::policy::{Modes, NamespaceMeta, Scope, Selector, Severity, nearest};

/// A configuration that cannot be used, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {cause}", path.display(), line.map_or(String::new(), |line| format!(":{line}")))]
pub struct ConfigError {
    path: PathBuf,
    line: Option<u64>,
    cause: String,
}

impl ConfigError {
    /// Builds an error about a file.
    pub fn new(path: &Path, line: Option<u64>, cause: String) -> Self {
        Self { path: path.to_owned(), line, cause }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FileConfig {
    defaults: SetText,
    cluster_scoped: SetText,
    namespaces: Vec<EntryText>,
    floors: Vec<EntryText>,
    #[serde(rename = "static")]
    static_namespaces: BTreeMap<String, NamespaceMeta>,
    controllers: BTreeMap<String, Vec<String>>,
    modes: AuthorityText,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    #[serde(rename = "match", default)]
    matches: MatchText,
    set: SetText,
    #[serde(rename = "breakGlass", default)]
    break_glass: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MatchText {
    names: Vec<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SetText {
    enforce: Option<String>,
    warn: Option<String>,
    audit: Option<String>,
    mutate: Option<String>,
    severity: Option<String>,
    scope: Option<String>,
    from: Option<String>,
}

/// Reads the configuration's text; the path is for error messages.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    if text.trim().is_empty() {
        return Ok(Config { path: Some(path.to_owned()), ..Config::default() });
    }
    let file: FileConfig = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        ConfigError::new(path, error.location().map(|at| at.line()), with_hint(&error.to_string()))
    })?;
    convert(file).map(|config| Config { path: Some(path.to_owned()), ..config }).map_err(|cause| {
        let line = cause.rsplit('"').nth(1).and_then(|word| text.lines().position(|line| line.contains(word)));
        ConfigError::new(path, line.and_then(|line| u64::try_from(line.saturating_add(1)).ok()), cause)
    })
}

/// Adds the nearest known key to what serde says of an unknown one: "unknown field `x`, expected one of a, b".
fn with_hint(cause: &str) -> String {
    let plain = cause.replace('`', "");
    let near = plain.split_once("unknown field ").and_then(|(_, rest)| {
        let (unknown, known) = rest.split_once(", expected ")?;
        let known = known.split(" at line ").next()?.trim_start_matches("one of ").trim_start_matches("either ");
        nearest(unknown, known.split([',', ' ']).filter(|word| !word.is_empty() && *word != "or")).map(str::to_owned)
    });
    near.map_or_else(|| cause.to_owned(), |near| format!("{cause}; did you mean `{near}`?"))
}

fn convert(file: FileConfig) -> Result<Config, String> {
    let shipped = SlotSet::shipped();
    let over_shipped = |place: &str, text| -> Result<SlotSet, String> {
        let set = set(text).map_err(|cause| format!("{place}.{cause}"))?;
        Ok(SlotSet { warn: set.warn.or(shipped.warn.clone()), audit: set.audit.or(shipped.audit.clone()), ..set })
    };
    let entries = |place: &str, list: Vec<EntryText>| -> Result<Vec<(Selector, SlotSet)>, String> {
        list.into_iter().enumerate().map(|(index, text)| entry(&format!("{place}[{index}]"), text)).collect()
    };
    let modes = Modes {
        defaults: over_shipped("defaults", file.defaults)?,
        cluster_scoped: over_shipped("clusterScoped", file.cluster_scoped)?,
        namespaces: entries("namespaces", file.namespaces)?,
        floors: entries("floors", file.floors)?,
        authority: file.modes.convert().map_err(|cause| format!("modes.{cause}"))?,
    };
    only_namespaces_mutate(&modes)?;
    let name = |(name, meta): (String, NamespaceMeta)| (name.clone(), NamespaceMeta { name, ..meta });
    let static_namespaces = file.static_namespaces.into_iter().map(name).collect();
    let mut controllers = Controllers::default();
    for (kind, users) in file.controllers {
        if !kind.contains('/') {
            return Err(format!("controllers: \"{kind}\" is not apiGroup/Kind, for example apps/ReplicaSet"));
        }
        controllers.0.insert(kind, users);
    }
    Ok(Config { modes, static_namespaces, controllers, path: None })
}

/// Refuses `mutate` where it would do nothing.
fn only_namespaces_mutate(modes: &Modes) -> Result<(), String> {
    if modes.cluster_scoped.mutate.is_some() {
        return Err("clusterScoped.mutate: only objects in namespaces are mutated".into());
    }
    match modes.floors.iter().position(|(_, set)| set.mutate.is_some()) {
        Some(index) => Err(format!("floors[{index}].set.mutate: a floor only judges; use defaults or namespaces")),
        None => Ok(()),
    }
}

fn entry(place: &str, text: EntryText) -> Result<(Selector, SlotSet), String> {
    let selector = Selector::new(&text.matches.names, text.matches.labels)
        .map_err(|cause| format!("{place}.match.names: {cause}"))?;
    if text.break_glass.is_some() && !place.starts_with("floors") {
        return Err(format!("{place}.breakGlass: goes with floors; break-glass makes everything else warn anyway"));
    }
    let set = set(text.set).map_err(|cause| format!("{place}.set.{cause}"))?;
    Ok((selector, SlotSet { break_glass: text.break_glass.unwrap_or_default(), ..set }))
}

fn set(text: SetText) -> Result<SlotSet, String> {
    let slot = |name: String| if name == OFF { Slot::Off } else { Slot::Policy(name.as_str().into()) };
    let depends = [("severity", &text.severity), ("scope", &text.scope), ("from", &text.from)];
    if let Some((name, _)) = depends.into_iter().find(|(_, value)| value.is_some() && text.enforce.is_none()) {
        return Err(format!("{name}: goes with enforce, which \"set\" does not set here"));
    }
    let severity = text.severity.map(|text| text.parse::<Severity>().map_err(|cause| format!("severity: {cause}")));
    let scope = text.scope.map(|text| text.parse::<Scope>().map_err(|cause| format!("scope: {cause}")));
    let from = text.from.map(|text| parse_from(&text).map_err(|cause| format!("from: {cause}")));
    Ok(SlotSet {
        enforce: text.enforce.map(slot),
        warn: text.warn.map(slot),
        audit: text.audit.map(slot),
        mutate: text.mutate.map(slot),
        severity: severity.transpose()?,
        scope: scope.transpose()?,
        from: from.transpose()?,
        break_glass: false,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::parse;
    use crate::policy::modes::{Mode, Slot};

    fn fault(text: &str) -> String {
        parse(Path::new("gatepost.yaml"), text).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_is_left_out_stays_as_shipped() {
        let config = parse(Path::new("c"), "defaults: {warn: baseline}").unwrap_or_default();
        assert_eq!(config.modes.defaults.get(Mode::Warn), Some(&Slot::Policy("baseline".into())));
        assert_eq!(config.modes.defaults.get(Mode::Audit), Some(&Slot::Policy("strict".into())));
    }

    #[test]
    fn names_place_and_nearest_key() {
        for (text, near) in
            [("namespace: []", "namespaces"), ("defalts: {}", "defaults"), ("defaults: {wran: a}", "warn")]
        {
            assert!(fault(text).contains(&format!("did you mean `{near}`?")), "{}", fault(text));
        }
        assert!(fault("namespace: []").starts_with("gatepost.yaml:1"), "{}", fault("namespace: []"));
        let severity = fault("floors:\n  - set: {enforce: baseline, severity: hihg}\n");
        assert!(severity.starts_with("gatepost.yaml:2: floors[0].set.severity: \"hihg\""), "{severity}");
        let mutate = fault("floors:\n  - set: {mutate: baseline}\n");
        assert!(mutate.contains("floors[0].set.mutate: a floor only judges"), "{mutate}");
        let mutate = fault("clusterScoped: {mutate: baseline}\n");
        assert!(mutate.contains("clusterScoped.mutate: only objects in namespaces"), "{mutate}");
        let date = fault("namespaces:\n  - match: {names: [a]}\n    set: {enforce: baseline, from: tomorrow}\n");
        assert!(date.starts_with("gatepost.yaml:3: namespaces[0].set.from: \"tomorrow\""), "{date}");
    }
}
