//! `registration: manifest`: somebody else writes the configurations, and Gatepost only `caBundle`. What else differs is
//! told.

use jiff::Timestamp;

use super::Field;
use super::authorities::Authorities;
use super::compare::{Difference, differences};
use super::entry::{Configuration, Entry};
use super::keeper::{Keeper, Note, Report};
use super::kept::{KeepError, Kept, Seen};
use crate::cluster::installation::NAME;
use crate::telemetry::Metrics;
use crate::telemetry::registration::Standing;

impl Keeper {
    /// Writes `caBundle` into the configurations that somebody else wrote, and tells what they lack.
    pub(super) async fn keep_bundles(&mut self, ours: &Authorities, report: &mut Report) {
        let namespace = self.given.installation.namespace.clone();
        for written in [
            keep_bundle(&mut self.validating, &namespace, ours, &self.given.metrics).await,
            keep_bundle(&mut self.mutating, &namespace, ours, &self.given.metrics).await,
        ] {
            if let Err(error) = written {
                report.add(&error);
            }
        }
        report.standing = match (&self.validating.seen, self.validating.entries(&namespace).is_empty()) {
            (Seen::Unknown, _) => Standing::Unknown,
            (Seen::Present(_), false) => Standing::Registered,
            (Seen::Absent | Seen::Present(_), _) => Standing::Absent,
        };
        if matches!(self.validating.seen, Seen::Absent) {
            report.notes.push(Note::grave(format!(
                "there is no ValidatingWebhookConfiguration {NAME}, so nothing is judged: apply the manifests, or set \
                 registration: self"
            )));
        }
        let wanted = self.given.wanted(&self.deletions);
        let unjudged = |differs: &Difference| matches!(differs.field, Field::Missing | Field::Address);
        report.notes.extend(otherwise(&self.validating, &wanted.validating(), unjudged));
        // What is not mended is judged as it is.
        report.notes.extend(otherwise(&self.mutating, &wanted.mutating(), |_| false));
    }
}

/// Tells how a configuration, if there is one, differs from what it should be; nothing of what is a choice.
fn otherwise<K: Configuration>(kept: &Kept<K>, wanted: &[Entry], is_grave: fn(&Difference) -> bool) -> Vec<Note> {
    let Some(live) = kept.seen.present() else { return Vec::new() };
    let note = |difference: Difference| {
        let says = match difference.field {
            Field::Missing | Field::Address | Field::Deletions => difference.to_string(),
            Field::Rules | Field::NamespaceSelector | Field::ObjectSelector | Field::MatchConditions => {
                format!("{difference}, otherwise than what ships")
            }
            Field::FailurePolicy | Field::Foreign | Field::Manner => return None,
        };
        Some(Note { is_grave: is_grave(&difference), says })
    };
    differences(&live.entries(), wanted).into_iter().filter_map(note).collect()
}

/// Writes `caBundle` of our entries where it lacks what clients must trust now.
async fn keep_bundle<K: Configuration>(
    kept: &mut Kept<K>,
    namespace: &str,
    ours: &Authorities,
    metrics: &Metrics,
) -> Result<(), KeepError> {
    let entries = kept.entries(namespace);
    let Some(due) = kept.due(&entries, ours, Timestamp::now()) else { return Ok(()) };
    let pem = due.to_pem();
    // An apply names everything that Gatepost owns: what it leaves out is taken away.
    let bundles: Vec<(String, String)> = entries.into_iter().map(|entry| (entry.name, pem.clone())).collect();
    if bundles.is_empty() {
        return Ok(());
    }
    kept.write_bundles(&bundles).await?;
    metrics.registration.writes.inc();
    tracing::info!(kind = Kept::<K>::kind(), entries = bundles.len(), "caBundle was written");
    Ok(())
}
