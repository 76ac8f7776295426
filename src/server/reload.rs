//! Policies and configuration, taken in while requests are answered: a thread looks at the files, builds what changed
//! aside, and puts it in force whole, or refuses it and says why.
//!
//! It looks at contents, since a mounted ConfigMap is exchanged by symbolic link, which a watch on files does not see.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::files::{self, Addresses};
use super::load::{Contents, Fault, Fingerprint, LoadError};
use super::{bundle, in_use};
use crate::audit::Desk;
use crate::background;
use crate::cluster::registration::deletions;
use crate::config::{Layers, Settings, Value};
use crate::engine::reads::Reads;
use crate::engine::{Bundle, ProgramCache};
use crate::telemetry::reloads::Reloaded;
use crate::webhook::handlers::{App, World};
use crate::webhook::health::{Condition, Readiness};
use crate::webhook::in_force::InForce;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Files must have stayed the same for so long: half a file is not what anybody meant.
const SETTLE: Duration = Duration::from_millis(200);
/// Rules nest, and so does what compiles them.
const STACK_BYTES: usize = 8 << 20;
/// So long a change waits for a machine that is not busy; then it takes its turn among the others.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many faults are told of one change.
const TOLD: usize = 20;
/// The part of `/readyz?verbose` that is ours.
const PART: &str = "reload";

/// What watches over the files.
pub struct Reloader {
    /// Where they are, and what stands over them.
    pub layers: Layers,
    /// Programs that need not be compiled again.
    pub cache: ProgramCache,
    /// Where changes come into force.
    pub app: Arc<App>,
    /// Where it is told what was refused.
    pub readiness: Arc<Readiness>,
    /// The settings that this process was started with.
    pub settings: Settings,
    /// Where it listens.
    pub addresses: Addresses,
    /// Who audits the manifests, where they stand in for a cluster.
    pub auditor: Option<Desk>,
}

/// A running [`Reloader`]; it ends when this is dropped.
#[derive(Debug)]
pub struct Reloading {
    _looks: mpsc::Sender<()>,
}

/// Starts to watch; `first` is what is in force. Must be called in a runtime.
pub fn start(reloader: Reloader, first: &Contents) -> io::Result<Reloading> {
    let (sender, looks) = mpsc::channel();
    let asked = sender.clone();
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move { while hangup.recv().await.is_some() && asked.send(()).is_ok() {} });
    let watch = Watch::new(reloader, Handle::current(), first);
    thread::Builder::new().name("reload".into()).stack_size(STACK_BYTES).spawn(move || watch.run(&looks))?;
    Ok(Reloading { _looks: sender })
}

struct Watch {
    reloader: Reloader,
    runtime: Handle,
    /// Every setting, to tell which ones a restart would change.
    at_start: Vec<Value>,
    in_force: Fingerprint,
    /// Of the manifests that were last taken in.
    manifests: Option<u64>,
    /// Of the look before.
    seen: Fingerprint,
    /// Whether somebody wants everything read again, changed or not.
    is_asked: bool,
    refused: Option<Refused>,
    /// What a restart would change.
    restart: Vec<String>,
    /// What was in force, until the last request that it judges is over: freeing it is no request's work.
    retired: Vec<Arc<InForce>>,
}

/// A change that is not in force.
struct Refused {
    fingerprint: Fingerprint,
    faults: Vec<Fault>,
    /// The change, when it lacks nothing but that somebody lets go of a policy.
    ready: Option<(Arc<Contents>, InForce)>,
}

impl Watch {
    fn new(reloader: Reloader, runtime: Handle, first: &Contents) -> Self {
        reloader.app.metrics.reloads.set_success(Timestamp::now().as_second());
        let fingerprint = first.fingerprint();
        Self {
            reloader,
            runtime,
            at_start: first.read.values.clone(),
            in_force: fingerprint,
            manifests: first.manifests(),
            seen: fingerprint,
            is_asked: false,
            refused: None,
            restart: Vec::new(),
            retired: Vec::new(),
        }
    }

    fn run(mut self, looks: &Receiver<()>) {
        background::step_back();
        let mut pause = INTERVAL;
        loop {
            match looks.recv_timeout(pause) {
                Ok(()) => self.is_asked = true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What panics once must not end all reloads.
            pause = catch_unwind(AssertUnwindSafe(|| self.look())).unwrap_or(INTERVAL);
        }
    }

    /// Looks once, and returns when to look again.
    fn look(&mut self) -> Duration {
        self.retired.retain(|before| Arc::strong_count(before) > 1);
        let contents = Contents::read(&self.reloader.layers);
        let fingerprint = contents.as_ref().map_or_else(of_error, Contents::fingerprint);
        if std::mem::replace(&mut self.seen, fingerprint) != fingerprint {
            return SETTLE;
        }
        let is_asked = std::mem::take(&mut self.is_asked);
        match self.refused.take() {
            Some(refused) if refused.fingerprint == fingerprint && !is_asked => self.try_again(refused),
            refused if fingerprint == self.in_force && !is_asked => self.keep(refused.is_some()),
            refused => {
                let told = refused.map(|refused| refused.faults).unwrap_or_default();
                self.take_in(fingerprint, contents, &told);
            }
        }
        INTERVAL
    }

    /// Tries what was refused because a policy was in use; whatever else was refused stays so.
    fn try_again(&mut self, refused: Refused) {
        match refused.ready {
            Some((contents, next)) => self.decide(refused.fingerprint, contents, next, &refused.faults),
            None => self.refused = Some(refused),
        }
    }

    /// Keeps what is in force, and says so if a change was refused and is taken back.
    fn keep(&self, was_refused: bool) {
        if was_refused {
            tracing::info!("what is on disk is what is in force again");
            self.reloader.app.metrics.reloads.set_success(Timestamp::now().as_second());
            self.note();
        }
    }

    /// Builds a change; `told` are the faults that stand in the log.
    fn take_in(&mut self, fingerprint: Fingerprint, contents: Result<Contents, LoadError>, told: &[Fault]) {
        let has_cluster = self.reloader.app.has_cluster();
        let built = contents.and_then(|contents| {
            let contents = Arc::new(contents);
            let (cache, source) = (self.reloader.cache.clone(), contents.clone());
            let built = background::when_idle(PATIENCE, STACK_BYTES, move || source.build(&cache, has_cluster));
            let panicked = || Err(io::Error::other("building what is on disk panicked").into());
            Ok((contents, built.unwrap_or_else(panicked)?))
        });
        match built {
            Ok((contents, next)) => self.decide(fingerprint, contents, next, told),
            Err(error) => self.refuse(Refused { fingerprint, faults: error.faults(), ready: None }, told),
        }
    }

    /// Puts a change in force, unless it takes away what somebody uses.
    fn decide(&mut self, fingerprint: Fingerprint, contents: Arc<Contents>, next: InForce, told: &[Fault]) {
        let missed = self.missed(&next);
        if missed.is_empty() {
            self.apply(fingerprint, &contents, next);
        } else {
            self.refuse(Refused { fingerprint, faults: missed, ready: Some((contents, next)) }, told);
        }
    }

    fn missed(&self, next: &InForce) -> Vec<Fault> {
        let Reloader { app, readiness, .. } = &self.reloader;
        let in_force = app.in_force.load();
        if readiness.holds(Condition::Namespaces) {
            in_use::missed(&in_force.bundle, &next.bundle, &app.known_namespaces(next))
        } else {
            in_use::unsure(&in_force.bundle, &next.bundle)
        }
    }

    fn apply(&mut self, fingerprint: Fingerprint, contents: &Contents, next: InForce) {
        let app = self.reloader.app.clone();
        let before = app.in_force.load();
        // What all requests may hold in memory is set at the start, and one must fit into it.
        let next = InForce { max_body: before.max_body, ..next };
        // Watches of new kinds begin before the rules that look there, and those of others end after them.
        let reads = next.bundle.reads();
        let mut both = before.bundle.reads();
        for (kind, kept) in &reads {
            both.entry(kind.clone()).or_default().join(kept);
        }
        self.watch_inventory(&both);
        self.retired.push(app.in_force.replace(next));
        self.watch_inventory(&reads);
        self.in_force = fingerprint;
        if std::mem::replace(&mut self.manifests, contents.manifests()) != contents.manifests() {
            self.reloader.auditor.iter().for_each(Desk::tell_of_change);
        }
        let bundle = app.in_force.load().bundle.clone();
        if bundle.digest() != before.bundle.digest() {
            bundle::show(&app.metrics, &bundle);
        }
        app.metrics.reloads.count(Reloaded::Applied);
        app.metrics.reloads.set_success(Timestamp::now().as_second());
        let (rules, policies) = (bundle.rules().len(), bundle.policies().len());
        tracing::info!(digest = bundle.digest(), rules, policies, "reloaded");
        self.tell_restart(&contents.read.values);
        self.note();
        self.write_registration(&before.bundle, &bundle);
    }

    fn refuse(&mut self, refused: Refused, told: &[Fault]) {
        for Fault { place, line, cause } in refused.faults.iter().filter(|fault| !told.contains(fault)).take(TOLD) {
            tracing::error!(file = %place, line, cause = %cause, "reload refused, what was in force stays");
        }
        // A fault that somebody must mend elsewhere is found again at every look.
        if refused.faults != told {
            self.reloader.app.metrics.reloads.count(Reloaded::Refused);
        }
        self.reloader.app.metrics.reloads.set_failed(true);
        self.refused = Some(refused);
        self.note();
    }

    /// Says which settings of the file differ from those that the process runs with.
    fn tell_restart(&mut self, values: &[Value]) {
        let differs = |(now, then): &(&Value, &Value)| !now.is_live && now.texts != then.texts;
        let changed = values.iter().zip(&self.at_start).filter(differs);
        let before = std::mem::take(&mut self.restart);
        for (now, then) in changed {
            let (value, held) = (now.texts.join(","), then.texts.join(","));
            let line = format!("{}: {} \"{value}\" needs a restart; \"{held}\" holds until then", now.origin, now.key);
            if !before.contains(&line) {
                tracing::warn!(key = now.key, value, held, origin = %now.origin, "this setting needs a restart");
            }
            self.restart.push(line);
        }
    }

    fn note(&self) {
        let faults = self.refused.iter().flat_map(|refused| &refused.faults).take(TOLD);
        let refused = faults.map(|fault| format!("refused, what was in force stays: {fault}"));
        self.reloader.readiness.note(PART, refused.chain(self.restart.iter().cloned()).collect());
    }

    fn watch_inventory(&self, kinds: &Reads) {
        if let World::Cluster { inventory, .. } = &self.reloader.app.world {
            let _runtime = self.runtime.enter();
            inventory.follow(kinds);
        }
    }

    /// Keeps the registration in the data directory right, which asks about deletions only if a rule does.
    fn write_registration(&self, before: &Bundle, next: &Bundle) {
        let asks = |bundle: &Bundle| !deletions::kinds(bundle).is_empty();
        if asks(before) == asks(next) {
            return;
        }
        let Reloader { settings: Settings { data_dir, .. }, addresses, .. } = &self.reloader;
        let authority = std::fs::read_to_string(data_dir.join("ca.crt"));
        let written = authority.map_err(|error| error.to_string()).and_then(|authority| {
            files::write(data_dir, *addresses, &authority, asks(next)).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(error, "the registration in the data directory could not be written");
        }
    }
}

/// Tells one failure to read from another.
fn of_error(error: &LoadError) -> Fingerprint {
    Sha256::digest(error.to_string()).into()
}

#[cfg(test)]
mod tests;
