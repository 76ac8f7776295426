//! Reading what judges: namespaces, and the objects that rules look up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::delivered::Applications;
use super::kinds::Listed;
use super::list::{Extent, Page, PageError, PageSize, Reached};
use super::pass::Pass;
use super::scope::{Looked, World};
use super::sink::Sink;
use crate::engine::kept::{Kept, looked_up};
use crate::engine::{Fields as _, Value, json};
use crate::policy::NamespaceMeta;

/// Where namespaces are listed.
const NAMESPACES: &str = "/api/v1/namespaces";
/// Argo CD's Applications.
const APPLICATIONS: &str = "argoproj.io/Application";

#[derive(Deserialize)]
struct Named {
    metadata: Head,
}

#[derive(Deserialize)]
struct Head {
    name: String,
    #[serde(default)]
    namespace: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl<S: Sink> Pass<'_, S> {
    /// Reads what judges: namespaces, and the objects that rules look up.
    pub(super) async fn world(&self, kinds: &[Listed], unread: &mut BTreeMap<String, String>) -> World {
        let namespaces = match self.namespaces().await {
            Ok(found) => Some(found),
            Err(error) => {
                unread.insert("core/Namespace".into(), error);
                None
            }
        };
        let mut looked = Looked::new();
        for (name, kept) in &self.rules.bundle.reads() {
            let Some(listed) = kinds.iter().find(|listed| listed.name() == *name) else {
                // Not served: there are none.
                looked.insert(name.clone(), HashMap::new());
                continue;
            };
            if listed.kind.is_secret() && !self.secrets {
                let cause = "rules look them up, and Secrets are not read unless --audit-secrets is given";
                unread.insert(name.clone(), cause.into());
                continue;
            }
            match self.looked(listed, kept).await {
                Ok(objects) => {
                    looked.insert(name.clone(), objects);
                }
                Err(cause) => {
                    unread.insert(name.clone(), cause);
                }
            }
        }
        let mut world = World::new(self.rules.clone(), namespaces, looked, (self.now)());
        world.applications = self.applications(kinds).await;
        world
    }

    /// Reads which Applications there are; where they may not be listed, no label means one.
    async fn applications(&self, kinds: &[Listed]) -> Applications {
        let mut all = Vec::new();
        if let Some(listed) = kinds.iter().find(|listed| listed.name() == APPLICATIONS) {
            let url = listed.url();
            let read = self.each((&url, Extent::Metadata), |item| {
                let Head { namespace, name, .. } = serde_json::from_str::<Named>(item).map_err(words)?.metadata;
                all.push((namespace, name));
                Ok(())
            });
            if let Err(cause) = read.await {
                tracing::warn!(%cause, "Applications of Argo CD cannot be listed: none is told by its label");
            }
        }
        Applications::new(&self.rules.config.audit.instance_label, all)
    }

    async fn namespaces(&self) -> Result<HashMap<String, Arc<NamespaceMeta>>, String> {
        let mut found = HashMap::new();
        self.each((NAMESPACES, Extent::Metadata), |item| {
            let Head { name, labels, annotations, .. } = serde_json::from_str::<Named>(item).map_err(words)?.metadata;
            let meta = NamespaceMeta {
                name: name.clone(),
                labels: labels.unwrap_or_default(),
                annotations: annotations.unwrap_or_default(),
            };
            found.insert(name, Arc::new(meta));
            Ok(())
        })
        .await?;
        Ok(found)
    }

    async fn looked(&self, listed: &Listed, kept: &Kept) -> Result<HashMap<String, Vec<Value>>, String> {
        let mut found: HashMap<String, BTreeMap<String, Value>> = HashMap::new();
        self.each((&listed.url(), Extent::Whole), |item| {
            let object = json::parse(item).map_err(words)?;
            let text =
                |key| object.at(&["metadata", key]).and_then(|text| text.as_text()).unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            found.entry(namespace).or_default().insert(name, looked_up(kept, &object));
            Ok(())
        })
        .await?;
        Ok(found.into_iter().map(|(namespace, objects)| (namespace, objects.into_values().collect())).collect())
    }

    /// Hands on each object of a list, page by page, and returns which state of the cluster the first page shows. What is
    /// handed on twice, because the list began again, counts as it is the last time.
    pub(super) async fn each(
        &self,
        (url, extent): (&str, Extent),
        mut take: impl FnMut(&str) -> Result<(), String> + Send,
    ) -> Result<String, String> {
        let mut version = String::new();
        let (mut size, mut reached) = (PageSize::FIRST, Reached::default());
        loop {
            let page = self.lister.page_of(&self.client, (url, extent), size, reached.at.as_deref()).await;
            let text = match page {
                Ok(text) => text,
                Err(error) => {
                    reached.go_on(error).map_err(PageError::cause)?;
                    continue;
                }
            };
            let page: Page<'_> = serde_json::from_str(&text).map_err(words)?;
            if reached.at.is_none() {
                version.clone_from(&page.metadata.resource_version);
            }
            let items = page.items.unwrap_or_default();
            size = PageSize::after(items.len(), text.len());
            for item in items {
                take(item.get())?;
            }
            reached.at = page.metadata.next;
            if reached.at.is_none() {
                return Ok(version);
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "handed to map_err, which gives it away")]
fn words(error: serde_json::Error) -> String {
    error.to_string()
}
