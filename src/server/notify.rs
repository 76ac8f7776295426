//! Has people told of what happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Config, Settings};
use crate::notify::{Around, Dated, Desk, Links, Notifier};
use crate::policy::{Exemptions, Grant, Mode, NamespaceMeta};
use crate::store::Store;
use crate::webhook::handlers::App;
use crate::webhook::health::Readiness;

/// Begins to tell the targets of the configuration.
pub fn start(
    settings: &Settings,
    store: Arc<dyn Store>,
    app: &Arc<App>,
    readiness: &Arc<Readiness>,
    (stopped, turn): (&watch::Receiver<bool>, watch::Receiver<bool>),
) -> Desk {
    let links = Links::new(settings.external_url.as_ref().map(ToString::to_string));
    let around = Arc::new(Process { app: app.clone(), readiness: readiness.clone() });
    let notifier = Notifier::new(store, around, links, settings.cluster(), app.metrics.notifications.clone());
    notifier.start(stopped.clone(), turn)
}

/// This process.
struct Process {
    app: Arc<App>,
    readiness: Arc<Readiness>,
}

impl Around for Process {
    fn config(&self) -> Arc<Config> {
        self.app.in_force.load().config.clone()
    }

    fn namespaces(&self) -> Vec<Arc<NamespaceMeta>> {
        self.app.known_namespaces(&self.app.in_force.load())
    }

    fn exemptions(&self) -> Arc<Exemptions> {
        self.app.in_force.load().exemptions.clone()
    }

    fn dates(&self) -> Vec<Dated> {
        let in_force = self.app.in_force.load();
        let known = self.app.known_namespaces(&in_force);
        let of = |namespace: &Arc<NamespaceMeta>| {
            let grants = in_force.config.modes.grants(namespace, &*in_force.bundle).grants;
            let name: Arc<str> = namespace.name.as_str().into();
            let dated =
                move |grant: Grant| Some(Dated { from: grant.from?, namespace: name.clone(), policy: grant.policy });
            grants.into_iter().filter(|grant| grant.mode == Mode::Enforce).filter_map(dated)
        };
        known.iter().flat_map(of).collect()
    }

    fn faults(&self) -> BTreeMap<String, String> {
        self.readiness.faults()
    }
}
