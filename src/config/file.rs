//! The sections of the configuration file that are no settings: selectors, namespaces, controllers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::audit::{AuditTerms, AuditText};
use super::auth::{Auth, AuthText};
use super::authority::AuthorityText;
use super::exemptions::ExemptionsText;
use super::groups::GroupsText;
use super::notifications::{self, Target, TargetText};
use super::slots::Slots;
use crate::admission::Controllers;
use crate::policy::modes::{OFF, Slot, SlotSet, parse_from};
use crate::policy::{
    Authority, ExemptionTerms, GroupTerms, Modes, NamespaceMeta, Scope, Selector, Severity, with_nearest_field,
};

/// What is wrong in the file; the line where it is known, and else the key of the setting that is at fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// In a section.
    Section {
        /// Counted from 1.
        line: Option<u64>,
        /// The key, and what is wrong with it.
        cause: String,
    },
    /// In a setting, wherever that comes from.
    Setting {
        /// `defaults.severity`.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// What the sections of a file hold. [`super::outline`] has refused keys that are not known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sections {
    namespaces: Vec<EntryText>,
    floors: Vec<EntryText>,
    #[serde(rename = "static")]
    static_namespaces: BTreeMap<String, NamespaceMeta>,
    controllers: BTreeMap<String, Spanned<Vec<String>>>,
    modes: Option<Spanned<AuthorityText>>,
    exemptions: Option<Spanned<ExemptionsText>>,
    audit: Option<AuditText>,
    groups: Option<Spanned<GroupsText>>,
    notifications: Option<Spanned<Vec<TargetText>>>,
    auth: Option<Spanned<AuthText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    #[serde(rename = "match", default)]
    matches: MatchText,
    set: SetText,
    #[serde(rename = "breakGlass", default)]
    break_glass: Option<Spanned<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MatchText {
    names: Vec<Spanned<String>>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SetText {
    enforce: Option<Spanned<String>>,
    warn: Option<Spanned<String>>,
    audit: Option<Spanned<String>>,
    mutate: Option<Spanned<String>>,
    severity: Option<Spanned<String>>,
    scope: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
}

/// What the sections and the slots of settings amount to.
#[derive(Debug)]
pub(super) struct Converted {
    pub modes: Modes,
    pub static_namespaces: BTreeMap<String, NamespaceMeta>,
    pub controllers: Controllers,
    pub exemptions: ExemptionTerms,
    pub audit: AuditTerms,
    pub groups: GroupTerms,
    pub notifications: Vec<Target>,
    pub auth: Auth,
    /// The line of each policy that is named: `namespaces[0].set.enforce`.
    pub lines: BTreeMap<String, u64>,
}

impl Sections {
    /// Reads the file's text; the error has a line where it is known.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            Fault::Section { line: error.location().map(|at| at.line()), cause: with_nearest_field(&error.to_string()) }
        })
    }

    /// Checks every value, and adds the slots that are settings.
    pub(super) fn convert(self, slots: &Slots) -> Result<Converted, Fault> {
        let mut lines = BTreeMap::new();
        let mut entries = |place: &str, list: Vec<EntryText>| -> Result<Vec<(Selector, SlotSet)>, Fault> {
            let place = |index: usize| format!("{place}[{index}]");
            list.into_iter().enumerate().map(|(index, text)| entry(&place(index), text, &mut lines)).collect()
        };
        let (namespaces, floors) = (entries("namespaces", self.namespaces)?, entries("floors", self.floors)?);
        let modes = Modes {
            defaults: group(slots, "defaults")?,
            cluster_scoped: group(slots, "clusterScoped")?,
            namespaces,
            floors,
            authority: authority(self.modes)?,
        };
        only_namespaces_mutate(&modes, &lines)?;
        let name = |(name, meta): (String, NamespaceMeta)| (name.clone(), NamespaceMeta { name, ..meta });
        let static_namespaces = self.static_namespaces.into_iter().map(name).collect();
        let mut controllers = Controllers::default();
        for (kind, users) in self.controllers {
            if !kind.contains('/') {
                let cause = format!("controllers: \"{kind}\" is not apiGroup/Kind, for example apps/ReplicaSet");
                return Err(Fault::Section { line: Some(users.referenced.line()), cause });
            }
            controllers.0.insert(kind, users.value);
        }
        let (exemptions, notifications) = (exemptions(self.exemptions)?, targets(self.notifications)?);
        let audit = self.audit.unwrap_or_default().convert(&mut lines);
        let (groups, auth) = (groups(self.groups)?, auth(self.auth)?);
        Ok(Converted { modes, static_namespaces, controllers, exemptions, audit, groups, notifications, auth, lines })
    }
}

fn groups(text: Option<Spanned<GroupsText>>) -> Result<GroupTerms, Fault> {
    let Some(Spanned { value, referenced, .. }) = text else { return Ok(GroupTerms::default()) };
    value.convert().map_err(|cause| Fault::Section { line: Some(referenced.line()), cause: format!("groups.{cause}") })
}

fn authority(text: Option<Spanned<AuthorityText>>) -> Result<Authority, Fault> {
    let Some(Spanned { value, referenced, .. }) = text else { return Ok(Authority::default()) };
    value.convert().map_err(|cause| Fault::Section { line: Some(referenced.line()), cause: format!("modes.{cause}") })
}

fn exemptions(text: Option<Spanned<ExemptionsText>>) -> Result<ExemptionTerms, Fault> {
    let Some(Spanned { value, referenced, .. }) = text else { return Ok(ExemptionTerms::default()) };
    let fault = |cause| Fault::Section { line: Some(referenced.line()), cause: format!("exemptions.{cause}") };
    value.convert().map_err(fault)
}

fn targets(text: Option<Spanned<Vec<TargetText>>>) -> Result<Vec<Target>, Fault> {
    let Some(Spanned { value, referenced, .. }) = text else { return Ok(Vec::new()) };
    let fault = |cause| Fault::Section { line: Some(referenced.line()), cause: format!("notifications{cause}") };
    notifications::convert(value).map_err(fault)
}

fn auth(text: Option<Spanned<AuthText>>) -> Result<Auth, Fault> {
    let Some(Spanned { value, referenced, .. }) = text else { return Ok(Auth::default()) };
    value.convert().map_err(|(line, cause)| Fault::Section {
        line: line.or(Some(referenced.line())),
        cause: format!("auth.{cause}"),
    })
}

/// Refuses `mutate` where it would do nothing.
fn only_namespaces_mutate(modes: &Modes, lines: &BTreeMap<String, u64>) -> Result<(), Fault> {
    let Some(index) = modes.floors.iter().position(|(_, set)| set.mutate.is_some()) else { return Ok(()) };
    let key = format!("floors[{index}].set.mutate");
    let cause = format!("{key}: a floor only judges; use defaults or namespaces");
    Err(Fault::Section { line: lines.get(&key).copied(), cause })
}

fn entry(place: &str, text: EntryText, lines: &mut BTreeMap<String, u64>) -> Result<(Selector, SlotSet), Fault> {
    let MatchText { names, labels } = text.matches;
    let line = names.first().map(|name| name.referenced.line());
    let names: Vec<String> = names.into_iter().map(|name| name.value).collect();
    let selector = Selector::new(&names, labels)
        .map_err(|cause| Fault::Section { line, cause: format!("{place}.match.names: {cause}") })?;
    if let Some(given) = text.break_glass.as_ref().filter(|_| !place.starts_with("floors")) {
        let cause = format!("{place}.breakGlass: goes with floors; break-glass makes everything else warn anyway");
        return Err(Fault::Section { line: Some(given.referenced.line()), cause });
    }
    let set_lines = text.set.lines();
    let line_of = |name: &str| set_lines.iter().find(|(key, _)| *key == name).map(|(_, line)| *line);
    let set = set(&text.set).map_err(|(name, cause)| Fault::Section {
        line: line_of(name),
        cause: format!("{place}.set.{name}: {cause}"),
    })?;
    lines.extend(set_lines.iter().map(|(name, line)| (format!("{place}.set.{name}"), *line)));
    let break_glass = text.break_glass.is_some_and(|given| given.value);
    Ok((selector, SlotSet { break_glass, ..set }))
}

impl SetText {
    fn entries(&self) -> [(&'static str, Option<&Spanned<String>>); 7] {
        [
            ("enforce", self.enforce.as_ref()),
            ("warn", self.warn.as_ref()),
            ("audit", self.audit.as_ref()),
            ("mutate", self.mutate.as_ref()),
            ("severity", self.severity.as_ref()),
            ("scope", self.scope.as_ref()),
            ("from", self.from.as_ref()),
        ]
    }

    fn lines(&self) -> Vec<(&'static str, u64)> {
        let line = |(name, text): (_, Option<&Spanned<String>>)| Some((name, text?.referenced.line()));
        self.entries().into_iter().filter_map(line).collect()
    }
}

/// Reads the slots of `defaults` or `clusterScoped`.
fn group(slots: &Slots, group: &str) -> Result<SlotSet, Fault> {
    slot_set(&|name| slots.get(group, name))
        .map_err(|(name, cause)| Fault::Setting { key: format!("{group}.{name}"), cause })
}

fn set(text: &SetText) -> Result<SlotSet, (&'static str, String)> {
    let entries = text.entries();
    slot_set(&|name| {
        let found = entries.iter().find(|(key, _)| *key == name);
        found.and_then(|(_, text)| text.map(|text| text.value.as_str()))
    })
}

/// Reads a set of slots; the error names the one that is at fault.
fn slot_set<'a>(get: &dyn Fn(&str) -> Option<&'a str>) -> Result<SlotSet, (&'static str, String)> {
    let slot = |name| get(name).map(|name| if name == OFF { Slot::Off } else { Slot::Policy(name.into()) });
    let depends = ["severity", "scope", "from"].into_iter().find(|name| get(name).is_some());
    if let Some(name) = depends.filter(|_| get("enforce").is_none()) {
        return Err((name, "goes with enforce, which is not set here".into()));
    }
    let severity =
        get("severity").map(|text| text.parse::<Severity>().map_err(|cause| ("severity", cause.to_string())));
    let scope = get("scope").map(|text| text.parse::<Scope>().map_err(|cause| ("scope", cause.to_string())));
    let from = get("from").map(|text| parse_from(text).map_err(|cause| ("from", cause)));
    Ok(SlotSet {
        enforce: slot("enforce"),
        warn: slot("warn"),
        audit: slot("audit"),
        mutate: slot("mutate"),
        severity: severity.transpose()?,
        scope: scope.transpose()?,
        from: from.transpose()?,
        break_glass: false,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::super::layers::Layers;
    use crate::policy::modes::{Mode, Slot};

    fn config(text: &str) -> Result<Config, String> {
        let layers = Layers::of_file(Path::new("gatepost.yaml"));
        layers.resolve(Some(text)).map(|read| read.config).map_err(|error| error.to_string())
    }

    fn fault(text: &str) -> String {
        config(text).err().unwrap_or_default()
    }

    #[test]
    fn what_is_left_out_stays_as_shipped() {
        for text in ["defaults: {warn: baseline}", "defaults:\n  warn: baseline\n  audit:\n"] {
            let config = config(text).unwrap();
            assert_eq!(config.modes.defaults.get(Mode::Warn), Some(&Slot::Policy("baseline".into())));
            assert_eq!(config.modes.defaults.get(Mode::Audit), Some(&Slot::Policy("strict".into())));
        }
        assert_eq!(config("defaults: {warn: off}").unwrap().modes.defaults.get(Mode::Warn), Some(&Slot::Off));
    }

    #[test]
    fn names_the_nearest_key() {
        for (text, near) in [
            ("namespacs: []", "namespaces"),
            ("namespace: []", "namespaces"),
            ("defalts: {}", "defaults"),
            ("defaults: {wran: a}", "warn"),
            ("listenWebhok: 127.0.0.1:1", "listenWebhook"),
            ("floors: [{mach: {}, set: {}}]", "match"),
        ] {
            let fault = fault(text);
            assert!(
                fault.starts_with("gatepost.yaml:1: ") && fault.contains(&format!("did you mean `{near}`?")),
                "{fault}"
            );
        }
    }

    #[test]
    fn names_the_place() {
        for (text, expected) in [
            ("floors:\n  - set: {enforce: baseline, severity: hihg}\n", ":2: floors[0].set.severity: \"hihg\""),
            ("floors:\n  - set: {mutate: baseline}\n", ":2: floors[0].set.mutate: a floor only judges"),
            ("clusterScoped: {mutate: baseline}\n", ":1: unknown key `clusterScoped.mutate`"),
            ("\ndefaults:\n  severity: high\n", ":3: defaults.severity: goes with enforce"),
            (
                "namespaces:\n  - match: {names: [a]}\n    set: {enforce: baseline,\n      from: tomorrow}\n",
                ":4: namespaces[0].set.from: \"tomorrow\"",
            ),
            (
                "namespaces:\n  - match: {names: [\"a[\"]}\n    set: {warn: off}\n",
                ":2: namespaces[0].match.names: \"a[\"",
            ),
            ("static: {}\ncontrollers:\n  ReplicaSet: [a]\n", ":3: controllers: \"ReplicaSet\" is not apiGroup/Kind"),
            ("queue: 5\nqueue: 6\n", ":2: "),
            ("namespaces:\n- set: {warn: off}\n  breakGlass: true\n", ":3: namespaces[0].breakGlass: goes with floors"),
            ("\nmodes: {admins: {users: [\"\"]}}\n", ":2: modes.admins.users[0]: \"\" names nobody"),
            ("\nqueue: [1]\n", ":2: `queue` takes a single value"),
            ("namespaces: {}\n", ":1: "),
            ("\npolicies: a\n", ":2: `policies` takes a list"),
            ("- a\n", ":1: "),
        ] {
            let fault = fault(text);
            assert!(fault.starts_with(&format!("gatepost.yaml{expected}")), "{text}: {fault}");
        }
    }
}
