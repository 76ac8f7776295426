//! Namespace writes that change modes: what changes, whether the requester may, and what they are told if not.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::decision::{Decision, Reason};
use super::envelope::Envelope;
use super::request::{NamespaceState, Reviewer};
use super::speak::clip;
use crate::engine::{Bundle, Fields as _, Value};
use crate::policy::modes::{ENFORCE_FROM, ENFORCE_SCOPE, ENFORCE_SEVERITY};
use crate::policy::notices::Notice;
use crate::policy::weakening::{in_words_with_modes, mode_changes, rules_of};
use crate::policy::{
    BreakGlass, BreakGlassFault, Grant, Mode, ModeChange, Modes, NamespaceMeta, Operation, Part, Requester, Standing,
    Verb,
};

/// Longest words of what held before and after, so that the way to mend it is still read.
const STATE_LENGTH: usize = 48;
/// The same where more than one change is told.
const STATE_LENGTH_OF_MANY: usize = 32;
/// Rules that a refusal names.
const RULES: usize = 10;

/// What a Namespace write makes of the namespace's modes, and whether the requester may.
#[derive(Debug, Clone)]
pub struct NamespaceWrite {
    /// Name of the namespace; empty where the API server is yet to make one.
    pub namespace: String,
    /// Who asks.
    pub requester: Requester,
    /// Every change of a mode.
    pub changes: Vec<ModeChange>,
    /// The strongest mode before and after; none where nothing judges. While glass is broken enforce counts as warn.
    pub strongest: (Option<Mode>, Option<Mode>),
    /// Break-glass that it begins or extends.
    pub break_glass: Option<BreakGlass>,
    /// Break-glass annotations that it brings in and that do nothing.
    pub fault: Option<BreakGlassFault>,
    /// Labels and annotations that would undo it, such as `label env=prod`.
    pub restore: Vec<String>,
    /// Whether the requester may.
    pub ruling: Ruling,
}

/// Whether the requester of a Namespace write may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing is weakened.
    NotNeeded,
    /// The cluster's roles must be asked for these verbs.
    Open(Vec<Verb>),
    /// They may, for this reason.
    Granted(Ground),
    /// They may not.
    Refused(Refusal),
}

/// Why a requester may weaken modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ground {
    /// The configuration's `modes.admins` names them.
    Admins,
    /// A role of the cluster gives them the verb.
    Roles,
}

/// Why a requester may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The configuration's `modes.mayNotWeaken` names them.
    Barred,
    /// No role gives them the verb.
    NoRole(Verb),
    /// There is no cluster whose roles could be asked.
    NoCluster,
    /// The cluster gave no answer, and no answer is a no.
    NoAnswer(String),
}

impl Ruling {
    /// Returns a short name for logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotNeeded => "not-needed",
            Self::Open(_) => "not-asked",
            Self::Granted(Ground::Admins) => "admins",
            Self::Granted(Ground::Roles) => "roles",
            Self::Refused(Refusal::Barred) => "barred",
            Self::Refused(Refusal::NoRole(_) | Refusal::NoCluster) => "refused",
            Self::Refused(Refusal::NoAnswer(_)) => "no-answer",
        }
    }
}

impl NamespaceWrite {
    /// Returns whether something that was denied would be denied no more, glass that is broken left aside.
    pub fn weakens(&self) -> bool {
        self.changes.iter().any(ModeChange::weakens)
    }

    /// Returns every change in one line, for the API server's audit log: `enforce: baseline -> off`.
    pub fn in_words(&self) -> String {
        let each =
            self.changes.iter().map(|change| format!("{}: {} -> {}", change.part.as_str(), change.from, change.to));
        each.collect::<Vec<_>>().join("; ")
    }
}

impl Requester {
    /// Reads the `userInfo` of an AdmissionRequest.
    pub fn of(user_info: &Value) -> Self {
        let texts = |value: &Value| value.items().filter_map(|item| Some(item.as_text()?.to_owned())).collect();
        let text = |key| user_info.text(key).unwrap_or_default().to_owned();
        let extra = user_info.field("extra").into_iter().flat_map(Value::entries);
        Self {
            user: text("username"),
            uid: text("uid"),
            groups: user_info.field("groups").map(texts).unwrap_or_default(),
            extra: extra.map(|(key, values)| (key.to_string(), texts(values))).collect(),
        }
    }
}

impl Reviewer<'_> {
    /// Returns what a Namespace write makes of the modes; nothing for any other request, and where nothing changes.
    ///
    /// It reads no more than the metadata, from the text, so that it can tell also of objects that are too deep or too
    /// large to be judged, and when there is no time left. `known` is what the watch knows of the namespace.
    pub(super) fn namespace_write(
        &self,
        envelope: &Envelope,
        known: &NamespaceState,
        now: Timestamp,
    ) -> Option<NamespaceWrite> {
        let operation = envelope.operation();
        if !envelope.kind.is_namespace() || !matches!(operation, Operation::Create | Operation::Update) {
            return None;
        }
        let new = envelope.metadata();
        let old = (operation == Operation::Update).then(|| self.before(envelope, known));
        let mut write = match new {
            Some(new) => self.compared(new, old, now),
            None => self.untold(old?, now),
        }?;
        write.requester = Requester::of(&envelope.user_info);
        write.ruling = self.ruling(&write);
        Some(write)
    }

    /// Returns the namespace as it stood; what judged it even if nobody can say how it stood.
    fn before(&self, envelope: &Envelope, known: &NamespaceState) -> Before {
        let meta = envelope.metadata_before().or_else(|| match known {
            NamespaceState::Known(meta) => Some((**meta).clone()),
            NamespaceState::None | NamespaceState::Unread(_) => None,
        });
        let grants = match &meta {
            Some(meta) => self.modes.grants(meta, self.bundle),
            None => self.modes.grants_of_unread(&envelope.name, self.bundle),
        };
        Before { meta: meta.unwrap_or_else(|| NamespaceMeta::named(&envelope.name)), grants: grants.grants }
    }

    fn compared(&self, new: NamespaceMeta, old: Option<Before>, now: Timestamp) -> Option<NamespaceWrite> {
        let is_update = old.is_some();
        let (break_glass, fault) = match BreakGlass::brought_in(&new, old.as_ref().map(|old| &old.meta), now) {
            Ok(break_glass) => (break_glass, None),
            Err(fault) => (None, Some(fault)),
        };
        let grants = self.modes.grants(&new, self.bundle).grants;
        let old = old.unwrap_or_else(|| Before::nothing(&new.name, self.modes, self.bundle));
        let mut changes = mode_changes(&old.grants, &grants, self.bundle, now);
        if !is_update {
            for change in &mut changes {
                change.weakened.clear();
            }
        }
        changes.extend(break_glass_change(&old.meta, &new));
        if changes.is_empty() && break_glass.is_none() && fault.is_none() {
            return None;
        }
        Some(NamespaceWrite {
            strongest: (strongest(&old.grants, &old.meta, now), strongest(&grants, &new, now)),
            restore: restore(&old.meta, &new, &self.modes.selecting_labels()),
            namespace: new.name,
            requester: Requester::default(),
            changes,
            break_glass,
            fault,
            ruling: Ruling::NotNeeded,
        })
    }

    /// Nobody can tell what the write makes of the namespace: if anything was denied there, that may end.
    fn untold(&self, old: Before, now: Timestamp) -> Option<NamespaceWrite> {
        let denying: Vec<Grant> = old.grants.iter().filter(|grant| grant.mode == Mode::Enforce).cloned().collect();
        let weakened = rules_of(&denying, self.bundle, now);
        if weakened.is_empty() {
            return None;
        }
        let from = in_words_with_modes(&denying, now);
        let change = ModeChange { part: Part::Slot(Mode::Enforce), from, to: UNREADABLE.to_owned(), weakened };
        Some(NamespaceWrite {
            strongest: (Some(Mode::Enforce), None),
            namespace: old.meta.name,
            requester: Requester::default(),
            changes: vec![change],
            break_glass: None,
            fault: None,
            restore: Vec::new(),
            ruling: Ruling::NotNeeded,
        })
    }

    fn ruling(&self, write: &NamespaceWrite) -> Ruling {
        let verbs = [(Verb::Weaken, write.weakens()), (Verb::BreakGlass, write.break_glass.is_some())];
        let needed: Vec<Verb> = verbs.into_iter().filter(|(_, is_needed)| *is_needed).map(|(verb, _)| verb).collect();
        if needed.is_empty() {
            return Ruling::NotNeeded;
        }
        match self.modes.authority.standing(&write.requester) {
            Standing::Barred => Ruling::Refused(Refusal::Barred),
            Standing::Admin => Ruling::Granted(Ground::Admins),
            Standing::Unnamed => Ruling::Open(needed),
        }
    }
}

const UNREADABLE: &str = "what cannot be read";

/// A namespace before a write.
struct Before {
    meta: NamespaceMeta,
    grants: Vec<Grant>,
}

impl Before {
    /// A namespace that is yet to be: what the configuration says of its name.
    fn nothing(name: &str, modes: &Modes, bundle: &Bundle) -> Self {
        let meta = NamespaceMeta::named(name);
        Self { grants: modes.grants(&meta, bundle).grants, meta }
    }
}

fn break_glass_change(old: &NamespaceMeta, new: &NamespaceMeta) -> Option<ModeChange> {
    let [from, to] = [old, new].map(|meta| match BreakGlass::read(meta) {
        Ok(None) => "off".to_owned(),
        Ok(Some(glass)) => format!("{} until {}", glass.incident, glass.until),
        Err(_) => "without effect".to_owned(),
    });
    (from != to).then(|| ModeChange { part: Part::BreakGlass, from, to, weakened: Vec::new() })
}

fn strongest(grants: &[Grant], meta: &NamespaceMeta, now: Timestamp) -> Option<Mode> {
    let is_broken = BreakGlass::active(meta, now).is_ok_and(|glass| glass.is_some());
    let yields = |grant: &Grant| is_broken && grant.yields_to_break_glass;
    let modes = grants.iter().map(|grant| if yields(grant) { grant.mode.min(Mode::Warn) } else { grant.mode });
    modes.max()
}

/// Returns what of the labels and annotations that decide about modes stood before and stands otherwise now.
fn restore(old: &NamespaceMeta, new: &NamespaceMeta, selecting: &[&str]) -> Vec<String> {
    let one = |what: &str, key: &str, before: Option<&String>, after: Option<&String>| match (before, after) {
        (before, after) if before == after => None,
        (Some(before), _) => Some(format!("keep {what} {key}={before}")),
        (None, _) => Some(format!("leave out {what} {key}")),
    };
    let mut labels = vec![Mode::Enforce.label()];
    labels.extend(selecting);
    let labels = labels.into_iter().filter_map(|key| one("label", key, old.labels.get(key), new.labels.get(key)));
    let annotations = [ENFORCE_SEVERITY, ENFORCE_SCOPE, ENFORCE_FROM].into_iter();
    let annotations =
        annotations.filter_map(|key| one("annotation", key, old.annotations.get(key), new.annotations.get(key)));
    let mut found: Vec<String> = Vec::new();
    for each in labels.chain(annotations) {
        if !found.contains(&each) {
            found.push(each);
        }
    }
    found
}

impl Decision {
    /// Adds what a Namespace write makes of the modes, and refuses it where that is settled already.
    pub(super) fn with_write(mut self, write: Option<NamespaceWrite>) -> Self {
        let Some(write) = write else { return self };
        if let Some(fault) = &write.fault {
            if self.reason != Reason::NamespaceFault {
                self.notices.clear();
            }
            self.notices.push(Notice::BreakGlass(fault.clone()));
            (self.allowed, self.reason) = (false, Reason::NamespaceFault);
        } else if self.reason != Reason::NamespaceFault && matches!(write.ruling, Ruling::Refused(_)) {
            (self.allowed, self.reason) = (false, Reason::NotAuthorized);
        }
        self.write = Some(Box::new(write));
        self
    }

    /// Returns the write about which the cluster's roles must be asked before the answer goes out, and for what.
    pub fn open_question(&self) -> Option<(&NamespaceWrite, &[Verb])> {
        let write = self.write.as_deref().filter(|_| self.allowed)?;
        match &write.ruling {
            Ruling::Open(verbs) => Some((write, verbs)),
            _ => None,
        }
    }

    /// Returns whether it is a Namespace write of one who may not, or of whom that is not known yet.
    pub fn needs_authority(&self) -> bool {
        self.write.as_deref().is_some_and(|write| matches!(write.ruling, Ruling::Open(_) | Ruling::Refused(_)))
    }

    /// Settles what was open.
    pub fn settle(&mut self, answer: Result<Ground, Refusal>) {
        let Some(write) = &mut self.write else { return };
        match answer {
            Ok(ground) => write.ruling = Ruling::Granted(ground),
            Err(refusal) => {
                write.ruling = Ruling::Refused(refusal);
                (self.allowed, self.reason) = (false, Reason::NotAuthorized);
            }
        }
    }
}

/// Returns what a requester is told who may not: what would be weakened, how to go on, who may; then the rules.
pub(super) fn refusal(write: &NamespaceWrite) -> String {
    let Ruling::Refused(refusal) = &write.ruling else { return String::new() };
    let user = clip(&write.requester.user, STATE_LENGTH + 16);
    let state = |text: &str| clip(text, STATE_LENGTH);
    let weakening = || write.changes.iter().filter(|change| change.weakens());
    let told = weakening().count() + usize::from(write.break_glass.is_some());
    let length = if told > 1 { STATE_LENGTH_OF_MANY } else { STATE_LENGTH };
    let mut what: Vec<String> = weakening()
        .map(|change| (change.part.as_str(), clip(&change.from, length), clip(&change.to, length)))
        .map(|(part, from, to)| format!("weakens {part} from {from} to {to}"))
        .collect();
    what.extend(write.break_glass.iter().map(|glass| format!("breaks glass for {}", state(&glass.incident))));
    let may = match refusal {
        Refusal::Barred => "modes.mayNotWeaken forbids it to you, whatever your rights".to_owned(),
        Refusal::NoRole(verb) => {
            format!("otherwise it takes modes.admins or the verb {} on modes.gatepost.dev", verb.as_str())
        }
        Refusal::NoCluster => "otherwise it takes modes.admins".to_owned(),
        Refusal::NoAnswer(cause) => format!("whether you may could not be asked ({}), which is a no", state(cause)),
    };
    let mend = match (write.restore.as_slice(), &write.break_glass) {
        (_, Some(_)) if weakening().next().is_none() => "leave out both break-glass annotations".to_owned(),
        ([], _) => "leave labels and annotations as they were".to_owned(),
        (restore, _) => restore.iter().take(2).map(|each| clip(each, 80)).collect::<Vec<_>>().join(", "),
    };
    let mut rules: Vec<&str> =
        weakening().flat_map(|change| &change.weakened).map(crate::policy::RuleId::as_str).collect();
    rules.sort_unstable();
    rules.dedup();
    let dots = if rules.len() > RULES { ", …" } else { "" };
    rules.truncate(RULES);
    let spared = if rules.is_empty() { String::new() } else { format!("; spared: {}{dots}", rules.join(", ")) };
    format!("{}; {mend}; {may}; requested by {user}{spared}", what.join(", "))
}

/// The metadata of an object's text that decides about modes.
pub(super) fn metadata_of(text: &RawValue) -> Option<NamespaceMeta> {
    use std::collections::BTreeMap;

    #[derive(serde::Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
    }
    let Metadata { name, labels, annotations } = serde_json::from_str::<Object>(text.get()).ok()?.metadata;
    Some(NamespaceMeta {
        name: name.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        annotations: annotations.unwrap_or_default(),
    })
}
