//! Rights: those that a role grants, and those that the API server's audit log shows in use.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::objects::Object;

/// Who the webhook is, as the manifests make it.
pub const WEBHOOK: &str = "system:serviceaccount:gatepost:gatepost";
/// Who the scanner is.
pub const SCANNER: &str = "system:serviceaccount:gatepost:gatepost-scanner";

/// One verb on one resource, and on one name where the right is limited to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub verb: String,
    /// The resource, with its group as in `leases.coordination.k8s.io`.
    pub resource: String,
    pub name: Option<String>,
}

impl Right {
    /// Returns a right from words as in `list limitranges`.
    pub fn new(verb: &str, resource: &str, name: Option<&str>) -> Self {
        Self { verb: verb.to_owned(), resource: resource.to_owned(), name: name.map(str::to_owned) }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.verb, self.resource, self.name.as_deref().unwrap_or_default())
    }
}

/// Returns what Roles and ClusterRoles grant.
pub fn granted<'a>(roles: impl IntoIterator<Item = &'a Object>) -> BTreeSet<Right> {
    let granting = roles.into_iter().flat_map(|role| role.0["rules"].as_array().expect("rules"));
    granting.flat_map(of_rule).collect()
}

fn of_rule(rule: &Value) -> Vec<Right> {
    let list = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap_or_default() };
    let names = match list("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for group in list("apiGroups") {
        for resource in list("resources") {
            for verb in list("verbs") {
                rights.extend(names.iter().map(|name| Right::new(&verb, &full(&group, &resource), name.as_deref())));
            }
        }
    }
    rights
}

fn full(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// What somebody asked of the API server.
#[derive(Debug, Default)]
pub struct Asked {
    /// What was allowed, each with the name that it was asked for, if any.
    pub allowed: BTreeSet<Right>,
    /// What was forbidden.
    pub forbidden: Vec<String>,
}

impl Asked {
    /// Reads from an audit log, one Event a line, what a ServiceAccount asked for.
    pub fn read(log: &str, account: &str) -> Self {
        let mut asked = Self::default();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for event in events.filter(|event| event["user"]["username"] == account) {
            let object = &event["objectRef"];
            // What has no resource, such as /api, every user may read.
            let Some(resource) = object["resource"].as_str() else { continue };
            let below = object["subresource"].as_str().map_or_else(String::new, |below| format!("/{below}"));
            let resource = full(object["apiGroup"].as_str().unwrap_or_default(), &format!("{resource}{below}"));
            let right = Right::new(event["verb"].as_str().unwrap_or_default(), &resource, object["name"].as_str());
            if event["annotations"]["authorization.k8s.io/decision"] == "forbid" {
                asked.forbidden.push(right.to_string());
            } else {
                asked.allowed.insert(right);
            }
        }
        asked
    }

    /// Returns whether a right was used. One that is not limited to a name was, whatever name was asked for.
    pub fn has_used(&self, right: &Right) -> bool {
        let is_it = |asked: &&Right| {
            asked.verb == right.verb
                && asked.resource == right.resource
                && (right.name.is_none() || asked.name == right.name)
        };
        self.allowed.iter().any(|asked| is_it(&asked))
    }
}
