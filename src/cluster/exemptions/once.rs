//! The cluster's exemptions as they stand now, read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};

use super::{GROUP, find, read};
use crate::policy::exemption::{ExemptionKind, Written};

/// Objects that are asked for at a time.
const PAGE: u32 = 500;

/// What was read of exemptions.
#[derive(Debug, Default)]
pub struct Once {
    /// What stands in the cluster.
    pub written: Vec<Arc<Written>>,
    /// Kinds, as `group/Kind`, that could not be read, each with the reason.
    pub unread: BTreeMap<String, String>,
}

/// Reads Exemptions and ClusterExemptions; a kind that the cluster does not know has none.
pub async fn list(client: &Client) -> Once {
    let mut once = Once::default();
    for kind in [ExemptionKind::Exemption, ExemptionKind::ClusterExemption] {
        match of_kind(client, kind).await {
            Ok(written) => once.written.extend(written),
            // The definition may go between the look-up and the list.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                let cause = match error {
                    kube::Error::Api(status) => status.message,
                    other => other.to_string(),
                };
                let name = format!("{GROUP}/{}", kind.as_str());
                once.unread.insert(name, format!("{cause}; what they excuse is told as a violation"));
            }
        }
    }
    once
}

async fn of_kind(client: &Client, kind: ExemptionKind) -> Result<Vec<Arc<Written>>, kube::Error> {
    let Some(resource) = find(client, GROUP, kind.as_str()).await? else { return Ok(Vec::new()) };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let mut written = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        written.extend(list.items.into_iter().filter_map(|object| read(kind, object)).map(|(_, known)| known.written));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(written),
        }
    }
}
