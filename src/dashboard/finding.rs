//! `/findings/{id}`: one finding, with the object's manifest, what to write instead, and what is known of its past.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::code::Code;
use super::dress::page_of;
use super::exemptions::{Beside, beside};
use super::findings::{Row, action, of_rule, place};
use super::links::encoded;
use super::manifest;
use super::shell::{Crumb, Shell, Visit};
use super::words::{When, number};
use crate::admission::decide::Action;
use crate::cluster::applications::source::Source;
use crate::policy::Rule;
use crate::report::finding::{CloseReason, Finding, Fingerprint, ObjectKey, State as Standing};
use crate::report::way_in::{Way, WayIn};
use crate::scan::access::Caller;
use crate::scan::applications::sources;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::fixes::{self, Fix};
use crate::scan::problem::Problem;
use crate::scan::way_in::way_in;
use crate::scan::{ApiState, Kept};
use crate::store::{Facet, Filter, FindingSort, PageQuery};

/// Other findings of the object that are shown.
const RELATED: usize = 12;

const FINDING: Endpoint = Endpoint {
    path: "/findings/{id}",
    about: "The page of one finding",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&FINDING, finding)
}

#[derive(Template)]
#[template(path = "finding.html")]
struct FindingPage {
    shell: Shell,
    finding: Finding,
    row: Row,
    place: String,
    rule: Option<Explained>,
    manifest: Option<Code>,
    is_missing: bool,
    fix: Option<Fix>,
    fix_href: String,
    diff: Vec<(&'static str, String)>,
    events: Vec<Event>,
    last_seen: When,
    policies: Vec<String>,
    related: Vec<Row>,
    elsewhere: String,
    elsewhere_href: String,
    namespace_href: String,
    object_href: String,
    kubectl: String,
    /// What excuses it, or did when it was last seen.
    excused: Option<Beside>,
    /// Others that are about it.
    exemptions: Vec<Beside>,
    resource_href: String,
    application_href: String,
    sources: Vec<Source>,
    /// Where an exemption for the finding is written; empty where it does not stand any more.
    exempt_href: String,
}

/// What a rule says of itself.
pub struct Explained {
    /// What holds when it passes.
    pub title: String,
    /// Why it matters.
    pub why: String,
    /// What happens to whom if it stays.
    pub impact: String,
    /// How much work mending it is.
    pub effort: &'static str,
    /// What to write instead.
    pub fix: String,
    /// Why no diff does, or what it leaves over.
    pub by_hand: String,
    /// A manifest that passes.
    pub good: Option<Code>,
}

impl Explained {
    /// Reads it from a rule.
    pub fn of(rule: &Rule) -> Self {
        Self {
            title: rule.title.clone(),
            why: rule.description.clone(),
            impact: rule.impact.clone(),
            effort: rule.effort.as_str(),
            fix: rule.fix.clone(),
            by_hand: rule.by_hand.clone(),
            good: rule.example(true).map(|yaml| Code::plain("A manifest that passes", yaml)),
        }
    }
}

/// Something that happened to a finding.
struct Event {
    tone: &'static str,
    what: String,
    when: Option<When>,
    /// The page of the decision; empty where there is none.
    decision: String,
}

/// Returns why a finding does not stand any more, in words.
pub const fn closed(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Fixed => "fixed",
        CloseReason::Deleted => "object deleted",
        CloseReason::Exempt => "exempt",
        CloseReason::RuleOff => "rule off",
        CloseReason::OutOfScope => "out of scope",
    }
}

/// Returns how a violation came in, in words.
const fn came(way: Way) -> &'static str {
    match way {
        Way::BeforeEnforcement => "Was there before it was denied",
        Way::WhileAway => "Came in while Gatepost was away",
        Way::Exempt => "Was exempt when it came in",
        Way::NotRegistered => "Came in without the API server asking Gatepost",
        Way::Unknown => "How it came in is not known",
    }
}

async fn finding(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let found = kept.store.finding(&Fingerprint(id)).await?;
    let found = found.filter(|finding| caller.sees(&finding.object.namespace));
    let finding = found.ok_or_else(|| Problem::not_found("there is no such finding"))?;
    let in_force = state.app.in_force.load();
    let rule = in_force.bundle.catalogue().rule(finding.rule.as_str()).ok().cloned();
    let object = object(kept, &finding).await?;
    let way_in = way_in(&state, kept, &in_force, &finding, object.as_ref()).await?;
    let exemptions = beside(&state, &finding, object.as_ref(), &visit);
    let fix = match (&rule, &object) {
        (Some(rule), Some(object)) => fixes::of(&state, &finding, rule, object).await,
        _ => None,
    };
    let is_missing = object.as_ref().is_some_and(|object| object.pointer(&finding.path).is_none());
    let manifest =
        object.map(|object| Code::new("The object as it was judged", manifest::lines(&object, &finding.path)));
    let row = Row::of(&finding, &visit);
    let crumbs = [Crumb::to("/findings", "Findings"), Crumb::here(format!("{}: {}", row.object, finding.rule))];
    let page = FindingPage {
        shell: Shell::new(&state, &visit, &format!("{}: {}", row.object, finding.rule), &crumbs).await,
        place: place(&finding.place),
        rule: rule.as_deref().map(Explained::of),
        manifest,
        is_missing,
        diff: fix.as_ref().map(|fix| diff(&fix.diff)).unwrap_or_default(),
        fix_href: format!("/api/v1/findings/{}/fix", finding.id),
        fix,
        events: events(&finding, way_in, &visit),
        last_seen: visit.when(finding.last_seen),
        policies: finding.policies.clone(),
        related: related(kept, &finding, &visit).await?,
        elsewhere: elsewhere(kept, &caller, &state, &finding).await?,
        elsewhere_href: of_rule(finding.rule.as_str()),
        namespace_href: format!("/findings?namespace={}", encoded(&finding.object.namespace)),
        object_href: object_href(&finding),
        kubectl: kubectl(&finding),
        excused: finding.exemption.as_ref().map(|note| Beside::of_note(note, &visit)),
        exemptions,
        resource_href: super::resources::href(&finding.object),
        application_href: finding.application.as_ref().map(super::applications::href).unwrap_or_default(),
        sources: match &finding.application {
            Some(application) => sources(&state, application).await,
            None => Vec::new(),
        },
        exempt_href: exempt_href(&finding),
        row,
        finding,
    };
    page_of(&page)
}

async fn object(kept: &Kept, finding: &Finding) -> Result<Option<serde_json::Value>, Problem> {
    let content = kept.store.content(&finding.content).await?;
    Ok(content.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Returns the lines of a diff with the classes of the style sheet.
fn diff(text: &str) -> Vec<(&'static str, String)> {
    let class = |line: &str| match line.as_bytes().first() {
        Some(b'+') if !line.starts_with("+++ ") => "add",
        Some(b'-') if !line.starts_with("--- ") => "del",
        Some(b' ') => "",
        _ => "hunk",
    };
    text.split_inclusive('\n').map(|line| (class(line), line.to_owned())).collect()
}

fn events(finding: &Finding, way_in: Option<WayIn>, visit: &Visit) -> Vec<Event> {
    let event = |tone, what: String, when| Event { tone, what, when, decision: String::new() };
    let mut events = Vec::new();
    if let Some(by) = &finding.brought_in {
        let sync = by.application.as_ref().zip(by.revision.as_ref());
        let sync = sync.map(|(of, revision)| format!(", as {} {} was synced to {revision}", of.kind, of.name));
        let what = format!("Brought in by {}{}", by.user, sync.unwrap_or_default());
        events.push(Event {
            decision: super::decisions::href(&by.decision),
            ..event("warn", what, Some(visit.when(by.time)))
        });
    }
    if let Some(WayIn { way, why }) = way_in {
        events.push(event("warn", format!("{}: {why}", came(way)), None));
    }
    events.push(event("bad", "First found by an audit".to_owned(), Some(visit.when(finding.first_seen))));
    if finding.reopened > 0 {
        let times = if finding.reopened == 1 { "once".to_owned() } else { format!("{} times", finding.reopened) };
        events.push(event("warn", format!("Came back {times} after it was closed"), None));
    }
    let closed_at = finding.closed_at.map(|moment| visit.when(moment));
    match (finding.closed_because, &finding.exemption) {
        (Some(CloseReason::Exempt), Some(by)) => {
            events.push(event("good", format!("Excused by {}; it opens again at its end", by.name), closed_at));
        }
        (Some(reason), _) => {
            events.push(event("good", format!("Closed: {}", closed(reason)), closed_at));
        }
        (None, _) => {
            events.push(event("", "Still there at the last audit".to_owned(), Some(visit.when(finding.last_seen))));
        }
    }
    events
}

async fn related(kept: &Kept, finding: &Finding, visit: &Visit) -> Result<Vec<Row>, Problem> {
    let asked = PageQuery {
        filter: Filter { state: vec!["open".into()], ..of_object(finding) },
        sort: FindingSort::Severity,
        cursor: None,
        limit: RELATED.saturating_add(1),
    };
    let found = kept.store.findings(&asked).await?.items;
    let is_of_it = |other: &&Finding| other.object == finding.object && other.id != finding.id;
    Ok(found.iter().filter(is_of_it).take(RELATED).map(|other| Row::of(other, visit)).collect())
}

fn of_object(finding: &Finding) -> Filter {
    Filter {
        namespace: vec![finding.object.namespace.clone()],
        kind: vec![finding.object.kind.clone()],
        name: vec![finding.object.name.clone()],
        ..Filter::default()
    }
}

/// Returns how many other open findings the rule has.
async fn elsewhere(kept: &Kept, caller: &Caller, state: &ApiState, finding: &Finding) -> Result<String, Problem> {
    let filter = Filter {
        rule: vec![finding.rule.to_string()],
        state: vec!["open".into()],
        visible: crate::scan::lists::visible(&state.app, caller),
        ..Filter::default()
    };
    let counts = kept.store.facet(&filter, Facet::Rule, 1).await?;
    let own = u64::from(finding.state == Standing::Open);
    Ok(number(counts.first().map_or(0, |(_, findings)| findings.saturating_sub(own))))
}

fn object_href(finding: &Finding) -> String {
    let object = &finding.object;
    let namespace = encoded(&object.namespace);
    let (kind, name) = (encoded(&object.kind), encoded(&object.name));
    format!("/findings?namespace={namespace}&kind={kind}&text={name}&mode=enforce,warn,audit")
}

/// Returns where an exemption for a finding that stands is written, with what narrows it to the finding's object.
fn exempt_href(finding: &Finding) -> String {
    if finding.state != Standing::Open {
        return String::new();
    }
    let ObjectKey { namespace, kind, name, .. } = &finding.object;
    let [namespace, kind, rule, name] = [&**namespace, &**kind, finding.rule.as_str(), &**name].map(encoded);
    let within = if namespace.is_empty() { String::new() } else { format!("namespace={namespace}&") };
    format!("/findings/accept?{within}kind={kind}&rule={rule}&text={name}&mode=enforce,warn,audit")
}

/// Returns the command that shows the object as it is now.
fn kubectl(finding: &Finding) -> String {
    let object = &finding.object;
    let group = if object.group.is_empty() { String::new() } else { format!(".{}", object.group) };
    let namespace = if object.namespace.is_empty() { String::new() } else { format!(" -n {}", object.namespace) };
    format!("kubectl get {}{group}{namespace} {} -o yaml", object.kind.to_ascii_lowercase(), object.name)
}

impl FindingPage {
    fn action(&self) -> (&'static str, &'static str) {
        action(self.finding.action)
    }

    /// Returns what the namespace's modes make of it.
    fn consequence(&self) -> &'static str {
        match self.finding.action {
            Action::Deny => {
                "Denied where it is made anew; an object that has it already can still be changed otherwise"
            }
            Action::Warn => "Whoever applies the object is warned",
            Action::Record => "Recorded; nobody is told at admission",
        }
    }
}
