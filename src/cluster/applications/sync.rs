//! A sync that failed because Gatepost denied something, and how it is tried again.
//!
//! Argo CD does not try the same commit again once it has given up, not even with `selfHeal`.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// What the API server puts before the name of a webhook that denies, and after it.
const WEBHOOK: &str = "admission webhook \"";
const DENIED: &str = "\" denied the request: ";
/// How far clocks may differ; Argo CD's times are in whole seconds.
const CLOCKS: SignedDuration = SignedDuration::from_secs(2);
/// What the names of our webhooks end in.
const OURS: &str = ".gatepost.dev";

/// A sync that Gatepost denied something of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedSync {
    /// When it ended, or began where it has not.
    pub since: Option<Timestamp>,
    /// The commit.
    pub revision: String,
    /// Whether Argo CD is still trying.
    pub retrying: bool,
    /// What was denied; one at least.
    pub denied: Vec<Denied>,
    /// What syncs again, once the cause is mended.
    pub commands: Commands,
}

/// An object that was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Denied {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for objects outside any, and where Argo CD does not tell.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The gravest rule; empty where none was named.
    pub rule: String,
    /// What Gatepost said.
    pub message: String,
}

/// Commands for a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Commands {
    /// With Argo CD's own program.
    pub argocd: String,
    /// Without it.
    pub kubectl: String,
}

/// How an Application is synced.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPolicy {
    automated: Option<Automated>,
    sync_options: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Automated {
    prune: bool,
}

/// The last operation of an Application.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationState {
    phase: String,
    message: String,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    sync_result: Option<SyncResult>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SyncResult {
    revision: String,
    revisions: Vec<String>,
    resources: Vec<ResourceResult>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ResourceResult {
    group: String,
    kind: String,
    namespace: String,
    name: String,
    message: String,
}

/// A sync that went through, as an Application remembers it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployed {
    revision: String,
    revisions: Vec<String>,
    deploy_started_at: Option<Timestamp>,
    #[serde(rename = "deployedAt")]
    ended_at: Option<Timestamp>,
}

/// A sync, and when it was under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// What was synced, empty where that is not known yet.
    pub revision: String,
    begun: Timestamp,
    ended: Option<Timestamp>,
}

impl Sync {
    /// Returns the syncs that an Application knows of.
    pub(super) fn all(last: Option<&OperationState>, history: &[Deployed]) -> Vec<Self> {
        let last = last.and_then(|state| {
            let revision = state.sync_result.as_ref().map(SyncResult::revision).unwrap_or_default();
            Some(Self { revision, begun: state.started_at?, ended: state.finished_at })
        });
        let before = history.iter().filter_map(|deployed| {
            let revision = joined(&deployed.revision, &deployed.revisions);
            Some(Self { revision, begun: deployed.deploy_started_at?, ended: Some(deployed.ended_at?) })
        });
        last.into_iter().chain(before).collect()
    }

    /// Returns whether it was under way then.
    pub fn was_under_way(&self, time: Timestamp) -> bool {
        let since = self.begun.checked_sub(CLOCKS).unwrap_or(self.begun);
        let until = self.ended.map(|ended| ended.checked_add(CLOCKS).unwrap_or(ended));
        since <= time && until.is_none_or(|until| time <= until)
    }
}

impl SyncResult {
    fn revision(&self) -> String {
        joined(&self.revision, &self.revisions)
    }
}

/// Returns the revision of an Application of one source, or those of several.
fn joined(one: &str, several: &[String]) -> String {
    if one.is_empty() { several.join(",") } else { one.to_owned() }
}

impl OperationState {
    /// Returns the operation of an Application if it failed, or is about to, because Gatepost denied something.
    pub(super) fn failed(&self, namespace: &str, name: &str, policy: &SyncPolicy) -> Option<FailedSync> {
        let retrying = self.phase == "Running";
        if !retrying && !["Failed", "Error"].contains(&self.phase.as_str()) {
            return None;
        }
        let result = self.sync_result.as_ref();
        let mut denied: Vec<Denied> =
            result.iter().flat_map(|result| &result.resources).filter_map(of_result).collect();
        if denied.is_empty() {
            denied.extend(of_message(&self.message));
        }
        if denied.is_empty() {
            return None;
        }
        Some(FailedSync {
            since: self.finished_at.or(self.started_at),
            revision: result.map(SyncResult::revision).unwrap_or_default(),
            retrying,
            denied,
            commands: commands(namespace, name, policy),
        })
    }
}

fn of_result(result: &ResourceResult) -> Option<Denied> {
    let message = our_words(&result.message)?;
    Some(Denied {
        group: result.group.clone(),
        kind: result.kind.clone(),
        namespace: result.namespace.clone(),
        name: result.name.clone(),
        rule: rule(message).unwrap_or_default().to_owned(),
        message: message.to_owned(),
    })
}

fn of_message(message: &str) -> Option<Denied> {
    let message = our_words(message)?;
    let subject = message.split_once(": ").map_or(message, |(subject, _)| subject);
    let (kind, name) = subject.split_once('/').unwrap_or(("", subject));
    Some(Denied {
        group: String::new(),
        kind: kind.to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
        rule: rule(message).unwrap_or_default().to_owned(),
        message: message.to_owned(),
    })
}

/// Returns what Gatepost said, if it is Gatepost that a text quotes.
fn our_words(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(WEBHOOK)?;
    let (webhook, words) = rest.split_once(DENIED)?;
    (webhook.ends_with(OURS) && !webhook.contains('"')).then_some(words)
}

/// Returns the rule that a denial names first: `Deployment/web: container-privileged (critical) at …`.
fn rule(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once(": ")?;
    let (rule, _) = rest.split_once(" (")?;
    let is_rule = rule.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (is_rule && !rule.is_empty()).then_some(rule)
}

/// Names are of Kubernetes, and hold nothing that a shell reads; sync options are anybody's.
fn commands(namespace: &str, name: &str, policy: &SyncPolicy) -> Commands {
    let mut sync = json!({"prune": policy.automated.as_ref().is_some_and(|automated| automated.prune)});
    if let Some(fields) = sync.as_object_mut().filter(|_| !policy.sync_options.is_empty()) {
        fields.insert("syncOptions".into(), Json::from(policy.sync_options.clone()));
    }
    let operation = json!({"operation": {"initiatedBy": {"username": "kubectl"}, "sync": sync}});
    let quoted = operation.to_string().replace('\'', r"'\''");
    Commands {
        argocd: format!("argocd app sync {namespace}/{name}"),
        kubectl: format!("kubectl -n {namespace} patch applications.argoproj.io {name} --type merge -p '{quoted}'"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn state(json: Json) -> OperationState {
        serde_json::from_value(json).unwrap()
    }

    fn failed(json: Json) -> Option<FailedSync> {
        state(json).failed("argocd", "shop", &SyncPolicy::default())
    }

    const SAID: &str = "admission webhook \"namespaced.validate.gatepost.dev\" denied the request: \
        Deployment/web: container-privileged (critical) in container app: set privileged to false";

    #[test]
    fn a_sync_is_known_by_when_it_was_under_way() {
        let last = state(json!({"phase": "Running", "startedAt": "2026-05-01T12:00:00Z",
            "syncResult": {"revisions": ["a", "b"]}}));
        let history: Vec<Deployed> = serde_json::from_value(json!([
            {"revision": "one", "deployStartedAt": "2026-05-01T11:00:00Z", "deployedAt": "2026-05-01T11:00:30Z"},
            {"revision": "old", "deployedAt": "2026-05-01T10:00:00Z"},
        ]))
        .unwrap();
        let syncs = Sync::all(Some(&last), &history);
        for (time, expected) in [
            ("12:30:00", Some("a,b")),
            ("11:59:58", Some("a,b")),
            ("11:59:57", None),
            ("11:00:32", Some("one")),
            ("11:00:33", None),
            ("10:00:00", None),
        ] {
            let at: Timestamp = format!("2026-05-01T{time}Z").parse().unwrap();
            let found = syncs.iter().find(|sync| sync.was_under_way(at));
            assert_eq!(found.map(|sync| sync.revision.as_str()), expected, "{time}");
        }
        assert_eq!(Sync::all(None, &[]), []);
    }

    #[test]
    fn what_gatepost_denied_is_told_with_object_rule_and_cause() {
        let failed = failed(json!({
            "phase": "Failed", "startedAt": "2026-05-01T12:00:00Z", "finishedAt": "2026-05-01T12:01:00Z",
            "message": format!("one or more objects failed to apply, reason: {SAID} (retried 5 times)."),
            "syncResult": {"revision": "abc", "resources": [
                {"group": "", "kind": "Service", "namespace": "shop", "name": "web", "message": "service/web created"},
                {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "message": SAID},
            ]},
        }));
        let failed = failed.unwrap();
        assert_eq!((failed.revision.as_str(), failed.retrying), ("abc", false));
        assert_eq!(failed.since, Some("2026-05-01T12:01:00Z".parse().unwrap()));
        let message =
            "Deployment/web: container-privileged (critical) in container app: set privileged to false".to_owned();
        let denied = Denied {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
            rule: "container-privileged".into(),
            message,
        };
        assert_eq!(failed.denied, [denied]);
    }

    #[test]
    fn only_our_own_denials_count() {
        let of = |phase: &str, message: &str| failed(json!({"phase": phase, "message": message}));
        let told = of("Error", SAID).unwrap().denied;
        assert_eq!(
            told.iter().map(|denied| (&*denied.kind, &*denied.name)).collect::<Vec<_>>(),
            [("Deployment", "web")]
        );
        assert!(of("Running", SAID).unwrap().retrying);
        assert_eq!(of("Succeeded", SAID), None);
        let others = SAID.replace("validate.gatepost.dev", "validate.kyverno.svc");
        let quoting = format!("admission webhook \"validate.kyverno.svc\" denied the request: {SAID}");
        for message in ["", "ComparisonError: no repository", &others, &quoting] {
            assert_eq!(of("Failed", message), None, "{message}");
        }
        let namespace = SAID.replace("container-privileged (critical) in container app", "nobody may weaken it");
        assert_eq!(of("Failed", &namespace).unwrap().denied.first().unwrap().rule, "");
    }

    #[test]
    fn commands_carry_the_options_of_the_application_past_a_shell() {
        let policy = json!({"automated": {"prune": true}, "syncOptions": ["CreateNamespace=true", "x='$(id)'"]});
        let commands = commands("argocd", "shop", &serde_json::from_value(policy).unwrap());
        assert_eq!(commands.argocd, "argocd app sync argocd/shop");
        assert_eq!(
            commands.kubectl,
            "kubectl -n argocd patch applications.argoproj.io shop --type merge -p '{\"operation\":{\"initiatedBy\":\
             {\"username\":\"kubectl\"},\"sync\":{\"prune\":true,\"syncOptions\":[\"CreateNamespace=true\",\
             \"x='\\''$(id)'\\''\"]}}}'"
        );
    }
}
