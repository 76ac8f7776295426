//! Judging the objects of documents, for `gatepost scan` and for the scan endpoint.

use std::sync::Arc;

use crate::engine::review::Inventory;
use crate::engine::{Machines, Path, Review, Value};
use crate::input::surroundings::Home;
use crate::input::{Chunk, Lines, Surroundings, parse};
use crate::policy::{Grant, KubernetesVersion, Modes, NamespaceMeta};
use crate::report::judge::Judge;
use crate::report::{FileReport, Location};

/// What judges documents.
#[derive(Clone, Copy)]
pub struct Scanner<'a> {
    /// What objects are judged by.
    pub judge: Judge<'a>,
    /// Which policies judge which namespace.
    pub modes: &'a Modes,
    /// The namespaces and objects that are known.
    pub surroundings: &'a Surroundings,
    /// The namespace that objects without one are in; none where nobody says.
    pub namespace: Option<&'a Arc<NamespaceMeta>>,
    /// The objects that rules may look up beside an object.
    pub inventory: &'a (dyn Fn(&Value) -> Inventory + Sync),
    /// The release of Kubernetes that they are meant for; none where nobody says.
    pub kubernetes_version: Option<KubernetesVersion>,
}

impl Scanner<'_> {
    /// Judges the objects of a document, and adds what it finds to a report.
    pub fn document(&self, chunk: &Chunk, machines: &mut Machines, report: &mut FileReport) {
        let parsed = parse(chunk);
        report.not_kubernetes = report.not_kubernetes.saturating_add(parsed.skipped);
        report.faults.extend(parsed.faults);
        let lines = Lines::of(chunk);
        let file = report.file.clone();
        for manifest in parsed.manifests {
            let locate = |path: &Path| {
                let line = lines.line(&manifest, path);
                Some(Location { file: file.clone(), document: chunk.index, line })
            };
            self.object(&manifest.object, locate, machines, report);
        }
    }

    fn object(
        &self,
        object: &Value,
        locate: impl Fn(&Path) -> Option<Location>,
        machines: &mut Machines,
        report: &mut FileReport,
    ) {
        let (namespace, grants) = self.grants(object);
        let review = Review {
            kubernetes_version: self.kubernetes_version,
            ..Review::of_file(object.clone(), namespace, (self.inventory)(object))
        };
        let (entries, summary) = self.judge.object(&review, &grants, machines, locate);
        report.summary += summary;
        report.entries.extend(entries);
    }

    /// Returns the namespace that an object is judged in, as far as it is known, and what judges there.
    fn grants(&self, object: &Value) -> (Option<Arc<NamespaceMeta>>, Vec<Grant>) {
        let bundle = self.judge.bundle;
        match self.surroundings.home(object) {
            Home::Cluster => (None, self.modes.cluster_scoped_grants().grants),
            Home::Unsaid => match self.namespace {
                Some(namespace) => (Some(namespace.clone()), self.modes.grants(namespace, bundle).grants),
                None => (None, self.modes.grants(&NamespaceMeta::default(), bundle).grants),
            },
            Home::Namespace(namespace) => {
                let grants = self.modes.grants(&namespace, bundle).grants;
                (Some(namespace), grants)
            }
        }
    }
}
