//! Which kinds an audit lists: those that the cluster serves and rules look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList};
use kube::Client;
use serde::de::DeserializeOwned;

use super::list::{Lister, PageError};
use crate::engine::{Bundle, ResolvedPolicy};
use crate::policy::{GroupVersionKind, Operation, Origin};

/// Kinds whose objects come and go by the thousand, or are only told of others, and hold nothing to judge.
const LEFT_OUT: [(&str, &str); 6] = [
    ("", "ComponentStatus"),
    ("", "Event"),
    ("events.k8s.io", "Event"),
    ("coordination.k8s.io", "Lease"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("apps", "ControllerRevision"),
];
/// Groups of reports, which are about objects and none themselves.
const REPORTS: [&str; 3] = ["wgpolicyk8s.io", "openreports.io", "reports.kyverno.io"];
/// Groups of what is measured now.
const METRICS: [&str; 3] = ["metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"];

/// Groups that are asked at once what they serve.
const AT_ONCE: usize = 8;

/// A kind that is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Group, preferred version and kind.
    pub kind: GroupVersionKind,
    /// Its name in paths.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether it can be watched: what an API server beside the first one serves often cannot.
    pub watchable: bool,
}

impl Listed {
    /// Returns the path of its list over the whole cluster.
    pub fn url(&self) -> String {
        format!("{}/{}", self.root(), self.plural)
    }

    /// Returns the path of its list in one namespace.
    pub fn url_in(&self, namespace: &str) -> String {
        format!("{}/namespaces/{namespace}/{}", self.root(), self.plural)
    }

    fn root(&self) -> String {
        let root = if self.kind.group.is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}", self.kind.api_version())
    }

    /// Returns `group/Kind`, with `core` for the core group.
    pub fn name(&self) -> String {
        let group = if self.kind.group.is_empty() { "core" } else { &self.kind.group };
        format!("{group}/{}", self.kind.kind)
    }
}

/// What a cluster serves.
#[derive(Debug, Default)]
pub struct Served {
    /// Kinds that can be listed, each in its group's preferred version if it is there.
    pub kinds: Vec<Listed>,
    /// Groups and versions that could not be asked, each with the reason.
    pub unread: BTreeMap<String, String>,
}

/// Asks a cluster what it serves; a group that does not answer costs only itself.
pub async fn discover(client: &Client, lister: &Lister) -> Served {
    let mut served = Served::default();
    match ask(client, lister, "/api/v1").await {
        Ok(list) => served.add("", "v1", &list),
        Err(error) => served.fail("v1", &error),
    }
    let groups = match ask::<APIGroupList>(client, lister, "/apis").await {
        Ok(groups) => groups.groups,
        Err(error) => return served.without("apis", &error),
    };
    let asked = groups.iter().filter(|group| !is_left_out(&group.name)).flat_map(versions);
    let asked: Vec<_> = asked.map(|(group, version)| group_of(client, lister, group, version).boxed()).collect();
    // Answers come in the order of groups, so that which version of a kind is preferred is known.
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    while let Some((group, version, answer)) = answers.next().await {
        match answer {
            Ok(list) => served.add(group, version, &list),
            Err(error) => served.fail(&format!("{group}/{version}"), &error),
        }
    }
    served
}

/// Asks what a version of a group serves.
async fn group_of<'a>(
    client: &Client,
    lister: &Lister,
    group: &'a str,
    version: &'a str,
) -> (&'a str, &'a str, Result<APIResourceList, String>) {
    (group, version, ask(client, lister, &format!("/apis/{group}/{version}")).await)
}

/// Returns a group's versions, the preferred one first.
fn versions(group: &APIGroup) -> impl Iterator<Item = (&str, &str)> {
    let preferred = group.preferred_version.as_ref().map(|version| version.version.as_str());
    let all = group.versions.iter().map(|version| version.version.as_str());
    let all = preferred.into_iter().chain(all.filter(move |version| Some(*version) != preferred));
    all.map(|version| (group.name.as_str(), version))
}

/// Returns whether nothing of a group is ever listed: what it serves need not be known, and those that serve metrics are
/// the first that do not answer.
fn is_left_out(group: &str) -> bool {
    REPORTS.contains(&group) || METRICS.contains(&group)
}

async fn ask<T: DeserializeOwned>(client: &Client, lister: &Lister, path: &str) -> Result<T, String> {
    let text = lister.served(client, path).await.map_err(PageError::cause)?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

impl Served {
    /// The first version that has a kind is the one that is taken.
    fn add(&mut self, group: &str, version: &str, list: &APIResourceList) {
        let can = |verbs: &[String], verb: &str| verbs.iter().any(|known| known == verb);
        for resource in list.resources.iter().filter(|resource| !resource.name.contains('/')) {
            let kind = GroupVersionKind { group: group.into(), version: version.into(), kind: resource.kind.clone() };
            let is_known = self.kinds.iter().any(|known| known.kind.group == group && known.kind.kind == kind.kind);
            if can(&resource.verbs, "list") && !is_known {
                self.kinds.push(Listed {
                    kind,
                    plural: resource.name.clone(),
                    namespaced: resource.namespaced,
                    watchable: can(&resource.verbs, "watch"),
                });
            }
        }
    }

    fn fail(&mut self, name: &str, error: &str) {
        self.unread.insert(name.to_owned(), format!("what it serves could not be read: {error}"));
    }

    fn without(mut self, name: &str, error: &str) -> Self {
        self.fail(name, error);
        self
    }

    /// Returns the kinds that some rule looks at, owners before what is made of them.
    pub fn wanted(&self, bundle: &Bundle, policies: &[Arc<ResolvedPolicy>], secrets: bool) -> Vec<Listed> {
        let is_wanted = |listed: &&Listed| {
            let kind = &listed.kind;
            !LEFT_OUT.contains(&(&*kind.group, &*kind.kind))
                && !is_left_out(&kind.group)
                && (secrets || !kind.is_secret())
                && is_looked_at(bundle, policies, kind)
        };
        let mut wanted: Vec<Listed> = self.kinds.iter().filter(is_wanted).cloned().collect();
        wanted.sort_by_key(|listed| rank(&listed.kind));
        wanted
    }
}

/// Returns whether a rule may look at objects of a kind: whether one of other people's kinds holds a pod template is
/// only known of each object.
pub fn is_looked_at(bundle: &Bundle, policies: &[Arc<ResolvedPolicy>], kind: &GroupVersionKind) -> bool {
    let ids = policies.iter().flat_map(|policy| policy.entries.keys());
    ids.filter_map(|id| bundle.checks().get(*id)).any(|check| {
        let rule = &check.rule.rule;
        rule.places.contains(&Origin::Audit)
            && rule.operations.contains(&Operation::Create)
            && rule.kinds.iter().any(|selector| selector.matches(kind, !kind.is_built_in_group()))
    })
}

/// Owners come before what their controllers make: whose a Pod is, is looked up among them.
fn rank(kind: &GroupVersionKind) -> u8 {
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => 3,
        ("batch", "Job") | ("apps", "ReplicaSet") => 2,
        ("apps" | "argoproj.io", _) | ("batch", "CronJob") | ("", "ReplicationController") => 0,
        _ => 1,
    }
}
