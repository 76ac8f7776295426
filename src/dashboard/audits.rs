//! `/audits`: passes over the cluster, what each came to, what it could not read, and how two differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};

use super::dress::page_of;
use super::nothing::{Nothing, no_store};
use super::shell::{Crumb, Shell, Visit, last_audits, progress};
use super::words::{When, count, number, took};
use crate::scan::access::{Caller, Scope};
use crate::scan::audits::{ask, end_early, may_direct, seen};
use crate::scan::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Audit, AuditState, RuleCount, Trigger};

/// Audits of the list, and those that one may be compared with.
const LISTED: usize = 50;

const AUDITS: Endpoint =
    Endpoint { path: "/audits", about: "The page of audits", gives: &["text/html"], ..Endpoint::GET };

const AUDIT: Endpoint = Endpoint {
    path: "/audits/{id}",
    about: "The page of one audit",
    parameters: &[&[Parameter::new("with", Values::Text, "The audit to compare with; the one before if nobody says")]],
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

const BEGIN: Endpoint = Endpoint {
    method: Method::Post,
    path: "/audits",
    scope: Some(Scope::Write),
    about: "Begins an audit, and shows them",
    statuses: &[303, 409],
    ..Endpoint::GET
};

const CANCEL: Endpoint = Endpoint {
    method: Method::Post,
    path: "/audits/{id}/cancel",
    scope: Some(Scope::Write),
    about: "Has an audit end before its time, and shows it",
    statuses: &[303, 404, 409],
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&AUDITS, audits).add(&BEGIN, begin).add(&AUDIT, audit).add(&CANCEL, cancel)
}

#[derive(Template)]
#[template(path = "audits.html")]
struct AuditsPage {
    shell: Shell,
    nothing: Option<Nothing>,
    audits: Vec<Row>,
    progress: Option<(String, usize, usize)>,
    may_begin: bool,
    ending: Option<Ending>,
}

/// How the audit under way is ended before its time.
struct Ending {
    id: i64,
    /// Whether it was told to.
    is_told: bool,
    /// Whether the reader may tell it.
    may: bool,
}

impl Ending {
    fn of(kept: &Kept, caller: &Caller) -> Option<Self> {
        let (id, is_told) = kept.auditor.as_ref()?.under_way()?;
        Some(Self { id, is_told, may: !is_told && may_direct(caller) })
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    shell: Shell,
    audit: Row,
    ending: Option<Ending>,
    policies: String,
    unread: Vec<(String, String)>,
    others: Vec<(i64, String, bool)>,
    with: i64,
    changes: Vec<Change>,
    unchanged: usize,
}

/// An audit in words.
pub struct Row {
    /// Its number.
    pub id: i64,
    /// Class and word of how it ended.
    pub state: (&'static str, &'static str),
    /// When it began.
    pub started: When,
    /// How long it took.
    pub took: String,
    /// What began it.
    pub trigger: &'static str,
    /// Objects that were read.
    pub objects: String,
    /// Objects that were evaluated.
    pub evaluated: String,
    /// Findings that came.
    pub opened: u64,
    /// Findings that were fixed.
    pub fixed: u64,
    /// Findings that went for another reason; a dash where the reader may not know.
    pub closed: String,
    /// What could not be read.
    pub unread: usize,
}

impl Row {
    /// Words an audit, as somebody may know it.
    pub fn of(audit: &Audit, caller: &Caller, visit: &Visit) -> Self {
        Self {
            id: audit.id,
            state: state(audit.state),
            started: visit.when(audit.started),
            took: audit.finished.map(|finished| took(audit.started, finished)).unwrap_or_default(),
            trigger: match audit.trigger {
                Trigger::Start => "Gatepost started",
                Trigger::Schedule => "it was its turn",
                Trigger::Request => "somebody asked",
                Trigger::Change => "manifests changed",
            },
            objects: number(audit.objects),
            evaluated: number(audit.evaluated),
            opened: audit.opened,
            fixed: audit.fixed,
            closed: if caller.sees_all() { number(audit.closed) } else { "–".to_owned() },
            unread: audit.unread.len(),
        }
    }
}

/// Returns the class and the word of how an audit ended.
pub const fn state(state: AuditState) -> (&'static str, &'static str) {
    match state {
        AuditState::Running => ("running", "running"),
        AuditState::Complete => ("good", "complete"),
        AuditState::Partial => ("warn", "partial"),
        AuditState::Cancelled => ("", "cancelled"),
        AuditState::Abandoned => ("bad", "abandoned"),
    }
}

/// How a rule fared in two audits.
struct Change {
    rule: String,
    before: String,
    after: String,
    tone: &'static str,
    difference: String,
}

async fn audits(State(state): State<Arc<ApiState>>, caller: Caller, visit: Visit) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Audits", &[Crumb::here("Audits")]).await;
    let Some(kept) = &state.kept else {
        let nothing = Some(no_store(&state));
        let (audits, progress) = (Vec::new(), None);
        return page_of(&AuditsPage { shell, nothing, audits, progress, may_begin: false, ending: None });
    };
    let audits = seen(&state, kept, &caller, last_audits(kept, LISTED).await?).await?;
    let progress = progress(kept);
    page_of(&AuditsPage {
        shell,
        nothing: (audits.is_empty() && kept.auditor.is_none()).then(|| no_store(&state)),
        audits: audits.iter().map(|audit| Row::of(audit, &caller, &visit)).collect(),
        may_begin: kept.auditor.is_some() && progress.is_none() && may_direct(&caller),
        ending: Ending::of(kept, &caller),
        progress: progress.map(|progress| (number(progress.objects), progress.kinds_done, progress.kinds)),
    })
}

async fn begin(State(state): State<Arc<ApiState>>, caller: Caller) -> Result<Response, Problem> {
    drop(ask(&state, &caller)?);
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/audits")]).into_response())
}

async fn cancel(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = end_early(&state, &caller, &id).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, format!("/audits/{id}"))]).into_response())
}

async fn audit(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let missing = || Problem::not_found(format!("there is no audit {id}"));
    let number = id.parse::<i64>().ok().filter(|number| number.to_string() == id).ok_or_else(missing)?;
    let found = kept.store.audit(number).await?.ok_or_else(missing)?;
    let found = seen(&state, kept, &caller, vec![found]).await?.into_iter().next().ok_or_else(missing)?;
    let asked = query.text("with").map(|with| with.parse::<i64>().map_err(|_| missing())).transpose()?;
    let with = match asked {
        Some(with) => kept.store.audit(with).await?.map(|audit| audit.id),
        None => before(kept, found.id).await?,
    };
    let (changes, unchanged) = match with {
        Some(with) => compared(kept, &caller, with, found.id).await?,
        None => (Vec::new(), 0),
    };
    let title = format!("Audit {}", found.id);
    let crumbs = [Crumb::to("/audits", "Audits"), Crumb::here(&title)];
    // One more than are shown is this one, and another may still run.
    let recent = last_audits(kept, LISTED.saturating_add(2)).await?;
    let ended = |audit: &&Audit| audit.finished.is_some() && audit.id != found.id;
    let others = recent.iter().filter(ended).take(LISTED).map(|audit| {
        let label = format!("Audit {}, {}", audit.id, visit.when(audit.started).words);
        (audit.id, label, Some(audit.id) == with)
    });
    page_of(&AuditPage {
        shell: Shell::new(&state, &visit, &title, &crumbs).await,
        audit: Row::of(&found, &caller, &visit),
        ending: Ending::of(kept, &caller).filter(|ending| ending.id == found.id),
        policies: found.policies.clone(),
        unread: found.unread.clone().into_iter().collect(),
        others: others.collect(),
        with: with.unwrap_or_default(),
        changes,
        unchanged,
    })
}

/// Returns the last audit before another one that ended; what was let go of leaves gaps, of which a long one ends the search.
async fn before(kept: &Kept, id: i64) -> Result<Option<i64>, Problem> {
    for id in (1..id).rev().take(LISTED) {
        if kept.store.audit(id).await?.is_some_and(|audit| audit.finished.is_some()) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Returns the rules that fail for more or fewer objects, and how many stayed as they were.
async fn compared(kept: &Kept, caller: &Caller, before: i64, after: i64) -> Result<(Vec<Change>, usize), Problem> {
    let then = by_rule(kept.store.counts(before).await?, caller);
    let now = by_rule(kept.store.counts(after).await?, caller);
    let rules: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let of = |counts: &BTreeMap<String, u64>, rule: &String| counts.get(rule).copied().unwrap_or_default();
    let mut changes: Vec<(u64, Change)> = Vec::new();
    for rule in &rules {
        let (before, after) = (of(&then, rule), of(&now, rule));
        let difference = before.abs_diff(after);
        if difference > 0 {
            let (tone, sign) = if after > before { ("worse", "+") } else { ("better", "−") };
            let change = Change {
                rule: (*rule).clone(),
                before: number(before),
                after: number(after),
                tone,
                difference: format!("{sign}{}", number(difference)),
            };
            changes.push((difference, change));
        }
    }
    let unchanged = rules.len().saturating_sub(changes.len());
    changes.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok((changes.into_iter().map(|(_, change)| change).collect(), unchanged))
}

/// Returns how many objects break each rule; policies that ask for the same rule count its objects once.
fn by_rule(counts: Vec<RuleCount>, caller: &Caller) -> BTreeMap<String, u64> {
    let mut most: BTreeMap<(String, String), u64> = BTreeMap::new();
    for count in counts.into_iter().filter(|count| caller.sees(&count.namespace)) {
        let failed = most.entry((count.rule, count.namespace)).or_default();
        *failed = count.failed.max(*failed);
    }
    most.into_iter().fold(BTreeMap::new(), |mut rules, ((rule, _), failed)| {
        let sum: &mut u64 = rules.entry(rule).or_default();
        *sum = sum.saturating_add(failed);
        rules
    })
}

impl AuditPage {
    fn kinds(&self) -> String {
        count(u64::try_from(self.unread.len()).unwrap_or(u64::MAX), "kind", "kinds")
    }
}
