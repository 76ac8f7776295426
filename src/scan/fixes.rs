//! `GET /api/v1/findings/{id}/fix`: what mends a finding, as a diff that `git apply` takes.
//!
//! Where manifests stand in for a cluster, the diff is one of the file that the object stands in, comments and all. Else it
//! is one of the manifest as it is shown: of the file in Git nobody here knows.

use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::Value as Json;

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Routes};
use super::plans::file;
use super::problem::Problem;
use crate::engine::Value;
use crate::engine::review::{kind_of, name_of};
use crate::engine::value::Fields as _;
use crate::input::Inputs;
use crate::input::document::{on_a_deep_stack, parse};
use crate::input::draft::Draft;
use crate::policy::Rule;
use crate::policy::metadata::Mend;
use crate::report::finding::{Finding, Fingerprint, ObjectKey, State as Standing};
use crate::report::{mend, yaml};

const DIFF: &str = "text/x-diff; charset=utf-8";

const FIX: Endpoint = Endpoint {
    path: "/api/v1/findings/{id}/fix",
    about: "What mends a finding, as a diff that git apply takes; 404 where only a person knows",
    gives: &["text/x-diff"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&FIX, fix)
}

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// The diff.
    pub diff: String,
    /// What a person has to look at in the values that it writes.
    pub choices: Vec<String>,
    /// The file that it changes; none where it is of the manifest as it is shown.
    pub file: Option<String>,
}

async fn fix(State(state): State<Arc<ApiState>>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let found = kept.store.finding(&Fingerprint(id.clone())).await?;
    let found = found.filter(|finding| caller.sees(&finding.object.namespace));
    let finding = found.ok_or_else(|| Problem::not_found(format!("there is no finding \"{id}\"")))?;
    let in_force = state.app.in_force.load();
    let rule = in_force.bundle.catalogue().rule(finding.rule.as_str()).ok().cloned();
    let content = kept.store.content(&finding.content).await?;
    let object: Option<Json> = content.and_then(|text| serde_json::from_str(&text).ok());
    let by_hand = rule.as_ref().map(|rule| rule.by_hand.clone()).filter(|text| !text.is_empty());
    let fix = match (rule, object) {
        (Some(rule), Some(object)) => of(&state, &finding, &rule, &object).await,
        _ => None,
    };
    let none = || Problem::not_found(by_hand.unwrap_or_else(|| "only a person can mend this one".to_owned()));
    let name = format!("{}-{}.patch", finding.rule, finding.id);
    Ok(file(DIFF, &name, fix.ok_or_else(none)?.diff))
}

/// Returns what mends an open finding, as far as the rule's own steps do.
pub async fn of(state: &ApiState, finding: &Finding, rule: &Rule, object: &Json) -> Option<Fix> {
    if rule.mend.is_empty() || finding.path.is_empty() || finding.state != Standing::Open {
        return None;
    }
    let choices = rule.mend.iter().map(|step| step.choose.clone()).filter(|choice| !choice.is_empty()).collect();
    if let Some(folder) = state.manifests.clone() {
        let asked = InFolder {
            folder,
            object: finding.object.clone(),
            place: finding.place.clone(),
            stands: object.pointer(&finding.path).cloned(),
            steps: rule.mend.clone(),
        };
        let (file, diff) =
            tokio::task::spawn_blocking(move || on_a_deep_stack("fix", || asked.fix())).await.ok()???;
        return Some(Fix { diff, choices, file: Some(file) });
    }
    let text = yaml::text(object);
    let is_true = serde_saphyr::from_str::<Json>(&text).is_ok_and(|read| read == *object);
    let mended = mend::mended(&text, "", &finding.path, &rule.mend).filter(|_| is_true)?;
    let diff = mend::diff(&file_name(&finding.object), &text, &mended)?;
    Some(Fix { diff, choices, file: None })
}

/// Returns what the file of an object is likely called.
fn file_name(object: &ObjectKey) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    format!("{}-{}.yaml", object.kind.to_ascii_lowercase(), object.name).chars().map(plain).collect()
}

/// A violation that is looked for in a folder of manifests.
struct InFolder {
    folder: PathBuf,
    object: ObjectKey,
    place: String,
    /// What stood there when it was judged.
    stands: Option<Json>,
    steps: Vec<Mend>,
}

impl InFolder {
    /// Returns the file, as seen from the root of its repository, and the diff.
    fn fix(&self) -> Option<(String, String)> {
        let (path, document) = self.find()?;
        let mut draft = Draft::read(&path)?;
        let root = fs_root(&self.folder);
        let file = path.canonicalize().ok()?;
        let file = file.strip_prefix(&root).ok()?.to_string_lossy().replace('\\', "/");
        let pointer = |object: &Value| {
            let pointer = mend::located(object, &self.place)?;
            let stands = serde_json::to_value(object).ok()?.pointer(&pointer).cloned();
            (stands == self.stands).then_some(pointer)
        };
        let is_mended = draft.mend(document, |object| self.is_it(object), pointer, &self.steps);
        is_mended.then(|| draft.diff(&file))?.map(|diff| (file, diff))
    }

    /// Returns the last file and document that has the object: that is the one which was judged.
    fn find(&self) -> Option<(PathBuf, usize)> {
        let inputs = Inputs::new(std::slice::from_ref(&self.folder), io::empty());
        // Text in other encodings is looked through whole.
        let may_hold =
            |bytes: &[u8]| std::str::from_utf8(bytes).ok().is_none_or(|text| text.contains(&self.object.name));
        let mut last = None;
        for piece in inputs.pieces() {
            let file = PathBuf::from(&*piece.file);
            for chunk in piece.chunks(may_hold).into_iter().flatten() {
                if parse(&chunk).manifests.iter().any(|manifest| self.is_it(&manifest.object)) {
                    last = Some((file.clone(), chunk.index));
                }
            }
        }
        last
    }

    fn is_it(&self, object: &Value) -> bool {
        let kind = kind_of(object);
        let namespace = object.at(&["metadata", "namespace"]).and_then(|text| text.as_text()).unwrap_or_default();
        let asked = &self.object;
        let is_there = asked.namespace.is_empty() || asked.namespace == namespace;
        is_there && kind.group == asked.group && kind.kind == asked.kind && name_of(object) == asked.name
    }
}

/// Returns the root of the repository that a folder is in; the folder itself where it is in none.
fn fs_root(folder: &FilePath) -> PathBuf {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().find(|above| above.join(".git").exists()).unwrap_or(&folder).to_owned()
}
