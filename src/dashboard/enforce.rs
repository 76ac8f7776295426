//! `/enforce`: which rules nothing breaks and can be enforced now, what is left of others, and the policy that follows.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::code::Code;
use super::dress::page_of;
use super::links::Place;
use super::nothing::{Nothing, no_store, nothing_yet};
use super::shell::{Crumb, Shell, Visit};
use super::words::{When, number};
use crate::report::suggest::{Candidate, Reach};
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Query, Routes};
use crate::scan::problem::Problem;
use crate::scan::suggestions::{Chosen, PARAMETERS, SELECTOR, Suggested, suggested};
use crate::webhook::in_force::InForce;

/// For how many days a rule must have been clean, when nobody says.
const DAYS: usize = 7;

const ENFORCE: Endpoint = Endpoint {
    path: "/enforce",
    about: "The page of what can be enforced",
    parameters: &[PARAMETERS, SELECTOR],
    gives: &["text/html"],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&ENFORCE, enforce)
}

#[derive(Template)]
#[template(path = "enforce.html")]
struct EnforcePage {
    shell: Shell,
    nothing: Option<Nothing>,
    fields: Fields,
    sections: Vec<Section>,
    /// The rules that can be enforced, and the namespaces where nothing breaks them.
    ready: usize,
    namespaces: usize,
    words: String,
    policy: Option<Code>,
    /// The name that labels have.
    name: String,
    yaml_href: String,
}

/// What was asked, as the form shows it.
#[derive(Default)]
struct Fields {
    policies: Vec<(String, bool)>,
    besides: Vec<(String, bool)>,
    namespace: String,
    label: String,
    days: String,
    name: String,
}

/// Rules that are equally near.
struct Section {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    badge: &'static str,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    title: String,
    severity: &'static str,
    findings: u64,
    passed: String,
    exempt: u64,
    clean_since: Option<When>,
    left: Vec<String>,
    unjudged: u64,
}

/// Returns the heading of rules that are equally near, what it means, and its colour.
const fn heading(reach: Reach) -> (&'static str, &'static str, &'static str) {
    match reach {
        Reach::Ready => ("Ready", "Nothing breaks these: enforcing them denies nobody for what stands today.", "good"),
        Reach::Soon => ("Soon", "Nothing breaks these, but not for as long as you ask.", "low"),
        Reach::Nearly => ("Nearly", "Little is left to mend.", "warn"),
        Reach::Far => ("Far", "Much is left to mend: warn, and tell their owners.", "high"),
        Reach::Unjudged => (
            "Not judged everywhere",
            "Nothing asks for these in some of the namespaces, so nobody knows what breaks them there: put the policy into audit.policies.",
            "",
        ),
        Reach::Untried => ("Untried", "No object was there that these look at, so nothing is known of them.", ""),
    }
}

impl Row {
    fn of(candidate: &Candidate<'_>, visit: &Visit) -> Self {
        let Candidate { rule, entry, standing, .. } = candidate;
        Self {
            id: rule.id.to_string(),
            title: rule.title.clone(),
            severity: entry.severity.as_str(),
            findings: standing.findings,
            passed: number(standing.passed),
            exempt: standing.exempt,
            clean_since: standing.clean_since.map(|since| visit.when(since)),
            left: standing.left.clone(),
            unjudged: standing.unjudged,
        }
    }
}

impl Fields {
    fn of(query: &Query, in_force: &InForce) -> Self {
        let chosen = |name: &str, default: &str| {
            let chosen = query.text(name).filter(|text| !text.is_empty()).unwrap_or(default).to_owned();
            let each = in_force.bundle.policies().keys();
            each.map(|policy| (policy.to_string(), **policy == *chosen)).collect()
        };
        Self {
            policies: chosen("policy", in_force.config.audit.first()),
            besides: chosen("beside", ""),
            namespace: query.list("namespace").join(","),
            label: query.list("label").join(","),
            days: query.number("days").unwrap_or(DAYS).to_string(),
            name: query.text("name").filter(|name| !name.is_empty()).unwrap_or("ready").to_owned(),
        }
    }
}

async fn enforce(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    query: Query,
) -> Result<Response, Problem> {
    let in_force = state.app.in_force.load();
    let shell = Shell::new(&state, &visit, "Ready to enforce", &[Crumb::here("Ready to enforce")]).await;
    let fields = Fields::of(&query, &in_force);
    let chosen = Chosen::of(&state, &caller, &in_force, &query)?;
    let mut page = EnforcePage {
        shell,
        nothing: nothing_yet(&state).await?,
        sections: Vec::new(),
        ready: 0,
        namespaces: chosen.namespaces.len(),
        words: chosen.words.clone(),
        policy: None,
        name: fields.name.clone(),
        fields,
        yaml_href: Place::of(&ENFORCE, &query).with("format", "yaml").on_path("/api/v1/suggestions"),
    };
    if page.nothing.is_some() {
        return page_of(&page);
    }
    let Suggested { audit, candidates, yaml } = suggested(&state, &caller, &in_force, &query, &chosen, DAYS).await?;
    if audit.is_none() {
        page.nothing = Some(no_store(&state));
        return page_of(&page);
    }
    let section = |reach: Reach| {
        let (title, about, badge) = heading(reach);
        let of = candidates.iter().filter(|candidate| candidate.reach == reach);
        Section { id: reach.as_str(), title, about, badge, rows: of.map(|rule| Row::of(rule, &visit)).collect() }
    };
    page.sections = Reach::ALL.into_iter().map(section).collect();
    page.ready = page.sections.first().map_or(0, |section| section.rows.len());
    page.policy = Some(Code::plain("The policy of what can be enforced", &yaml));
    page_of(&page)
}
