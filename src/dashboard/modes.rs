//! `/modes`: what enforcing a policy in some namespaces would deny, what to commit for it, and writing it.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::caveats::unless_away;
use super::dress::page_of;
use super::links::{Place, encoded};
use super::mode_changes::Past;
use super::shell::{Crumb, Shell, Visit};
use super::words::{When, count, number};
use crate::policy::modes::OFF;
use crate::report::finding::Application;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Query, Routes};
use crate::scan::mode_changes::{kubernetes_token, last};
use crate::scan::preview::{
    ChangeTold, Counted, ENFORCEMENT, FROM_SEVERITY, ObjectTold, ObjectsTold, Preview, enforcement, preview,
};
use crate::scan::problem::Problem;
use crate::scan::requests::{RequestTold, RequestsTold};
use crate::scan::suggestions::{Chosen, SELECTOR};
use crate::webhook::in_force::InForce;

/// Rows of each table.
const SHOWN: usize = 50;
/// Rows of each list of counts.
const COUNTED: usize = 8;

const MODES: Endpoint = Endpoint {
    path: "/modes",
    about: "The page that previews a change of modes",
    parameters: &[ENFORCEMENT, SELECTOR],
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&MODES, modes)
}

#[derive(Template)]
#[template(path = "modes.html")]
struct ModesPage {
    shell: Shell,
    fields: Fields,
    /// What would be denied; none as long as nothing is asked.
    ahead: Option<Look>,
    /// Whether the viewer shows a token to write with.
    may_write: bool,
    /// Whether there is a cluster to write to.
    has_writer: bool,
    /// What was changed from here; none where the store does not say for now.
    history: Option<Vec<Past>>,
}

/// What was asked, as the form shows it.
struct Fields {
    namespace: String,
    label: String,
    policies: Vec<(String, bool)>,
    severities: Vec<(&'static str, bool)>,
    is_all: bool,
    from: String,
}

/// What was seen.
struct Look {
    title: String,
    from: Option<When>,
    changes: Vec<ChangeTold>,
    /// Namespaces that nobody delivers and that are otherwise now.
    writable: Vec<String>,
    enforce: String,
    managed: usize,
    commands: String,
    manifests: String,
    objects: Option<Objects>,
    requests: Option<Requests>,
    is_away: bool,
    api: String,
}

struct Objects {
    looked_at: String,
    on_update: u64,
    on_create: u64,
    denied_already: u64,
    counts: Vec<Counts>,
    items: Vec<ObjectTold>,
    more: String,
    unread: Vec<(String, String)>,
}

struct Requests {
    looked_at: String,
    since: Option<When>,
    denied: u64,
    perhaps: u64,
    counts: Vec<Counts>,
    items: Vec<(RequestTold, When)>,
    unasked: Vec<String>,
}

/// What is counted by something.
struct Counts {
    of: &'static str,
    rows: Counted,
    more: usize,
}

impl Counts {
    fn all(rules: Counted, owners: Counted, applications: Counted) -> Vec<Self> {
        let each = [("rule", rules), ("owner", owners), ("application", applications)].into_iter();
        let of = |(of, mut rows): (&'static str, Counted)| {
            let more = rows.len().saturating_sub(COUNTED);
            rows.truncate(COUNTED);
            Self { of, rows, more }
        };
        each.filter(|(_, rows)| !rows.is_empty()).map(of).collect()
    }

    fn href(&self, value: &str) -> String {
        match self.of {
            "rule" => format!("/rules/{}", encoded(value)),
            "application" => format!("/findings?application={}&mode=enforce,warn,audit", encoded(value)),
            _ => String::new(),
        }
    }
}

impl Fields {
    fn of(query: &Query, in_force: &InForce) -> Self {
        let said = |name: &str| query.text(name).unwrap_or_default();
        let chosen = Some(said("enforce")).filter(|policy| !policy.is_empty()).unwrap_or("baseline");
        let names = in_force.bundle.policies().keys().map(ToString::to_string).chain([OFF.to_owned()]);
        Self {
            namespace: query.list("namespace").join(","),
            label: query.list("label").join(","),
            policies: names.map(|policy| (policy.clone(), policy == chosen)).collect(),
            severities: FROM_SEVERITY.into_iter().map(|word| (word, word == said("severity"))).collect(),
            is_all: said("scope") == "all",
            from: said("from").to_owned(),
        }
    }
}

impl From<ObjectsTold> for Objects {
    fn from(told: ObjectsTold) -> Self {
        let all = told.items.len();
        let mut items = told.items;
        items.truncate(SHOWN);
        let more = all.saturating_sub(items.len());
        Self {
            looked_at: count(told.looked_at, "object", "objects"),
            on_update: told.on_update,
            on_create: told.on_create,
            denied_already: told.denied_already,
            counts: Counts::all(told.rules, told.owners, told.applications),
            items,
            more: if more == 0 { String::new() } else { number(u64::try_from(more).unwrap_or(u64::MAX)) },
            unread: told.unread.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect(),
        }
    }
}

impl Requests {
    fn of(told: RequestsTold, visit: &Visit) -> Self {
        let with_time = |request: RequestTold| {
            let when = visit.when(request.time);
            (request, when)
        };
        Self {
            looked_at: number(told.looked_at),
            since: told.since.map(|since| visit.when(since)),
            denied: told.denied,
            perhaps: told.perhaps,
            counts: Counts::all(told.rules, told.owners, told.applications),
            items: told.items.into_iter().take(SHOWN).map(with_time).collect(),
            unasked: told.unasked,
        }
    }
}

impl Look {
    fn of(preview: Preview, visit: &Visit, api: String) -> Self {
        let Preview { enforce, at, changes, objects, requests, away } = preview;
        let lines = |of: &dyn Fn(&ChangeTold) -> &str, between: &str| {
            let changed: Vec<&str> = changes.iter().filter(|change| !change.is_so).map(of).collect();
            changed.join(between)
        };
        let namespaces = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        Self {
            title: match changes.as_slice() {
                [one] => format!("{enforce} in {}", one.namespace),
                _ => format!("{enforce} in {}", count(namespaces, "namespace", "namespaces")),
            },
            from: (at.as_second() > visit.now.as_second().saturating_add(60)).then(|| visit.when(at)),
            commands: lines(&|change| &change.command, "\n"),
            manifests: lines(&|change| &change.manifest, "---\n"),
            writable: {
                let others = changes.iter().filter(|change| !change.is_so && change.managed_by.is_none());
                others.map(|change| change.namespace.clone()).collect()
            },
            enforce,
            managed: changes.iter().filter(|change| change.managed_by.is_some()).count(),
            changes,
            objects: objects.map(Objects::from),
            requests: requests.map(|told| Requests::of(told, visit)),
            is_away: away.is_some(),
            api,
        }
    }
}

impl ModesPage {
    fn severity(&self) -> &'static str {
        self.fields.severities.iter().find(|(_, is_chosen)| *is_chosen).map_or("any", |(severity, _)| severity)
    }
}

impl Look {
    /// Returns where it is written, in words.
    fn writable_words(&self) -> String {
        match self.writable.as_slice() {
            few if few.len() <= 3 => few.join(", "),
            many => count(u64::try_from(many.len()).unwrap_or(u64::MAX), "namespace", "namespaces"),
        }
    }
}

/// Returns what delivers something, in words.
fn delivered(application: &Application) -> String {
    let tool = match application.kind.as_str() {
        "Application" => "Argo CD",
        "Kustomization" | "HelmRelease" => "Flux",
        _ => "Helm",
    };
    format!("{tool} ({} {})", application.kind, application.name)
}

async fn modes(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let chosen = Chosen::of(&state, &caller, &in_force, &query)?;
    let shown = chosen.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
    let ahead = match enforcement(&in_force.bundle, &query)? {
        Some(wanted) => {
            let preview = preview(&state, &in_force, &wanted, &chosen).await?;
            Some(Look::of(preview, &visit, Place::of(&MODES, &query).on_path("/api/v1/preview")))
        }
        None => None,
    };
    let title = "Change modes";
    page_of(&ModesPage {
        shell: Shell::new(&state, &visit, title, &[Crumb::here(title)]).await,
        fields: Fields::of(&query, &in_force),
        ahead,
        may_write: state.writer.is_some() && kubernetes_token(&state, &headers).is_some(),
        has_writer: state.writer.is_some(),
        history: unless_away(last(&state, shown, SHOWN).await)?.map(|changes| Past::all(changes, &visit)),
    })
}
