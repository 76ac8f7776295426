//! What judges now: rules, policies and configuration, always exchanged together.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::admission::Reviewer;
use crate::config::{Config, Settings};
use crate::engine::{Bundle, Limits};
use crate::input::Surroundings;
use crate::policy::Exemptions;

/// Everything that judges and can be exchanged while requests are answered; a request reads one of it, once.
#[derive(Debug)]
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
    /// Largest body that is judged, in bytes.
    pub max_body: usize,
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
            limits: Limits { time: settings.rule_timeout(), instructions: settings.rule_instructions },
            max_body: settings.max_body_bytes,
        }
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
        }
    }
}

/// The one place that holds what is in force: readers never wait, a change replaces the whole.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<InForce>,
    changes: watch::Sender<()>,
}

impl Live {
    /// Starts with what is in force first.
    pub fn new(first: InForce) -> Self {
        Self { current: ArcSwap::from_pointee(first), changes: watch::Sender::default() }
    }

    /// Returns what is in force now; it stays whole for as long as it is held.
    pub fn load(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Puts something else in force for every request that begins from now on, and returns what was.
    pub fn replace(&self, next: InForce) -> Arc<InForce> {
        let before = self.current.swap(Arc::new(next));
        self.changes.send_replace(());
        before
    }

    /// Returns what tells of every later change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
