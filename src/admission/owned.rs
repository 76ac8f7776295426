//! Objects that a controller makes of a template which was judged when its owner was written.

use std::collections::BTreeMap;

use crate::engine::{Fields as _, Value};
use crate::policy::GroupVersionKind;

/// Which users are the controllers of which owner kinds, by `apiGroup/Kind` (`core` for the core group).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controllers(pub BTreeMap<String, Vec<String>>);

const KUBE_SYSTEM: [(&str, &str); 7] = [
    ("apps/Deployment", "deployment-controller"),
    ("apps/ReplicaSet", "replicaset-controller"),
    ("apps/StatefulSet", "statefulset-controller"),
    ("apps/DaemonSet", "daemon-set-controller"),
    ("batch/Job", "job-controller"),
    ("batch/CronJob", "cronjob-controller"),
    ("core/ReplicationController", "replication-controller"),
];

/// The controller manager where its controllers have no accounts of their own.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

impl Default for Controllers {
    fn default() -> Self {
        let built_in = KUBE_SYSTEM.iter().map(|(kind, account)| {
            let account = format!("system:serviceaccount:kube-system:{account}");
            ((*kind).to_owned(), vec![account, CONTROLLER_MANAGER.to_owned()])
        });
        let rollouts =
            ("argoproj.io/Rollout".to_owned(), vec!["system:serviceaccount:argo-rollouts:argo-rollouts".into()]);
        Self(built_in.chain([rollouts]).collect())
    }
}

impl Controllers {
    /// Returns the kind of the owner whose template this object was made of, when the requester is that kind's own
    /// controller. An ownerReference alone proves nothing: anyone can write one.
    pub fn owner_of(&self, kind: &GroupVersionKind, object: &Value, user: &str) -> Option<GroupVersionKind> {
        let is_made_of_templates = matches!(
            (kind.group.as_str(), kind.kind.as_str()),
            ("", "Pod") | ("apps", "ReplicaSet") | ("batch", "Job")
        );
        if !is_made_of_templates {
            return None;
        }
        let references = object.at(&["metadata", "ownerReferences"])?;
        let owner = references.items().find(|reference| reference.field("controller") == Some(&Value::Bool(true)))?;
        let owner = GroupVersionKind::of(owner.text("apiVersion")?, owner.text("kind")?);
        let group = if owner.group.is_empty() { "core" } else { &owner.group };
        let users = self.0.get(&format!("{group}/{}", owner.kind))?;
        users.iter().any(|known| known == user).then_some(owner)
    }
}
