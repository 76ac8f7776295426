//! The status of exemptions in the cluster: whether they are accepted, and when they last excused something.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::definitions::plural;
use super::{ExemptionWatch, GROUP, Known, VERSION};
use crate::policy::exemption::ExemptionKind;

/// How often statuses are looked at: exemptions end without anybody changing them.
const INTERVAL: Duration = Duration::from_secs(30);
/// A use this much later than the one that a status tells is worth a write.
const USE_STEP: SignedDuration = SignedDuration::from_hours(1);
/// The one condition.
const ACCEPTED: &str = "Accepted";

/// How an exemption stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It excuses.
    Accepted,
    /// It has ended.
    Expired(Timestamp),
    /// It excuses nothing, for this cause.
    Refused(String),
}

/// What stands in an object's status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<Timestamp>,
    conditions: Vec<Condition>,
}

impl Status {
    /// Returns when the exemption last excused something, as far as the status tells.
    pub const fn last_used(&self) -> Option<Timestamp> {
        self.last_used
    }
}

/// As `meta/v1` has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Timestamp,
    reason: String,
    message: String,
}

/// Returns what a status has to say, given what it says.
fn wanted(
    status: &Status,
    generation: Option<i64>,
    standing: &Standing,
    last_used: Option<Timestamp>,
    now: Timestamp,
) -> Status {
    let (accepted, reason, message) = match standing {
        Standing::Accepted => ("True", "Accepted", "it is in force".to_owned()),
        Standing::Expired(end) => ("False", "Expired", format!("it ended at {end}")),
        Standing::Refused(cause) => ("False", "Refused", cause.clone()),
    };
    let before = status.conditions.iter().find(|condition| condition.kind == ACCEPTED);
    let whole_seconds = |time: Timestamp| time.round(Unit::Second).unwrap_or(time);
    let since = before.filter(|before| before.status == accepted);
    let since = since.map_or(whole_seconds(now), |before| before.last_transition_time);
    let condition = Condition {
        kind: ACCEPTED.into(),
        status: accepted.into(),
        last_transition_time: since,
        reason: reason.into(),
        message,
    };
    // Several replicas write the same object: the later use stands, and not every one is worth a write.
    let is_worth_it = |used: &Timestamp| status.last_used.is_none_or(|told| used.duration_since(told) >= USE_STEP);
    Status {
        observed_generation: generation,
        last_used: last_used.filter(is_worth_it).map(whole_seconds).or(status.last_used),
        conditions: vec![condition],
    }
}

impl ExemptionWatch {
    /// Writes statuses that do not say what is so, for ever.
    pub(super) async fn keep_statuses(self: Arc<Self>) {
        loop {
            // What is written comes back by the watch; until then it must not be written again and again.
            let _ = tokio::time::timeout(INTERVAL, self.changed.notified()).await;
            let known: Vec<Known> =
                self.known.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            for known in known {
                self.write(&known).await;
            }
        }
    }

    async fn write(&self, known: &Known) {
        let name = &known.written.name;
        let now = Timestamp::now();
        let standing = self.follower.standing(&known.written, now);
        let last_used = self.follower.last_used(name);
        let wanted = wanted(&known.status, known.generation, &standing, last_used, now);
        if wanted == known.status {
            return;
        }
        let kind = GroupVersionKind::gvk(GROUP, VERSION, name.kind.as_str());
        let resource = ApiResource::from_gvk_with_plural(&kind, plural(name.kind));
        let api: Api<DynamicObject> = match name.kind {
            ExemptionKind::Exemption => Api::namespaced_with(self.client.clone(), &name.namespace, &resource),
            _ => Api::all_with(self.client.clone(), &resource),
        };
        let patch = Patch::Merge(json!({"status": wanted}));
        match api.patch_status(&name.name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            // It went meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => tracing::warn!(exemption = %name, %error, "its status could not be written, trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap_or_default()
    }

    #[test]
    fn a_status_is_written_only_when_it_says_something_else() {
        let (noon, one) = (at("2026-06-01T12:00:00Z"), at("2026-06-01T13:00:00Z"));
        let first = wanted(&Status::default(), Some(1), &Standing::Accepted, None, noon);
        assert_eq!(first.conditions.first().map(|condition| condition.status.as_str()), Some("True"));
        assert_eq!(wanted(&first, Some(1), &Standing::Accepted, None, one), first);
        let used = wanted(&first, Some(1), &Standing::Accepted, Some(at("2026-06-01T12:10:00.5Z")), one);
        assert_eq!(used.last_used, Some(at("2026-06-01T12:10:01Z")));
        assert_eq!(wanted(&used, Some(1), &Standing::Accepted, Some(one), one), used, "it is less than an hour later");
        assert_eq!(wanted(&used, Some(1), &Standing::Accepted, None, one), used, "another replica knows of the use");
        let ended = wanted(&used, Some(1), &Standing::Expired(one), None, one);
        let condition = ended.conditions.first();
        assert_eq!(
            condition.map(|condition| (condition.status.as_str(), condition.last_transition_time)),
            Some(("False", one))
        );
        let refused = wanted(&ended, Some(2), &Standing::Refused("no".into()), None, at("2026-06-01T14:00:00Z"));
        let condition = refused.conditions.first();
        assert_eq!(
            condition.map(|condition| (condition.message.as_str(), condition.last_transition_time)),
            Some(("no", one))
        );
    }
}
