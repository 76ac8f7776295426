//! Puts the cluster's exemptions in force, and says in their status how they stand.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;

use crate::cluster::exemptions::{ExemptionWatch, Follower, Standing};
use crate::policy::exemption::{ExemptionName, Written};
use crate::webhook::handlers::App;

/// Watches the cluster's exemptions, where there is a cluster.
pub fn start(client: Option<Client>, app: &Arc<App>) {
    if let Some(client) = client {
        ExemptionWatch::start(client, Judged(app.clone()));
    }
}

/// What judges by them.
struct Judged(Arc<App>);

impl Follower for Judged {
    fn put_in_force(&self, all: Vec<Arc<Written>>) {
        let count = all.len();
        self.0.in_force.exempt(all);
        tracing::info!(count, "the cluster's exemptions have changed");
    }

    fn standing(&self, written: &Arc<Written>, now: Timestamp) -> Standing {
        let exemptions = &self.0.in_force.load().exemptions;
        // By what they say: one whose status alone has changed is not put in force again.
        let refused = exemptions.refused().iter().find(|refused| refused.written == *written);
        if let Some(refused) = refused {
            return Standing::Refused(refused.cause.clone());
        }
        let held = exemptions.list().iter().find(|exemption| exemption.written == *written);
        match held.and_then(|exemption| exemption.expires).filter(|end| *end <= now) {
            Some(end) => Standing::Expired(end),
            None => Standing::Accepted,
        }
    }

    fn note_use(&self, name: &ExemptionName, last: Timestamp) {
        self.0.in_force.uses().note([name], last);
    }

    fn last_used(&self, name: &ExemptionName) -> Option<Timestamp> {
        self.0.in_force.uses().last(name)
    }
}
