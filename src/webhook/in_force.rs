//! What judges now: rules, policies and configuration, always exchanged together.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::admission::Reviewer;
use crate::config::{Config, Settings};
use crate::engine::{Bundle, Limits};
use crate::input::Surroundings;
use crate::policy::exemption::{ExemptionKind, ExemptionName, Written};
use crate::policy::{Exemptions, KubernetesVersion, NamespaceMeta, RuleId};

/// Everything that judges and can be exchanged while requests are answered; a request reads one of it, once.
#[derive(Debug, Clone)]
pub struct InForce {
    /// Rules and policies, compiled.
    pub bundle: Arc<Bundle>,
    /// Which policies judge what.
    pub config: Arc<Config>,
    /// Who may break which rule, until when.
    pub exemptions: Arc<Exemptions>,
    /// What stands in for a cluster: manifests, and the configuration's `static` namespaces. Empty with a cluster.
    pub surroundings: Arc<Surroundings>,
    /// Judge objects that controllers make of judged templates all the same.
    pub judge_owned: bool,
    /// What one rule may cost.
    pub limits: Limits,
    /// The release of the cluster; none without one, or while it has not said.
    pub kubernetes_version: Option<KubernetesVersion>,
    /// Largest body that is judged, in bytes.
    pub max_body: usize,
    /// Every setting with where it comes from, as `--print-config` writes it; empty where nobody said.
    pub written: Arc<str>,
}

impl InForce {
    /// Puts rules and configuration in force, with those of the settings that judging needs.
    pub fn new(bundle: Bundle, config: Config, surroundings: Surroundings, settings: &Settings) -> Self {
        let exemptions = Exemptions::new(bundle.catalogue().exemptions().iter().cloned(), &config.exemptions);
        Self {
            exemptions: Arc::new(exemptions),
            bundle: Arc::new(bundle),
            config: Arc::new(config),
            surroundings: Arc::new(surroundings),
            judge_owned: settings.judge_owned,
            kubernetes_version: None,
            limits: Limits { time: settings.rule_timeout(), instructions: settings.rule_instructions },
            max_body: settings.max_body_bytes,
            written: Arc::default(),
        }
    }

    /// Puts exemptions of the cluster in force beside those that stand among the files.
    fn exempt(&mut self, watched: &[Arc<Written>]) {
        let exemptions = self.bundle.catalogue().exemptions_beside(watched, &self.config.exemptions);
        self.exemptions = Arc::new(exemptions);
    }

    /// Returns the policies by which the audit judges a namespace's objects.
    pub fn audited_policies(&self, namespace: &NamespaceMeta) -> BTreeSet<Arc<str>> {
        let grants = self.config.modes.grants(namespace, &*self.bundle).grants;
        grants.into_iter().map(|grant| grant.policy).chain(self.config.audit.policies.iter().cloned()).collect()
    }

    /// Returns the rules by which the audit judges a namespace's objects.
    pub fn audited_rules(&self, namespace: &NamespaceMeta) -> BTreeSet<RuleId> {
        self.bundle.rules_of(self.audited_policies(namespace).iter().map(|policy| &**policy))
    }

    /// Returns what answers reviews.
    pub fn reviewer(&self) -> Reviewer<'_> {
        Reviewer {
            bundle: &self.bundle,
            modes: &self.config.modes,
            exemptions: &self.exemptions,
            controllers: &self.config.controllers,
            judge_owned: self.judge_owned,
            limits: self.limits,
            kubernetes_version: self.kubernetes_version,
        }
    }
}

/// The one place that holds what is in force: readers never wait, a change replaces the whole.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<InForce>,
    changes: watch::Sender<()>,
    /// Exemptions of the cluster; whoever exchanges what is in force holds them, so that neither change is lost.
    watched: Mutex<Vec<Arc<Written>>>,
    uses: ExemptionUses,
}

impl Live {
    /// Starts with what is in force first.
    pub fn new(first: InForce) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
            changes: watch::Sender::default(),
            watched: Mutex::default(),
            uses: ExemptionUses::default(),
        }
    }

    /// Returns what is in force now; it stays whole for as long as it is held.
    pub fn load(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Puts something else in force for every request that begins from now on, and returns what was.
    pub fn replace(&self, mut next: InForce) -> Arc<InForce> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.is_empty() {
            next.exempt(&watched);
        }
        next.kubernetes_version = self.load().kubernetes_version;
        let before = self.current.swap(Arc::new(next));
        self.changes.send_replace(());
        before
    }

    /// Puts the cluster's exemptions in force, for every request that begins from now on.
    pub fn exempt(&self, exemptions: Vec<Arc<Written>>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = InForce::clone(&self.load());
        next.exempt(&exemptions);
        *watched = exemptions;
        self.current.store(Arc::new(next));
    }

    /// Judges by another release of the cluster, every request that begins from now on; returns whether it is another.
    pub fn know_version(&self, version: KubernetesVersion) -> bool {
        let _turn = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.load();
        if now.kubernetes_version == Some(version) {
            return false;
        }
        self.current.store(Arc::new(InForce { kubernetes_version: Some(version), ..InForce::clone(&now) }));
        true
    }

    /// Returns when exemptions excused something.
    pub const fn uses(&self) -> &ExemptionUses {
        &self.uses
    }

    /// Returns what tells of every later change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// When each exemption last excused something, as far as this process knows: by what it judged, and by the status of what
/// stands in the cluster, where all processes tell it.
#[derive(Debug, Default)]
pub struct ExemptionUses {
    last: Mutex<HashMap<ExemptionName, Timestamp>>,
}

impl ExemptionUses {
    /// Notes that exemptions excused something.
    pub fn note<'n>(&self, names: impl IntoIterator<Item = &'n ExemptionName>, now: Timestamp) {
        // What an object says of itself is in no list.
        let names = names.into_iter().filter(|name| name.kind != ExemptionKind::Annotation);
        let mut names = names.peekable();
        if names.peek().is_none() {
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            match last.get_mut(name) {
                Some(known) => *known = now.max(*known),
                None => drop(last.insert(name.clone(), now)),
            }
        }
    }

    /// Returns when an exemption last excused something.
    pub fn last(&self, name: &ExemptionName) -> Option<Timestamp> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }
}
