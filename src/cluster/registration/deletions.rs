//! Which resources must be registered for DELETE: exactly those that rules in force ask about.

use kube::core::ApiResource;
use kube::discovery::{ApiCapabilities, Scope, verbs};
use kube::{Client, Discovery};

use super::wanted::Deleted;
use crate::engine::Bundle;
use crate::policy::kinds::{CONTROLLERS, KindSelector};
use crate::policy::{Operation, Origin};

/// Resources to ask about on DELETE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// Those that the cluster serves, sorted.
    pub deleted: Vec<Deleted>,
    /// Kinds that it does not serve, as `apiGroup/Kind`.
    pub unknown: Vec<String>,
}

/// Returns the kinds whose deletion some policy has judged at admission; none for what ships.
pub fn kinds(bundle: &Bundle) -> Vec<KindSelector> {
    let is_in_a_policy = |id: usize| bundle.policies().values().any(|policy| policy.entries.contains_key(&id));
    let checks = bundle.checks().iter().filter(|check| is_in_a_policy(check.id));
    let rules = checks
        .map(|check| &check.rule.rule)
        .filter(|rule| rule.operations.contains(&Operation::Delete) && rule.places.contains(&Origin::Admission));
    rules.fold(Vec::new(), |mut kinds, rule| {
        let new: Vec<KindSelector> = rule.kinds.iter().filter(|kind| !kinds.contains(kind)).cloned().collect();
        kinds.extend(new);
        kinds
    })
}

/// Returns every resource there is: where no cluster can be asked what its kinds are called.
pub fn everything() -> Vec<Deleted> {
    let all = |is_namespaced| Deleted { group: "*".to_owned(), resource: "*".to_owned(), is_namespaced };
    vec![all(true), all(false)]
}

/// Finds out how the cluster serves kinds. It is asked only if there are any.
pub async fn resolve(client: &Client, kinds: &[KindSelector]) -> kube::Result<Deletions> {
    if !depend_on_the_cluster(kinds) {
        let deleted = if kinds.is_empty() { Vec::new() } else { everything() };
        return Ok(Deletions { deleted, unknown: Vec::new() });
    }
    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    let served: Vec<_> = discovery.groups().flat_map(kube::discovery::ApiGroup::resources_by_stability).collect();
    Ok(find(&served, kinds))
}

/// Returns whether only the cluster knows which resources these kinds are. What it serves may change at any time.
pub fn depend_on_the_cluster(kinds: &[KindSelector]) -> bool {
    let is_any =
        |kind: &KindSelector| matches!(kind, KindSelector::Any | KindSelector::Kind { group: None, kind: None });
    !kinds.is_empty() && !kinds.iter().any(is_any)
}

/// Finds kinds among what is served.
pub(super) fn find(served: &[(ApiResource, ApiCapabilities)], kinds: &[KindSelector]) -> Deletions {
    let mut found = Deletions::default();
    for (group, kind) in kinds.iter().flat_map(named) {
        let is_it = |resource: &&(ApiResource, ApiCapabilities)| {
            let (resource, capabilities) = resource;
            group.is_none_or(|group| group == resource.group)
                && kind.is_none_or(|kind| kind == resource.kind)
                && capabilities.supports_operation(verbs::DELETE)
        };
        let before = found.deleted.len();
        found.deleted.extend(served.iter().filter(is_it).map(|(resource, capabilities)| Deleted {
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            is_namespaced: capabilities.scope == Scope::Namespaced,
        }));
        if found.deleted.len() == before {
            let group = group.map_or("*", |group| if group.is_empty() { "core" } else { group });
            found.unknown.push(format!("{group}/{}", kind.unwrap_or("*")));
        }
    }
    found.deleted.sort_unstable();
    found.deleted.dedup();
    found
}

/// Returns a selector's groups and kinds, none for any. Of the workloads only the built-in ones can be named: nobody
/// says of a custom kind that it holds a pod template before there is an object of it.
fn named(selector: &KindSelector) -> Vec<(Option<&str>, Option<&str>)> {
    let one = |&(group, kind): &(&'static str, &'static str)| (Some(group), Some(kind));
    match selector {
        KindSelector::Any => vec![(None, None)],
        KindSelector::Workloads => CONTROLLERS.iter().chain([&("", "Pod")]).map(one).collect(),
        KindSelector::Kind { group, kind } => vec![(group.as_deref(), kind.as_deref())],
        KindSelector::Group(kinds) => kinds.iter().map(one).collect(),
    }
}
