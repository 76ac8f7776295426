//! What Gatepost's ServiceAccount needs, by the shipped RBAC itself, and whether the cluster grants it.

use std::fmt;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use kube::{Api, Client};
use serde::Deserialize;

use super::facts::{Read, words};
use crate::cluster::installation::NAME;
use crate::cluster::{Installation, access};
use crate::policy::Requester;

/// The roles that are installed; what they grant is what is needed.
const ROLES: &str = include_str!("../../../manifests/base/rbac-webhook.yaml");
/// Those that are needed beside them to write the registration.
const SELF_ROLES: &str = include_str!("../../../manifests/components/self-registration/rbac.yaml");

/// One thing that the ServiceAccount must be able to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// What is done.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource in the plural.
    pub resource: String,
    /// The one object that it is about; none means all.
    pub name: Option<String>,
    /// Whether it is about Gatepost's own namespace only.
    pub own_namespace: bool,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, name, own_namespace } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{verb} {resource}{dot}{group}")?;
        name.as_ref().map_or(Ok(()), |name| write!(f, " \"{name}\""))?;
        f.write_str(if *own_namespace { " in its own namespace" } else { "" })
    }
}

#[derive(Debug, Deserialize)]
struct Role {
    kind: String,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyRule {
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
    verbs: Vec<String>,
}

/// Returns every right of the shipped roles.
pub fn needed(registers_itself: bool) -> Result<Vec<Right>, String> {
    let mut rights = granted(ROLES)?;
    if registers_itself {
        rights.extend(granted(SELF_ROLES)?);
    }
    Ok(rights)
}

fn granted(roles: &str) -> Result<Vec<Right>, String> {
    let roles: Vec<Role> = serde_saphyr::from_multiple(roles).map_err(|error| error.to_string())?;
    let granting = roles.iter().filter(|role| matches!(role.kind.as_str(), "Role" | "ClusterRole"));
    Ok(granting.flat_map(|role| role.rules.iter().flat_map(|rule| rights(rule, role.kind == "Role"))).collect())
}

fn rights(rule: &PolicyRule, own_namespace: bool) -> Vec<Right> {
    let names = || {
        let named = rule.resource_names.iter().cloned().map(Some);
        named.chain(rule.resource_names.is_empty().then_some(None))
    };
    let mut rights = Vec::new();
    for (group, resource) in
        rule.api_groups.iter().flat_map(|group| rule.resources.iter().map(move |each| (group, each)))
    {
        for name in names() {
            rights.extend(rule.verbs.iter().map(|verb| Right {
                verb: verb.clone(),
                group: group.clone(),
                resource: resource.clone(),
                name: name.clone(),
                own_namespace,
            }));
        }
    }
    rights
}

/// Asks the cluster about each right of Gatepost's ServiceAccount.
pub async fn ask(installation: &Installation, registers_itself: bool) -> Vec<(Right, Read<bool>)> {
    let mut answers = Vec::new();
    for right in needed(registers_itself).unwrap_or_default() {
        let answer = may(&installation.client, &installation.namespace, &right).await;
        answers.push((right, answer));
    }
    answers
}

async fn may(client: &Client, namespace: &str, right: &Right) -> Read<bool> {
    let Right { verb, group, resource, name, own_namespace } = right.clone();
    let attributes = ResourceAttributes {
        verb: Some(verb),
        group: Some(group),
        resource: Some(resource),
        name,
        namespace: own_namespace.then(|| namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let account = Requester {
        user: format!("system:serviceaccount:{namespace}:{NAME}"),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ],
        ..Requester::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    access::review(&reviews, &account, attributes).await.map(|status| status.allowed).map_err(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_roles_name_what_is_needed() {
        let words = |registers_itself| -> Vec<String> {
            needed(registers_itself).unwrap().iter().map(ToString::to_string).collect()
        };
        let (words, more) = (words(false), words(true));
        for expected in [
            "watch namespaces",
            "create subjectaccessreviews.authorization.k8s.io",
            "patch validatingwebhookconfigurations.admissionregistration.k8s.io \"gatepost\"",
            "get secrets \"gatepost-certificates\" in its own namespace",
        ] {
            assert!(words.iter().any(|right| right == expected), "{expected} is missing in {words:#?}");
        }
        assert_eq!(more.get(..words.len()), Some(words.as_slice()));
        for expected in [
            "update mutatingwebhookconfigurations.admissionregistration.k8s.io \"gatepost\"",
            "patch configmaps \"gatepost-state\" in its own namespace",
            "create configmaps \"gatepost-probe\" in its own namespace",
        ] {
            assert!(!words.iter().any(|right| right == expected), "{expected} is for who registers itself");
            assert!(more.iter().any(|right| right == expected), "{expected} is missing in {more:#?}");
        }
    }
}
