//! `/api/v1/audits` and `/api/v1/trends`: audits, what they counted, and how it changed from one to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value as Text, json};
use tokio::sync::oneshot;

use super::access::{Caller, Scope};
use super::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use super::lists::{self, EFFORT, NAMESPACE, PAGES, POLICY, RULE, SEVERITY};
use super::problem::Problem;
use super::{ApiState, Kept};
use crate::audit;
use crate::policy::{Group, RuleId, Severity};
use crate::report::Score;
use crate::report::score::Open;
use crate::store::{Audit, AuditState, Filter, History, OpenChange, Page, RuleCount};

/// Stands in place of why a kind could not be read, for whoever does not see the whole cluster.
const UNTOLD: &str = "told to whoever sees the whole cluster";
/// How long is waited for an audit to begin, so that its number can be told.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

const SINCE: Parameter =
    Parameter::new("since", Values::Text, "Begun at or after this time (RFC 3339), or so long ago (7d)");

const AUDIT_FILTERS: &[Parameter] = &[
    Parameter::new(
        "state",
        Values::Some(&["running", "complete", "partial", "cancelled", "abandoned"]),
        "How far they have come",
    ),
    SINCE,
];

const AUDITS: Endpoint = Endpoint {
    path: "/api/v1/audits",
    about: "Audits, the newest first",
    parameters: &[AUDIT_FILTERS, PAGES],
    answer: "AuditList",
    ..Endpoint::GET
};

const BEGIN: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/audits",
    scope: Some(Scope::Write),
    about: "Begins an audit of the whole cluster, and answers with its id; Location is where it is told",
    statuses: &[202, 409],
    answer: "Started",
    ..Endpoint::GET
};

const AUDIT: Endpoint = Endpoint {
    path: "/api/v1/audits/{id}",
    about: "One audit, with how often each rule of each policy gave which answer in each namespace",
    parameters: &[&[NAMESPACE, RULE, POLICY]],
    statuses: &[200, 404],
    answer: "Audit",
    ..Endpoint::GET
};

const CANCEL: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/audits/{id}/cancel",
    scope: Some(Scope::Write),
    about: "Has the audit under way end before its time; what it has not come to stays as it is",
    statuses: &[202, 404, 409],
    answer: "Started",
    ..Endpoint::GET
};

const TRENDS: Endpoint = Endpoint {
    path: "/api/v1/trends",
    about: "What was open after each audit, what came and what was fixed, and the score; the newest first",
    parameters: &[&[NAMESPACE, RULE, SEVERITY, EFFORT, SINCE], PAGES],
    answer: "PointList",
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&AUDITS, audits).add(&BEGIN, begin).add(&AUDIT, audit).add(&CANCEL, cancel).add(&TRENDS, trends)
}

async fn audits(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let filter = Filter { state: query.list("state").to_vec(), since: lists::since(&query)?, ..Filter::default() };
    let Page { items, next } = kept.store.audits(&lists::page(&query, filter, ())).await?;
    let items: Vec<Text> = seen(&state, kept, &caller, items).await?.iter().map(|audit| told(&caller, audit)).collect();
    let progress = kept.auditor.as_ref().and_then(audit::Desk::progress).map(|progress| {
        json!({
            "kinds": progress.kinds,
            "kindsDone": progress.kinds_done,
            "objects": progress.objects,
            "remainingOfKind": progress.remaining,
        })
    });
    Ok(Json(json!({"items": items, "next": next, "progress": progress})))
}

/// Returns an audit as it is answered: what went for other reasons is counted of the whole cluster only.
fn told(caller: &Caller, audit: &Audit) -> Text {
    let mut told = json!(audit);
    if let Some(fields) = told.as_object_mut().filter(|_| !caller.sees_all()) {
        fields.remove("closed");
    }
    told
}

/// Returns audits, which are the newest first, as the caller may know them.
///
/// Of one who sees some namespaces they tell what came and what was fixed there. Why a kind could not be read names
/// namespaces and accounts of others, so they are told of the kind alone.
pub async fn seen(
    state: &ApiState,
    kept: &Kept,
    caller: &Caller,
    mut audits: Vec<Audit>,
) -> Result<Vec<Audit>, Problem> {
    let (Some(newest), Some(oldest)) = (audits.first(), audits.last()) else { return Ok(audits) };
    if caller.sees_all() {
        return Ok(audits);
    }
    let filter = Filter { visible: lists::visible(&state.app, caller), ..Filter::default() };
    let history = kept.store.history(&filter, oldest.id, newest.id).await?;
    let mut changed: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for change in &history.changes {
        let (opened, fixed) = changed.entry(change.audit).or_default();
        *opened = opened.saturating_add(change.opened);
        *fixed = fixed.saturating_add(change.fixed);
    }
    for audit in &mut audits {
        (audit.opened, audit.fixed) = changed.get(&audit.id).copied().unwrap_or_default();
        audit.closed = 0;
        audit.unread.values_mut().for_each(|cause| UNTOLD.clone_into(cause));
    }
    Ok(audits)
}

/// Returns whether somebody may begin audits and end them: they go over the whole cluster.
pub fn may_direct(caller: &Caller) -> bool {
    caller.may(Scope::Write) && caller.sees_all()
}

/// Begins an audit for somebody, and returns what is told its number.
pub fn ask(state: &ApiState, caller: &Caller) -> Result<oneshot::Receiver<i64>, Problem> {
    check_reach(caller)?;
    let auditor = state.kept()?.auditor.as_ref().ok_or_else(Problem::nothing_audited)?;
    auditor.ask().map_err(|busy| Problem::conflict(busy.to_string()))
}

fn check_reach(caller: &Caller) -> Result<(), Problem> {
    let beyond = || Problem::beyond_namespaces("an audit goes over the whole cluster");
    if caller.sees_all() { Ok(()) } else { Err(beyond()) }
}

async fn begin(State(state): State<Arc<ApiState>>, caller: Caller) -> Result<Response, Problem> {
    let begun = ask(&state, &caller)?;
    let unknown = || Problem::unavailable("no audit has begun: see the log, and ask GET /api/v1/audits");
    let id = tokio::time::timeout(BEGINS_WITHIN, begun).await.ok().and_then(Result::ok).ok_or_else(unknown)?;
    let location = [(LOCATION, format!("/api/v1/audits/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(json!({"id": id, "state": "running"}))).into_response())
}

async fn cancel(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = end_early(&state, &caller, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id, "state": "running"}))).into_response())
}

/// Tells an audit to end before its time for somebody, and returns its number.
pub async fn end_early(state: &ApiState, caller: &Caller, id: &str) -> Result<i64, Problem> {
    check_reach(caller)?;
    let kept = state.kept()?;
    let unknown = || Problem::not_found(format!("there is no audit \"{id}\""));
    let number: i64 = id.parse().map_err(|_| unknown())?;
    kept.store.audit(number).await?.ok_or_else(unknown)?;
    let auditor = kept.auditor.as_ref().ok_or_else(Problem::nothing_audited)?;
    if !auditor.cancel(number) {
        return Err(Problem::conflict(format!("audit {number} is not under way")));
    }
    tracing::info!(audit = number, "an audit is cancelled");
    Ok(number)
}

/// An audit, with what it counted.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    audit: Text,
    counts: Vec<RuleCount>,
}

async fn audit(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    Path(id): Path<String>,
) -> Result<Json<Told>, Problem> {
    let kept = state.kept()?;
    let unknown = || Problem::not_found(format!("there is no audit \"{id}\""));
    let audit = kept.store.audit(id.parse().map_err(|_| unknown())?).await?.ok_or_else(unknown)?;
    let filter = lists::filter(&state.app, &caller, &query)?;
    let is_one_of = |words: &[String], word: &String| words.is_empty() || words.contains(word);
    let mut counts = kept.store.counts(audit.id).await?;
    let audit = seen(&state, kept, &caller, vec![audit]).await?.first().map(|audit| told(&caller, audit));
    counts.retain(|count| {
        caller.sees(&count.namespace)
            && is_one_of(&filter.namespace, &count.namespace)
            && is_one_of(&filter.rule, &count.rule)
            && is_one_of(&filter.policy, &count.policy)
    });
    Ok(Json(Told { audit: audit.unwrap_or_default(), counts }))
}

/// Findings by severity; none where there is none.
pub type BySeverity = BTreeMap<Severity, u64>;

/// How things stood when an audit had ended.
#[derive(Debug, PartialEq, Serialize)]
pub struct Point {
    /// The audit.
    pub audit: i64,
    /// When it ended.
    pub time: Timestamp,
    /// How.
    pub state: AuditState,
    /// What was open.
    pub open: BySeverity,
    /// What came.
    pub new: BySeverity,
    /// What was fixed.
    pub fixed: BySeverity,
    /// None where nothing had been judged.
    pub score: Option<Score>,
}

async fn trends(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    let kept = state.kept()?;
    let filter = lists::filter(&state.app, &caller, &query)?;
    let ended = ["complete", "partial", "cancelled"].map(str::to_owned).to_vec();
    let of_audits = Filter { state: ended, since: filter.since, ..Filter::default() };
    let Page { items: audits, next } = kept.store.audits(&lists::page(&query, of_audits, ())).await?;
    let (Some(newest), Some(oldest)) = (audits.first(), audits.last()) else {
        return Ok(lists::answer(Page::<Point> { items: Vec::new(), next }));
    };
    let history = kept.store.history(&filter, oldest.id, newest.id).await?;
    let own = state.app.own_namespace.as_deref();
    // Whoever names namespaces wants their score, whosesoever they are.
    let is_scored = |name: &str| !filter.namespace.is_empty() || is_scored(name, own);
    let is_told = |change: &OpenChange| {
        let rule = change.rule.as_str();
        let severity = change.severity.as_str();
        (filter.rule.is_empty() || filter.rule.iter().any(|name| name == rule))
            && (filter.severity.is_empty() || filter.severity.iter().any(|name| name == severity))
    };
    Ok(lists::answer(Page { items: points(&audits, &history, is_scored, is_told), next }))
}

/// Returns how things stood after each of some audits, which are the newest first, as far as a filter goes.
pub async fn trend(state: &ApiState, kept: &Kept, filter: &Filter, audits: &[Audit]) -> Result<Vec<Point>, Problem> {
    let (Some(newest), Some(oldest)) = (audits.first(), audits.last()) else { return Ok(Vec::new()) };
    let history = kept.store.history(filter, oldest.id, newest.id).await?;
    let own = state.app.own_namespace.as_deref();
    // Whoever names namespaces wants their score, whosesoever they are.
    let is_scored = |name: &str| !filter.namespace.is_empty() || is_scored(name, own);
    Ok(points(audits, &history, is_scored, |_| true))
}

/// Returns whether a namespace counts for the cluster's score.
///
/// Objects outside any do not: most of them are Kubernetes' own, and nothing in their names says which.
pub fn is_scored(namespace: &str, own: Option<&str>) -> bool {
    !namespace.is_empty() && Group::of(namespace, own) != Group::System
}

/// Goes through history once, from the oldest audit to the newest.
fn points(
    audits: &[Audit],
    history: &History,
    is_scored: impl Fn(&str) -> bool,
    is_told: impl Fn(&OpenChange) -> bool,
) -> Vec<Point> {
    let mut standing: BTreeMap<(&str, &str, &RuleId, Severity), u64> = BTreeMap::new();
    let (mut open, mut scored) = (BySeverity::new(), Open::default());
    let mut changes = history.changes.iter().peekable();
    let mut points = Vec::new();
    for audit in audits.iter().rev() {
        let (mut new, mut fixed) = (BySeverity::new(), BySeverity::new());
        while let Some(change) = changes.next_if(|change| change.audit <= audit.id) {
            let key = (change.cluster.as_str(), change.namespace.as_str(), &change.rule, change.severity);
            let before = standing.insert(key, change.open).unwrap_or_default();
            if is_scored(&change.namespace) {
                scored.remove(&change.rule, change.severity, before);
                scored.add(&change.rule, change.severity, change.open);
            }
            if is_told(change) {
                let count = open.entry(change.severity).or_default();
                *count = count.saturating_sub(before).saturating_add(change.open);
                add(&mut new, change.severity, change.opened);
                add(&mut fixed, change.severity, change.fixed);
            }
        }
        let is_judged = history.judged_from.is_some_and(|first| first <= audit.id);
        points.push(Point {
            audit: audit.id,
            time: audit.finished.unwrap_or(audit.started),
            state: audit.state,
            open: open.iter().filter(|(_, count)| **count > 0).map(|(severity, count)| (*severity, *count)).collect(),
            new,
            fixed,
            score: is_judged.then(|| scored.score()),
        });
    }
    points.reverse();
    points
}

/// Adds to a count; none is not told.
pub fn add(counts: &mut BTreeMap<Severity, u64>, severity: Severity, number: u64) {
    if number > 0 {
        let count = counts.entry(severity).or_default();
        *count = count.saturating_add(number);
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use super::*;
    use crate::store::Trigger;

    fn audit(id: i64) -> Audit {
        Audit {
            id,
            cluster: String::new(),
            trigger: Trigger::Schedule,
            state: AuditState::Complete,
            started: Timestamp::UNIX_EPOCH,
            finished: None,
            policies: String::new(),
            objects: 1,
            evaluated: 1,
            opened: 0,
            fixed: 0,
            closed: 0,
            unread: BTreeMap::new(),
        }
    }

    fn change(audit: i64, namespace: &str, severity: Severity, (open, opened, fixed): (u64, u64, u64)) -> OpenChange {
        let (cluster, namespace, rule) = (String::new(), namespace.to_owned(), RuleId::from("r"));
        OpenChange { audit, cluster, namespace, rule, severity, open, opened, fixed }
    }

    #[test]
    fn points_carry_on_what_did_not_change_and_leave_the_system_out_of_the_score() {
        use Severity::{Critical, High};
        let changes = vec![
            change(2, "kube-system", Critical, (9, 9, 0)),
            change(2, "shop", High, (1, 1, 0)),
            change(4, "bank", High, (2, 2, 0)),
            change(5, "shop", High, (0, 0, 1)),
        ];
        let history = History { judged_from: Some(2), changes };
        let audits: Vec<Audit> = (1..=5).rev().map(audit).collect();
        let told = |is_told: fn(&OpenChange) -> bool| -> Vec<String> {
            let points = points(&audits, &history, |name| is_scored(name, None), is_told);
            let text = |point: &Point| {
                let counts = [&point.open, &point.new, &point.fixed].map(|counts| {
                    format!("{}/{}", counts.get(&Critical).unwrap_or(&0), counts.get(&High).unwrap_or(&0))
                });
                let score = point.score.map_or("-".to_owned(), |score| score.points().to_string());
                format!("{} {} {score}", point.audit, counts.join(" "))
            };
            points.iter().map(text).collect()
        };
        let all =
            ["5 9/2 0/0 0/1 92.6", "4 9/3 0/2 0/0 90.9", "3 9/1 0/0 0/0 95.2", "2 9/1 9/1 0/0 95.2", "1 0/0 0/0 0/0 -"];
        assert_eq!(told(|_| true), all);
        assert_eq!(told(|change| change.severity == High)[3], "2 0/1 0/1 0/0 95.2", "the score is of everything");
    }
}
