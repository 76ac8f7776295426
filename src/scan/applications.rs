//! `/api/v1/applications`: what delivers objects, with what was found of it; and Argo CD's Applications whose last sync
//! Gatepost denied, which Argo CD does not try again by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value as Text, json};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists::{self, APPLICATION, PAGES};
use super::problem::Problem;
use crate::audit::delivered::Applications as Known;
use crate::cluster::applications::source::Source;
use crate::cluster::applications::sync::FailedSync;
use crate::cluster::applications::{self, Application as Argo};
use crate::report::finding::Application;
use crate::store::{ApplicationCount, Filter};

const FILTERS: &[Parameter] =
    &[APPLICATION, Parameter::new("denied", Values::Flag, "Only those whose last sync Gatepost denied something of")];

const SORT: &[Parameter] = &[Parameter::new(
    "sort",
    Values::OneOf(&["denied", "name", "findings"]),
    "The order: those first whose last sync was denied if nobody says; by name; or most findings first",
)];

const APPLICATIONS: Endpoint = Endpoint {
    path: "/api/v1/applications",
    about: "What delivers objects, with its open findings; of Argo CD's Applications also what Gatepost denied of the last \
            sync, and what syncs again",
    parameters: &[FILTERS, SORT, PAGES],
    answer: "ApplicationList",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&APPLICATIONS, applications)
}

/// What is told of an application.
#[derive(Debug, PartialEq, Serialize)]
pub struct Told {
    /// Which.
    #[serde(flatten)]
    pub application: Application,
    /// Where it is one of Argo CD's and was read.
    #[serde(flatten)]
    pub argo: Option<ToldByArgo>,
    /// What is open of it.
    #[serde(flatten)]
    pub found: Found,
}

/// What is open of what an application delivers.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Found {
    /// Open findings by severity.
    pub open: BTreeMap<String, u64>,
    /// Those of them that are denied, and that are warned of.
    #[serde(skip)]
    pub told: (u64, u64),
    /// The namespaces that its objects say it is in.
    #[serde(skip)]
    pub said: Vec<String>,
}

/// What is told of an Application of Argo CD.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldByArgo {
    /// Its project.
    pub project: String,
    /// Whether the cluster is as Git says, in Argo CD's words.
    pub sync: String,
    /// How its objects are, in Argo CD's words.
    pub health: String,
    /// The repositories, paths and revisions that it comes from.
    pub sources: Vec<Source>,
    /// The last sync, where Gatepost denied something of it.
    pub failed_sync: Option<FailedSync>,
}

/// Returns which Applications of Argo CD a label may mean; none where they cannot be listed.
pub async fn known(state: &ApiState) -> Known {
    let label = state.app.in_force.load().config.audit.instance_label.clone();
    let listed = match state.kept.as_ref().and_then(|kept| kept.applications.as_ref()) {
        Some(applications) => applications.all().await.ok(),
        None => None,
    };
    let all = listed.iter().flat_map(|all| all.iter());
    Known::new(&label, all.map(|application| (application.namespace.clone(), application.name.clone())))
}

/// Every application that somebody may see, by a key that orders them; and why those of Argo CD are not among them.
type All = (BTreeMap<String, Told>, Option<String>);

async fn applications(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let (all, unread) = all(&state, &caller).await?;
    let (names, denied) = (query.list("application"), query.flag("denied"));
    let all = all.into_iter().filter(|(_, told)| {
        let is_denied = told.argo.as_ref().is_some_and(|argo| argo.failed_sync.is_some());
        (names.is_empty() || names.contains(&told.application.name)) && (is_denied || !denied)
    });
    let keyed = all.map(|(key, told)| {
        let begin = match query.text("sort") {
            Some("name") => format!("{}\n", told.application.name),
            Some("findings") => lists::greatest_first(lists::sum(&told.found.open)),
            _ => String::new(),
        };
        (begin + &key, told)
    });
    let page = lists::part(&query, keyed)?;
    Ok(Json(json!({"items": page.items, "next": page.next, "unread": unread})))
}

/// Returns every application that somebody may see.
pub async fn all(state: &ApiState, caller: &Caller) -> Result<All, Problem> {
    let kept = state.kept()?;
    let filter = Filter { visible: lists::visible(&state.app, caller), ..Filter::default() };
    let counts = kept.store.applications(&filter).await?;
    let (argo, unread) = match &kept.applications {
        None => (Arc::default(), None),
        Some(applications) => match applications.all().await {
            Ok(all) => (all, None),
            Err(error) => (Arc::default(), Some(format!("Applications could not be read: {error}"))),
        },
    };
    Ok((told(&argo, counts, |namespace| caller.sees(namespace)), unread))
}

/// Returns where an Application of Argo CD comes from; nothing of what something else delivers, and where nobody knows.
pub async fn sources(state: &ApiState, application: &Application) -> Vec<Source> {
    let argo = state.kept.as_ref().and_then(|kept| kept.applications.as_ref());
    let Some(argo) = argo.filter(|_| application.kind == Application::ARGO) else { return Vec::new() };
    let Ok(all) = argo.all().await else { return Vec::new() };
    let found = applications::named(&all, &application.namespace, &application.name);
    found.map(|found| found.sources.clone()).unwrap_or_default()
}

/// Puts together what is found and what Argo CD says, as far as somebody sees the namespaces; by a key that orders them.
fn told(argo: &[Argo], counts: Vec<ApplicationCount>, sees: impl Fn(&str) -> bool) -> BTreeMap<String, Told> {
    let mut found: BTreeMap<Application, Found> = BTreeMap::new();
    for count in counts {
        let mut application = count.application;
        let said = application.namespace.clone();
        let is_argo = application.kind == Application::ARGO;
        let named = applications::named(argo, &application.namespace, &application.name);
        if let Some(named) = named.filter(|_| is_argo) {
            application.namespace.clone_from(&named.namespace);
        }
        let found = found.entry(application).or_default();
        for (severity, findings) in count.open {
            let sum = found.open.entry(severity).or_default();
            *sum = sum.saturating_add(findings);
        }
        let (denied, warned) = found.told;
        found.told = (denied.saturating_add(count.denied), warned.saturating_add(count.warned));
        found.said.push(said);
    }
    let mut all = BTreeMap::new();
    for argo in argo {
        let (namespace, name) = (argo.namespace.clone(), argo.name.clone());
        let application = Application { kind: Application::ARGO.to_owned(), namespace, name };
        let found = found.remove(&application).unwrap_or_default();
        let failed_sync = argo.failed_sync.as_ref().and_then(|failed| visible(failed, argo, &sees));
        if found.open.is_empty() && failed_sync.is_none() && !sees(&argo.destination) {
            continue;
        }
        let key = key(failed_sync.is_some(), &application);
        let (project, sync, health) = (argo.project.clone(), argo.sync.clone(), argo.health.clone());
        let argo = ToldByArgo { project, sync, health, sources: argo.sources.clone(), failed_sync };
        all.insert(key, Told { application, argo: Some(argo), found });
    }
    for (application, found) in found {
        all.insert(key(false, &application), Told { application, argo: None, found });
    }
    all
}

/// Returns of a failed sync what was denied in namespaces that somebody sees; nothing when that is nothing.
fn visible(failed: &FailedSync, argo: &Argo, sees: impl Fn(&str) -> bool) -> Option<FailedSync> {
    let mut failed = failed.clone();
    failed.denied.retain(|denied| {
        let namespace = if denied.namespace.is_empty() { &argo.destination } else { &denied.namespace };
        sees(namespace)
    });
    (!failed.denied.is_empty()).then_some(failed)
}

/// Those that were denied come first.
fn key(is_denied: bool, Application { kind, namespace, name }: &Application) -> String {
    let rank = i32::from(!is_denied);
    format!("{rank} {kind} {name} {namespace}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::applications::sync::{Commands, Denied};

    fn argo(namespace: &str, name: &str, denied_in: &[&str]) -> Argo {
        let denied = denied_in.iter().map(|namespace| Denied {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: (*namespace).to_owned(),
            name: "web".into(),
            rule: "container-privileged".into(),
            message: "no".into(),
        });
        let failed = FailedSync {
            since: None,
            revision: "abc".into(),
            retrying: false,
            denied: denied.collect(),
            commands: Commands { argocd: String::new(), kubectl: String::new() },
        };
        Argo {
            namespace: namespace.into(),
            name: name.into(),
            project: "default".into(),
            destination: name.into(),
            sync: "Synced".into(),
            health: "Healthy".into(),
            sources: Vec::new(),
            failed_sync: (!denied_in.is_empty()).then_some(failed),
            syncs: Vec::new(),
        }
    }

    fn count(kind: &str, namespace: &str, name: &str, high: u64) -> ApplicationCount {
        let application = Application { kind: kind.into(), namespace: namespace.into(), name: name.into() };
        ApplicationCount { application, open: BTreeMap::from([("high".into(), high)]), denied: 0, warned: high }
    }

    fn lines(told: &BTreeMap<String, Told>) -> Vec<String> {
        let line = |told: &Told| {
            let Application { kind, namespace, name } = &told.application;
            let sync = told.argo.as_ref().and_then(|argo| argo.failed_sync.as_ref());
            let denied = sync.map_or(0, |sync| sync.denied.len());
            format!("{kind}/{namespace}/{name} {} {denied}", told.found.open.get("high").unwrap_or(&0))
        };
        told.values().map(line).collect()
    }

    #[test]
    fn findings_and_syncs_of_one_application_are_told_together_denied_ones_first() {
        let all = [argo("argocd", "shop", &[]), argo("team", "shop", &[]), argo("argocd", "web", &["web"])];
        let counts = vec![
            count("Application", "", "shop", 3),
            count("Application", "team", "shop", 1),
            count("Application", "", "gone", 2),
            count("Release", "", "web", 4),
        ];
        let expected = [
            "Application/argocd/web 0 1",
            "Application//gone 2 0",
            "Application/argocd/shop 3 0",
            "Application/team/shop 1 0",
            "Release//web 4 0",
        ];
        assert_eq!(lines(&told(&all, counts, |_| true)), expected);
    }

    #[test]
    fn nobody_is_told_what_was_denied_where_they_do_not_look() {
        let all = [argo("argocd", "shop", &["shop", "other"]), argo("argocd", "other", &["other", ""])];
        let seen = told(&all, Vec::new(), |namespace| namespace == "shop");
        assert_eq!(lines(&seen), ["Application/argocd/shop 0 1"]);
    }
}
