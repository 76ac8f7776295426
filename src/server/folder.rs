//! The API of a cluster as far as an audit asks it, answered from a folder of manifests that stands in for one.
//!
//! So what stands in a folder is audited by the code that audits clusters, with the same life of findings.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use http::{Request, Response, StatusCode, Uri};
use kube::Client;
use kube::client::Body;
use serde_json::{Value as Json, json};
use tower::service_fn;

use crate::config::Config;
use crate::engine::Value;
use crate::engine::review::kind_of;
use crate::engine::value::{Fields as _, ObjectBuilder};
use crate::input::document::{STACK_BYTES, parse};
use crate::input::surroundings::{Home, Surroundings};
use crate::input::{Inputs, Manifest};
use crate::policy::NamespaceMeta;

/// Where an audit asks for the labels of namespaces.
const NAMESPACES: &str = "/api/v1/namespaces";
/// Stands for a group of kinds that nobody knows, because a file cannot be read.
const UNREAD: &str = "manifests";
/// Faults that are told of a folder.
const TOLD: usize = 3;

/// Returns the configuration in force.
type InForce = Box<dyn Fn() -> Arc<Config> + Send + Sync>;

/// Returns a client that an audit may ask as it asks a cluster; the folder is read anew when an audit begins.
pub fn client(folder: PathBuf, config: InForce) -> Client {
    let folder = Arc::new(Folder { path: folder, config, read: Mutex::default() });
    let answer = move |request: Request<Body>| {
        let folder = folder.clone();
        async move {
            let (code, body) = folder.answer(request.uri().clone()).await;
            let text = serde_json::to_vec(&body).unwrap_or_default();
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
            Ok::<_, Infallible>(response)
        }
    };
    Client::new(service_fn(answer), "default")
}

struct Folder {
    path: PathBuf,
    config: InForce,
    /// What the audit under way is told.
    read: Mutex<Arc<Contents>>,
}

impl Folder {
    async fn answer(&self, uri: Uri) -> (u16, Json) {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        // An audit begins by asking what is served.
        if path == "/api/v1" {
            let (folder, config) = (self.path.clone(), (self.config)());
            let reading = tokio::task::spawn_blocking(move || Contents::read(&folder, &config)).await;
            let contents = reading.unwrap_or_else(|_| Contents::unread("reading it panicked"));
            *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(contents);
        }
        let contents = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        contents.answer(path, query.contains("continue="))
    }
}

/// What stood in the folder when an audit began.
#[derive(Default)]
struct Contents {
    /// By group and kind.
    kinds: BTreeMap<(String, String), Kind>,
    namespaces: Vec<NamespaceMeta>,
    /// What could not be read.
    faults: Vec<String>,
}

/// Objects of a kind as JSON; one that stands in several files is as the last of them says, as if they were applied in
/// their order.
#[derive(Default)]
struct Kind {
    is_cluster_scoped: bool,
    objects: BTreeMap<(String, String), Json>,
}

impl Contents {
    fn unread(fault: &str) -> Self {
        Self { faults: vec![fault.to_owned()], ..Self::default() }
    }

    fn read(folder: &Path, config: &Config) -> Self {
        let read = thread::scope(|scope| {
            let thread = thread::Builder::new().name("manifests".into()).stack_size(STACK_BYTES);
            let reading = thread.spawn_scoped(scope, || Self::collect(folder, config))?;
            Ok::<_, io::Error>(reading.join().unwrap_or_else(|_| Self::unread("reading it panicked")))
        });
        read.unwrap_or_else(|error| Self::unread(&error.to_string()))
    }

    fn collect(folder: &Path, config: &Config) -> Self {
        let mut contents = Self::default();
        let mut known = Surroundings::new([]);
        let inputs = Inputs::new(&[folder.to_owned()], io::empty());
        for piece in inputs.pieces() {
            let file = piece.file.clone();
            for chunk in piece.chunks(|_| true) {
                match chunk.map(|chunk| parse(&chunk)) {
                    Ok(parsed) => {
                        contents.faults.extend(parsed.faults.iter().map(|fault| fault.in_file(&file)));
                        parsed.manifests.into_iter().for_each(|found| contents.add(found, &mut known));
                    }
                    Err(fault) => contents.faults.push(fault.in_file(&file)),
                }
            }
        }
        known.add_namespaces(&config.static_namespaces);
        known.add_named(contents.kinds.values().flat_map(|kind| kind.objects.keys().map(|(namespace, _)| namespace)));
        contents.namespaces = known.namespaces().map(|namespace| NamespaceMeta::clone(namespace)).collect();
        contents
    }

    fn add(&mut self, Manifest { object, .. }: Manifest, known: &mut Surroundings) {
        known.add(&object);
        let kind = kind_of(&object);
        let is_cluster_scoped = kind.is_namespace() || known.home(&object) == Home::Cluster;
        let text = |key| object.at(&["metadata", key]).and_then(|text| text.as_text()).unwrap_or_default().to_owned();
        let (namespace, name, generated) = (text("namespace"), text("name"), text("generateName"));
        let name = if name.is_empty() { generated } else { name };
        let namespace = if is_cluster_scoped { String::new() } else { namespace };
        let entry = self.kinds.entry((kind.group, kind.kind)).or_default();
        entry.is_cluster_scoped = is_cluster_scoped;
        if let Ok(json) = serde_json::to_value(as_applied(&object, &name)) {
            entry.objects.insert((namespace, name), json);
        }
    }

    fn answer(&self, path: &str, goes_on: bool) -> (u16, Json) {
        let group = path.strip_prefix("/apis/").and_then(|rest| rest.strip_suffix("/v1"));
        match (path, group) {
            ("/api/v1", _) => (200, self.resources("")),
            ("/apis", _) => (200, self.groups()),
            (NAMESPACES, _) => {
                let item = |meta: &NamespaceMeta| json!({"metadata": {"name": meta.name, "labels": meta.labels, "annotations": meta.annotations}});
                (200, page(&self.namespaces.iter().map(item).collect::<Vec<_>>(), ""))
            }
            (_, Some(UNREAD)) if !self.faults.is_empty() => self.unreadable(),
            (_, Some(group)) => (200, self.resources(group)),
            // What could not be read may be of any kind: none is complete, so nothing is taken for gone.
            _ if goes_on => self.unreadable(),
            _ => match path.rsplit('/').next().and_then(|name| self.kinds.values().nth(number(name)?)) {
                Some(kind) => {
                    let next = if self.faults.is_empty() { "" } else { "unread" };
                    (200, page(&kind.objects.values().cloned().collect::<Vec<_>>(), next))
                }
                None => failure(404, path),
            },
        }
    }

    fn groups(&self) -> Json {
        let unread = (!self.faults.is_empty()).then_some(UNREAD);
        let groups: BTreeSet<&str> = self.kinds.keys().map(|(group, _)| group.as_str()).chain(unread).collect();
        let group = |group: &str| {
            let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
            json!({"name": group, "versions": [version], "preferredVersion": version})
        };
        let groups: Vec<Json> = groups.into_iter().filter(|name| !name.is_empty()).map(group).collect();
        json!({"groups": groups})
    }

    /// Returns the kinds of a group. A kind's number among all is its name in paths; each object says its own version.
    fn resources(&self, group: &str) -> Json {
        let numbered = self.kinds.iter().enumerate().filter(|(_, ((of, _), _))| of == group);
        let resource = |(number, ((_, kind), known)): (usize, (&(String, String), &Kind))| {
            json!({"name": format!("kind-{number}"), "singularName": "", "kind": kind,
                   "namespaced": !known.is_cluster_scoped, "verbs": ["list", "watch"]})
        };
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        json!({"groupVersion": version, "resources": numbered.map(resource).collect::<Vec<_>>()})
    }

    fn unreadable(&self) -> (u16, Json) {
        let named: Vec<&str> = self.faults.iter().take(TOLD).map(String::as_str).collect();
        let more = self.faults.len().saturating_sub(named.len());
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        failure(422, &format!("not all files can be read: {}{more}", named.join("; ")))
    }
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix("kind-")?.parse().ok()
}

fn page(items: &[Json], next: &str) -> Json {
    json!({"metadata": {"continue": next}, "items": items})
}

fn failure(code: u16, message: &str) -> (u16, Json) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "message": message}))
}

/// Returns an object with the name that tells it from others, and without the version that it had in some cluster: here
/// its text says whether it has changed.
fn as_applied(object: &Value, name: &str) -> Value {
    let Some(metadata) = object.field("metadata") else { return object.clone() };
    let metadata = ObjectBuilder::from_value(metadata).without("resourceVersion").set(&"name".into(), name).build();
    ObjectBuilder::from_value(object).set(&"metadata".into(), metadata).build()
}
