//! Syncs of Argo CD that Gatepost stopped: what was denied, and how to go on.

use std::collections::BTreeMap;

use super::applications::href;
use super::links::encoded;
use super::shell::Visit;
use super::words::When;
use crate::cluster::applications::sync::{Denied, FailedSync};
use crate::scan::applications::Told;

/// Characters of a commit that tell it apart.
const SHORT: usize = 12;

/// An Application whose last sync Gatepost denied something of.
pub struct Stopped {
    /// Its name.
    pub name: String,
    /// Its page.
    pub href: String,
    /// Its project.
    pub project: String,
    /// The beginning of the commit.
    pub revision: String,
    /// Since when.
    pub since: Option<When>,
    /// Whether Argo CD goes on trying by itself.
    pub retrying: bool,
    /// What was denied.
    pub denied: Vec<Row>,
    /// What syncs again, with Argo CD's own program.
    pub argocd: String,
    /// What does so without it.
    pub kubectl: String,
}

/// An object that was denied.
pub struct Row {
    /// Its kind and name.
    pub object: String,
    /// Its namespace, empty where there is none or nobody tells.
    pub namespace: String,
    /// The gravest rule, and its page; empty where none was named.
    pub rule: (String, String),
    /// What Gatepost said.
    pub message: String,
}

impl Row {
    fn of(denied: &Denied) -> Self {
        let page = if denied.rule.is_empty() { String::new() } else { format!("/rules/{}", encoded(&denied.rule)) };
        Self {
            object: format!("{}/{}", denied.kind, denied.name),
            namespace: denied.namespace.clone(),
            rule: (denied.rule.clone(), page),
            message: denied.message.clone(),
        }
    }
}

/// Returns the stopped syncs of applications.
pub fn stopped(all: BTreeMap<String, Told>, visit: &Visit) -> Vec<Stopped> {
    let stopped = all.into_values().filter_map(|told| {
        let argo = told.argo?;
        let FailedSync { since, revision, retrying, denied, commands } = argo.failed_sync?;
        Some(Stopped {
            href: href(&told.application),
            name: told.application.name,
            project: argo.project,
            revision: revision.chars().take(SHORT).collect(),
            since: since.map(|since| visit.when(since)),
            retrying,
            denied: denied.iter().map(Row::of).collect(),
            argocd: commands.argocd,
            kubectl: commands.kubectl,
        })
    });
    stopped.collect()
}
