//! Where an Application comes from: repositories, paths and revisions.

use serde::{Deserialize, Serialize};

/// One source of an Application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The repository, without what lets one into it.
    #[serde(rename = "repoURL")]
    pub repository: String,
    /// The path in it; empty for a chart, and for what others take values from.
    pub path: String,
    /// The Helm chart; empty where it is none.
    pub chart: String,
    /// The branch, tag or version that is followed; empty for the repository's own.
    #[serde(rename = "targetRevision")]
    pub wanted: String,
    /// What it was when the cluster was last compared with it; empty before that.
    pub revision: String,
}

/// Sources as an Application writes them: one, several, or what others are made of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenSources {
    source: Option<Written>,
    sources: Vec<Written>,
    source_hydrator: Option<Hydrator>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    #[serde(rename = "repoURL")]
    repo_url: String,
    path: String,
    chart: String,
    target_revision: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Hydrator {
    dry_source: Written,
}

impl WrittenSources {
    /// Returns each source with its revision, in the order in which both are written.
    pub(super) fn told(self, revisions: &[String]) -> Vec<Source> {
        // What is hydrated is compared with a branch that a program writes: its commits are of no source that people write.
        let is_hydrated = self.source_hydrator.is_some();
        let written = match (self.source_hydrator, self.sources) {
            (Some(hydrator), _) => vec![hydrator.dry_source],
            (None, sources) if sources.is_empty() => self.source.into_iter().collect(),
            (None, sources) => sources,
        };
        let revisions = revisions.iter().filter(|_| !is_hydrated).map(Some).chain(std::iter::repeat(None));
        let told = written.into_iter().zip(revisions).map(|(written, revision)| Source {
            repository: without_credentials(&written.repo_url),
            path: written.path,
            chart: written.chart,
            wanted: written.target_revision,
            revision: revision.cloned().unwrap_or_default(),
        });
        told.collect()
    }
}

/// Returns an address without the name and password that may stand before its host; `git@host:path` is no such name.
fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}
