//! By which sync of an Application of Argo CD findings were brought in.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::cluster::applications::{Application as Argo, Applications, named};
use crate::report::finding::Application;
use crate::store::{BroughtBySync, Store, Stored, Unsynced};

/// How long after something was brought in it is looked which sync it was: Argo CD forgets old ones.
const SINCE: SignedDuration = SignedDuration::from_hours(24);
/// How long a sync may take to be told of.
const SOON: SignedDuration = SignedDuration::from_mins(2);
/// Findings of one look.
const MOST: usize = 2000;

/// Looks which syncs brought findings in; Applications are listed only where somebody brought something in.
pub(super) async fn note(
    store: &Arc<dyn Store>,
    cluster: &str,
    applications: &Applications,
    now: Timestamp,
) -> Stored<()> {
    let since = now.checked_sub(SINCE).unwrap_or(now);
    let brought = store.unsynced(cluster, since, MOST).await?;
    if brought.is_empty() {
        return Ok(());
    }
    match applications.all().await {
        Ok(all) => store.note_syncs(brought.into_iter().filter_map(|of| sync_of(of, &all, now)).collect()).await,
        Err(error) => {
            tracing::warn!(%error, "Applications of Argo CD cannot be listed: which sync brought what in is not known");
            Ok(())
        }
    }
}

/// Returns the sync that brought a finding in, or that it was none; nothing where that is not known yet.
fn sync_of(of: Unsynced, all: &[Argo], now: Timestamp) -> Option<(Unsynced, Option<BroughtBySync>)> {
    let argo = named(all, &of.application.namespace, &of.application.name);
    let sync = argo.and_then(|argo| argo.syncs.iter().find(|sync| sync.was_under_way(of.time)));
    let is_told = sync.is_some_and(|sync| !sync.revision.is_empty());
    if !is_told && now.duration_since(of.time) < SOON {
        return None;
    }
    let by = argo.zip(sync.filter(|_| is_told)).map(|(argo, sync)| BroughtBySync {
        application: Application { namespace: argo.namespace.clone(), ..of.application.clone() },
        revision: sync.revision.clone(),
    });
    Some((of, by))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::finding::Fingerprint;

    fn at(time: &str) -> Timestamp {
        format!("2026-05-01T{time}Z").parse().unwrap()
    }

    #[test]
    fn a_finding_is_told_its_sync_once_that_is_known() {
        let history = json!([{"revision": "abc", "deployStartedAt": at("11:00:00"), "deployedAt": at("11:00:30")}]);
        let last = json!({"phase": "Running", "startedAt": at("12:00:00")});
        let status = json!({"history": history, "operationState": last});
        let all = [Argo::of(&json!({"namespace": "argocd", "name": "shop"}), &status)];
        let told = |name: &str, time: &str, now: &str| {
            let application = Application { kind: "Application".into(), namespace: String::new(), name: name.into() };
            let of = Unsynced { finding: Fingerprint("f".into()), application, time: at(time) };
            let by = sync_of(of, &all, at(now))?.1;
            Some(by.map(|by| format!("{}/{} {}", by.application.namespace, by.application.name, by.revision)))
        };
        for (name, time, now, expected) in [
            ("shop", "11:00:10", "11:01:00", Some(Some("argocd/shop abc".to_owned()))),
            ("shop", "11:30:00", "11:31:00", None),
            ("shop", "11:30:00", "11:33:00", Some(None)),
            ("shop", "12:00:10", "12:01:00", None),
            ("gone", "11:00:10", "11:10:00", Some(None)),
        ] {
            assert_eq!(told(name, time, now), expected, "{name} at {time}, looked at {now}");
        }
    }
}
