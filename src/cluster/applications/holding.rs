//! Which Applications of Argo CD list some objects as their own.

use std::collections::BTreeMap;

use kube::api::ListParams;
use kube::core::{NotUsed, Object};
use kube::{Api, Client};
use serde::Deserialize;

use super::PAGE;
use crate::cluster::inventory::find;

/// What tells an object in an Application's status: group, kind, namespace, name.
pub type Key = (String, String, String, String);

/// An Application that lists some of the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its group and version.
    pub api_version: String,
    /// The numbers of the objects.
    pub objects: Vec<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    resources: Vec<Resource>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resource {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

/// Returns the Applications whose `status.resources` lists one of these numbered objects; none in a cluster without Argo CD.
///
/// They are read page by page and let go of: thousands of Applications list hundreds of objects each.
pub async fn holding(client: &Client, wanted: &BTreeMap<Key, usize>) -> kube::Result<Vec<Holding>> {
    let Some(resource) = find(client, "argoproj.io", "Application").await? else { return Ok(Vec::new()) };
    let api: Api<Object<NotUsed, Status>> = Api::all_with(client.clone(), &resource);
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        for application in page.items {
            let of = |resource: Resource| {
                let key = (resource.group, resource.kind, resource.namespace, resource.name);
                wanted.get(&key).copied()
            };
            let listed = application.status.unwrap_or_default().resources;
            let objects: Vec<usize> = listed.into_iter().filter_map(of).collect();
            if !objects.is_empty() {
                found.push(Holding {
                    namespace: application.metadata.namespace.unwrap_or_default(),
                    name: application.metadata.name.unwrap_or_default(),
                    uid: application.metadata.uid.unwrap_or_default(),
                    api_version: resource.api_version.clone(),
                    objects,
                });
            }
        }
        let next = page.metadata.continue_.filter(|next| !next.is_empty());
        let Some(next) = next else { return Ok(found) };
        params = params.continue_token(&next);
    }
}
