//! Modes: what a namespace does with a policy's violations, and the grants that come of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::authority::Authority;
use super::metadata::{Severity, UnknownWord};
use super::namespace::{NamespaceMeta, Selector};
use super::notices::{Notice, unknown_keys};
use super::suggest::nearest;

/// Prefix of every label and annotation of ours.
pub const PREFIX: &str = "gatepost.dev/";
/// Annotation: deny only at or above this severity.
pub const ENFORCE_SEVERITY: &str = "gatepost.dev/enforce-severity";
/// Annotation: whether an UPDATE is denied for what was there before.
pub const ENFORCE_SCOPE: &str = "gatepost.dev/enforce-scope";
/// Annotation: the date from which enforce denies.
pub const ENFORCE_FROM: &str = "gatepost.dev/enforce-from";
/// Label value that switches a slot off.
pub const OFF: &str = "off";

/// What a namespace does with a policy's violations, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Recorded only.
    Audit,
    /// Admitted with a warning.
    Warn,
    /// Denied.
    Enforce,
}

impl Mode {
    /// Every mode, the strongest first.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Warn, Self::Audit];

    /// Returns the word that stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }

    /// Returns the namespace label of this slot, for example `gatepost.dev/enforce`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Audit => "gatepost.dev/audit",
            Self::Warn => "gatepost.dev/warn",
            Self::Enforce => "gatepost.dev/enforce",
        }
    }
}

/// What an UPDATE is denied for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Only for what it brings in.
    #[default]
    New,
    /// Also for what was there before.
    All,
}

impl FromStr for Scope {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "new" => Ok(Self::New),
            "all" => Ok(Self::All),
            _ => Err(UnknownWord { found: text.into(), expected: "new, all" }),
        }
    }
}

/// Where a grant comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantOrigin {
    /// The namespace's own label.
    Label,
    /// An entry of the configuration's `namespaces`.
    Configuration,
    /// The configuration's defaults.
    Default,
    /// A floor, which no label takes away.
    Floor,
}

/// One policy that judges a namespace's objects, and with what force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What happens to a violation.
    pub mode: Mode,
    /// Name of the policy.
    pub policy: Arc<str>,
    /// Under enforce: below this severity a violation is only warned of.
    pub severity: Option<Severity>,
    /// Under enforce: what an UPDATE is denied for.
    pub scope: Scope,
    /// Under enforce: the instant before which it only warns.
    pub from: Option<Timestamp>,
    /// Where it comes from.
    pub origin: GrantOrigin,
    /// Whether it only warns while glass is broken: every slot does, and a floor whose entry says so.
    pub yields_to_break_glass: bool,
}

/// A slot's value: a policy, or explicitly none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Nothing is asked.
    Off,
    /// The policy of this name.
    Policy(Arc<str>),
}

/// What one entry of the configuration sets; a slot that it leaves out is left as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotSet {
    /// The enforce slot.
    pub enforce: Option<Slot>,
    /// The warn slot.
    pub warn: Option<Slot>,
    /// The audit slot.
    pub audit: Option<Slot>,
    /// The mutate slot.
    pub mutate: Option<Slot>,
    /// Goes with `enforce`.
    pub severity: Option<Severity>,
    /// Goes with `enforce`.
    pub scope: Option<Scope>,
    /// Goes with `enforce`.
    pub from: Option<Timestamp>,
    /// Of a floor: whether break-glass makes it warn, as it does with every slot.
    pub break_glass: bool,
}

impl SlotSet {
    /// Returns what Gatepost does when nobody said anything: warn by `recommended`, record by `strict`.
    pub fn shipped() -> Self {
        Self {
            warn: Some(Slot::Policy("recommended".into())),
            audit: Some(Slot::Policy("strict".into())),
            ..Self::default()
        }
    }

    /// Returns the slot of a mode.
    pub fn get(&self, mode: Mode) -> Option<&Slot> {
        match mode {
            Mode::Enforce => self.enforce.as_ref(),
            Mode::Warn => self.warn.as_ref(),
            Mode::Audit => self.audit.as_ref(),
        }
    }

    /// Returns the policies that are named, each with the configuration's word for its slot.
    pub fn policies(&self) -> impl Iterator<Item = (&'static str, &Arc<str>)> {
        let modes = Mode::ALL.into_iter().map(|mode| (mode.as_str(), self.get(mode)));
        modes.chain([("mutate", self.mutate.as_ref())]).filter_map(|(word, slot)| match slot {
            Some(Slot::Policy(name)) => Some((word, name)),
            _ => None,
        })
    }

    fn grant(&self, mode: Mode, origin: GrantOrigin) -> Option<Grant> {
        let Slot::Policy(policy) = self.get(mode)? else { return None };
        let enforce = mode == Mode::Enforce;
        Some(Grant {
            mode,
            policy: policy.clone(),
            severity: self.severity.filter(|_| enforce),
            scope: self.scope.filter(|_| enforce).unwrap_or_default(),
            from: self.from.filter(|_| enforce),
            origin,
            yields_to_break_glass: origin != GrantOrigin::Floor || self.break_glass,
        })
    }
}

/// The configuration's say in which policies judge what.
#[derive(Debug, Clone)]
pub struct Modes {
    /// For namespaces about which nothing else is said.
    pub defaults: SlotSet,
    /// For objects outside any namespace.
    pub cluster_scoped: SlotSet,
    /// Ordered: the last match wins, slot by slot.
    pub namespaces: Vec<(Selector, SlotSet)>,
    /// All matches add up.
    pub floors: Vec<(Selector, SlotSet)>,
    /// Who may weaken what these and the labels say.
    pub authority: Authority,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            defaults: SlotSet::shipped(),
            cluster_scoped: SlotSet::shipped(),
            namespaces: Vec::new(),
            floors: Vec::new(),
            authority: Authority::default(),
        }
    }
}

/// What judges a namespace's objects, and what its owner should know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// At most three slots, then the floors.
    pub grants: Vec<Grant>,
    /// What does not mean what its author thought.
    pub notices: Vec<Notice>,
}

/// Names the policies that exist.
pub trait PolicyNames {
    /// Returns whether a policy of this name exists.
    fn has_policy(&self, name: &str) -> bool;
    /// Returns every name.
    fn policy_names(&self) -> Vec<&str>;
}

impl Modes {
    /// Returns every grant that judges a namespace: its three slots, then the floors, which no label can take away.
    pub fn grants(&self, namespace: &NamespaceMeta, policies: &impl PolicyNames) -> Grants {
        let mut notices = unknown_keys(namespace);
        let mut grants: Vec<Grant> =
            Mode::ALL.into_iter().filter_map(|mode| self.slot(mode, namespace, policies, &mut notices)).collect();
        grants.extend(self.floors(|selector| selector.matches(namespace)));
        self.mutate_slot(namespace, policies, &mut notices);
        Grants { grants, notices }
    }

    /// Returns the grants of objects outside any namespace.
    pub fn cluster_scoped_grants(&self) -> Grants {
        let slots = Mode::ALL.into_iter();
        let grants = slots.filter_map(|mode| self.cluster_scoped.grant(mode, GrantOrigin::Configuration)).collect();
        Grants { grants, notices: Vec::new() }
    }

    /// Returns the grants of a namespace whose metadata could not be read: what the configuration says of its
    /// name, and every floor that its labels could bring.
    pub fn grants_of_unread(&self, name: &str, policies: &impl PolicyNames) -> Grants {
        let namespace = NamespaceMeta::named(name);
        let mut grants = self.grants(&namespace, policies);
        grants.grants.retain(|grant| grant.origin != GrantOrigin::Floor);
        grants.grants.extend(self.floors(|selector| selector.could_match(name)));
        grants.notices.push(Notice::UnreadNamespace);
        grants
    }

    /// Returns what a Namespace write brings in that names nothing: reasons to refuse it.
    pub fn faults_brought_in(
        &self,
        new: &NamespaceMeta,
        old: Option<&NamespaceMeta>,
        policies: &impl PolicyNames,
    ) -> Vec<Notice> {
        let before = old.map(|old| self.grants(old, policies).notices).unwrap_or_default();
        let mut notices = self.grants(new, policies).notices;
        notices.retain(|notice| notice.refuses_write() && !before.contains(notice));
        notices
    }

    /// Returns the label keys by which entries of the configuration and floors select, the floors' first.
    pub fn selecting_labels(&self) -> Vec<&str> {
        let selectors = self.floors.iter().chain(&self.namespaces).map(|(selector, _)| selector);
        selectors.flat_map(Selector::label_keys).collect()
    }

    /// Returns every policy that the configuration names, with the place that names it.
    pub fn named_policies(&self) -> Vec<(String, Arc<str>)> {
        let of = |place: String, set: &SlotSet| -> Vec<(String, Arc<str>)> {
            set.policies().map(|(word, name)| (format!("{place}.{word}"), name.clone())).collect()
        };
        let mut named = of("defaults".into(), &self.defaults);
        named.extend(of("clusterScoped".into(), &self.cluster_scoped));
        for (index, (_, set)) in self.namespaces.iter().enumerate() {
            named.extend(of(format!("namespaces[{index}].set"), set));
        }
        for (index, (_, set)) in self.floors.iter().enumerate() {
            named.extend(of(format!("floors[{index}].set"), set));
        }
        named
    }

    fn floors(&self, matches: impl Fn(&Selector) -> bool) -> Vec<Grant> {
        let matching = self.floors.iter().filter(|(selector, _)| matches(selector));
        matching
            .flat_map(|(_, set)| Mode::ALL.into_iter().filter_map(|mode| set.grant(mode, GrantOrigin::Floor)))
            .collect()
    }

    fn slot(
        &self,
        mode: Mode,
        namespace: &NamespaceMeta,
        policies: &impl PolicyNames,
        notices: &mut Vec<Notice>,
    ) -> Option<Grant> {
        match labelled_slot(mode.label(), namespace, policies, notices) {
            Some(Slot::Off) => return None,
            Some(Slot::Policy(name)) => return Some(labelled(mode, name, namespace, notices)),
            None => {}
        }
        if mode == Mode::Enforce && !namespace.labels.contains_key(mode.label()) {
            let annotations = [ENFORCE_SEVERITY, ENFORCE_SCOPE, ENFORCE_FROM];
            let stray = annotations.into_iter().filter(|name| namespace.annotations.contains_key(*name));
            notices.extend(stray.map(|annotation| Notice::WithoutLabel { annotation }));
        }
        self.configured(mode, namespace)
    }

    fn configured(&self, mode: Mode, namespace: &NamespaceMeta) -> Option<Grant> {
        match self.last_match(namespace, |set| set.get(mode).is_some()) {
            Some(set) => set.grant(mode, GrantOrigin::Configuration),
            None => self.defaults.grant(mode, GrantOrigin::Default),
        }
    }

    /// Returns the last entry of `namespaces` that selects a namespace and says something of a slot.
    pub(super) fn last_match(&self, namespace: &NamespaceMeta, says: impl Fn(&SlotSet) -> bool) -> Option<&SlotSet> {
        let matching = self.namespaces.iter().rev().filter(|(selector, _)| selector.matches(namespace));
        matching.map(|(_, set)| set).find(|set| says(set))
    }
}

/// Returns what a namespace's own label says of a slot; nothing if there is none, or, with a notice, if it names no
/// policy.
pub(super) fn labelled_slot(
    label: &'static str,
    namespace: &NamespaceMeta,
    policies: &impl PolicyNames,
    notices: &mut Vec<Notice>,
) -> Option<Slot> {
    match namespace.labels.get(label)?.as_str() {
        OFF => Some(Slot::Off),
        name if policies.has_policy(name) => Some(Slot::Policy(name.into())),
        name => {
            let nearest = nearest(name, policies.policy_names()).map(str::to_owned);
            notices.push(Notice::UnknownPolicy { label, name: name.to_owned(), nearest });
            None
        }
    }
}

fn labelled(mode: Mode, policy: Arc<str>, namespace: &NamespaceMeta, notices: &mut Vec<Notice>) -> Grant {
    let mut grant = Grant {
        mode,
        policy,
        severity: None,
        scope: Scope::New,
        from: None,
        origin: GrantOrigin::Label,
        yields_to_break_glass: true,
    };
    if mode == Mode::Enforce {
        grant.severity = annotation(namespace, ENFORCE_SEVERITY, notices, str::parse);
        let unreadable_means_all = namespace.annotations.contains_key(ENFORCE_SCOPE).then_some(Scope::All);
        grant.scope =
            annotation(namespace, ENFORCE_SCOPE, notices, str::parse).or(unreadable_means_all).unwrap_or_default();
        grant.from = annotation(namespace, ENFORCE_FROM, notices, parse_from);
    }
    grant
}

fn annotation<T, E: fmt::Display>(
    namespace: &NamespaceMeta,
    name: &'static str,
    notices: &mut Vec<Notice>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    match parse(namespace.annotations.get(name)?) {
        Ok(value) => Some(value),
        Err(cause) => {
            notices.push(Notice::Unreadable { annotation: name, cause: cause.to_string() });
            None
        }
    }
}

/// Reads the day from which enforce denies: a date (from midnight UTC) or an RFC 3339 instant.
pub fn parse_from(text: &str) -> Result<Timestamp, String> {
    // A date-time without an offset parses as a date too, and its time would be lost.
    let day = text.parse::<Date>().ok().filter(|day| day.to_string() == text);
    if let Some(start) = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()) {
        return Ok(start.timestamp());
    }
    text.parse().map_err(|_| format!("\"{text}\" is neither a date such as 2026-12-01 nor an RFC 3339 instant"))
}
