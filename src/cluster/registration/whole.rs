//! One webhook configuration that Gatepost writes whole, and what is remembered of it.
//!
//! Watches may be behind, each by its own time. So the API server is asked before anything follows from what does not
//! fit together: before something is made, taken for deleted, or remembered otherwise.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use tokio::time::Instant;

use super::authorities::Authorities;
use super::compare::changes;
use super::entry::{Configuration, Entry};
use super::keeper::{Given, Note, Report};
use super::kept::{KeepError, Kept, Seen};
use super::own::{Extent, Own};
use super::said;
use super::state::{self, Record};
use super::wanted::Wanted;
use crate::cluster::installation::NAME;

/// What came of keeping one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody knows yet, or it is not made.
    Unknown,
    /// It is there.
    There,
    /// Somebody deleted it.
    Deleted,
}

/// What all configurations are kept by.
pub(super) struct Whole<'a> {
    pub given: &'a Given,
    pub owner: &'a OwnerReference,
    pub ours: &'a Authorities,
    pub wanted: &'a Wanted,
    pub extent: Extent,
}

impl Whole<'_> {
    /// Keeps one configuration as these entries say; makes it only if it may.
    pub(super) async fn keep<K: Configuration>(
        &self,
        own: &mut Own,
        kept: &mut Kept<K>,
        entries: fn(&Wanted, Extent) -> Vec<Entry>,
        may_make: bool,
        report: &mut Report,
    ) -> Found {
        let as_seen = |kept: &Kept<K>| if kept.seen.present().is_some() { Found::There } else { Found::Unknown };
        if !self.is_sure(own, kept, may_make, report).await {
            return as_seen(kept);
        }
        let kept_as = match &kept.seen {
            Seen::Unknown => return Found::Unknown,
            Seen::Present(_) => self.keep_present(own, kept, entries, report).await,
            Seen::Absent => self.keep_absent(own, kept, entries, may_make, report).await,
        };
        kept_as.unwrap_or_else(|error| {
            report.add(&error);
            as_seen(kept)
        })
    }

    /// Asks the API server where what was seen of a configuration does not fit what is remembered of it, or where it is
    /// to be made; returns whether both are known.
    ///
    /// What is remembered is read first: who remembers a configuration had made it before.
    async fn is_sure<K: Configuration>(
        &self,
        own: &mut Own,
        kept: &mut Kept<K>,
        may_make: bool,
        report: &mut Report,
    ) -> bool {
        let record = own.remembered().record(&Kept::<K>::kind());
        let fits = match &kept.seen {
            Seen::Unknown => true,
            Seen::Present(live) => record == Record { uid: live.uid(), deleted: None },
            Seen::Absent => record.deleted.is_some() || (record.uid.is_none() && !may_make),
        };
        if fits {
            return true;
        }
        let is_new = kept.seen.present().is_none() && record.uid.is_none();
        if is_new {
            match state::read(&self.given.installation).await {
                Ok(found) => own.state = found.into(),
                Err(error) => {
                    report.notes.push(Note::minor(format!(
                        "ConfigMap {} cannot be read: {}",
                        state::STATE,
                        said(&error)
                    )));
                    return false;
                }
            }
        }
        match kept.api.get_opt(NAME).await {
            Ok(found) => kept.seen = found.into(),
            Err(error) => {
                let says = format!("{} {NAME} cannot be read: {}", Kept::<K>::kind(), said(&error));
                report.notes.push(Note::minor(says));
                return false;
            }
        }
        true
    }

    async fn keep_present<K: Configuration>(
        &self,
        own: &mut Own,
        kept: &mut Kept<K>,
        entries: fn(&Wanted, Extent) -> Vec<Entry>,
        report: &mut Report,
    ) -> Result<Found, KeepError> {
        let uid = kept.seen.present().and_then(ResourceExt::uid);
        self.remember::<K>(own, Record { uid, deleted: None }, report).await;
        let live = kept.seen.present().map(Configuration::entries).unwrap_or_default();
        let ours = kept.entries(&self.given.installation.namespace);
        let held = || if ours.is_empty() { self.ours.clone() } else { Authorities::common(&ours) };
        let trusted = kept.due(&ours, self.ours, Timestamp::now()).unwrap_or_else(held);
        let should = entries(&Wanted { ca_bundle: Some(trusted.to_pem()), ..self.wanted.clone() }, self.extent);
        if live == should && kept.is_owned_by(self.owner) {
            return Ok(Found::There);
        }
        let changes = changes(&live, &should).join("; ");
        kept.replace(self.owner.clone(), should).await?;
        self.given.metrics.registration.writes.inc();
        let registered = if self.extent == Extent::Full { "everything" } else { "probes" };
        tracing::info!(kind = Kept::<K>::kind(), registered, changes, "the webhook configuration was written");
        Ok(Found::There)
    }

    async fn keep_absent<K: Configuration>(
        &self,
        own: &mut Own,
        kept: &mut Kept<K>,
        entries: fn(&Wanted, Extent) -> Vec<Entry>,
        may_make: bool,
        report: &mut Report,
    ) -> Result<Found, KeepError> {
        let record = own.remembered().record(&Kept::<K>::kind());
        if record.deleted.is_some() {
            report.notes.push(deleted_note::<K>(&record));
            return Ok(Found::Deleted);
        }
        if record.uid.is_some() {
            let record = state::deleted(record.uid, Timestamp::now());
            report.notes.push(deleted_note::<K>(&record));
            self.remember::<K>(own, record, report).await;
            return Ok(Found::Deleted);
        }
        // Before it is made: what cannot be remembered could not stay deleted.
        if !may_make || !self.remember::<K>(own, Record::default(), report).await {
            return Ok(Found::Unknown);
        }
        let wanted = Wanted { ca_bundle: Some(self.ours.to_pem()), ..self.wanted.clone() };
        kept.create(self.owner.clone(), entries(&wanted, self.extent)).await?;
        self.given.metrics.registration.writes.inc();
        tracing::info!(kind = Kept::<K>::kind(), "the webhook configuration was made");
        own.reach.hurry(Instant::now());
        let uid = kept.seen.present().and_then(ResourceExt::uid);
        self.remember::<K>(own, Record { uid, deleted: None }, report).await;
        Ok(Found::There)
    }

    /// Sees to it that this is remembered of a configuration; returns whether it is.
    async fn remember<K: Configuration>(&self, own: &mut Own, record: Record, report: &mut Report) -> bool {
        let kind = Kept::<K>::kind();
        let state = own.remembered();
        if matches!(own.state, Seen::Present(_)) && state.record(&kind) == record {
            return true;
        }
        match state.with(&kind, record).write(&self.given.installation).await {
            Ok(written) => {
                own.state = Seen::Present(Box::new(written));
                true
            }
            Err(kube::Error::Api(status)) if status.code == 409 => false,
            Err(error) => {
                report.notes.push(Note::minor(format!(
                    "ConfigMap {} cannot be written: {}",
                    state::STATE,
                    said(&error)
                )));
                false
            }
        }
    }
}

fn deleted_note<K: Configuration>(record: &Record) -> Note {
    let when = record.deleted.as_deref().unwrap_or_default();
    Note::grave(format!(
        "somebody deleted {} {NAME} (noticed {when}), so it stays deleted: `gatepost doctor --resume` has it written \
         again",
        Kept::<K>::kind()
    ))
}
