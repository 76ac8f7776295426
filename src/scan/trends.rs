//! `/api/v1/trends`: what was open after each audit, and how it changed from one to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Text;

use super::access::Caller;
use super::audits::SINCE;
use super::endpoint::{Endpoint, Query, Routes};
use super::lists::{self, EFFORT, NAMESPACE, PAGES, RULE, SEVERITY, TIMES};
use super::problem::Problem;
use super::{ApiState, Kept};
use crate::policy::{RuleId, Severity};
use crate::report::Score;
use crate::report::score::Open;
use crate::store::{Audit, AuditState, Filter, History, OpenChange, Page, TimeSort};

const TRENDS: Endpoint = Endpoint {
    path: "/api/v1/trends",
    about: "What was open after each audit, what came and what was fixed, and the score",
    parameters: &[&[NAMESPACE, RULE, SEVERITY, EFFORT, SINCE], TIMES, PAGES],
    answer: "PointList",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&TRENDS, trends)
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
    let of_ended = Filter { state: ended, since: filter.since, ..Filter::default() };
    let sort = lists::time_sort(&query);
    let Page { items: mut audits, next } = kept.store.audits(&lists::page(&query, of_ended, sort)).await?;
    if sort == TimeSort::Oldest {
        audits.reverse();
    }
    let is_told = |change: &OpenChange| {
        let rule = change.rule.as_str();
        let severity = change.severity.as_str();
        (filter.rule.is_empty() || filter.rule.iter().any(|name| name == rule))
            && (filter.severity.is_empty() || filter.severity.iter().any(|name| name == severity))
    };
    let mut items = of_audits(&state, kept, &filter, &audits, is_told).await?;
    if sort == TimeSort::Oldest {
        items.reverse();
    }
    Ok(lists::answer(Page { items, next }))
}

/// Returns how things stood after each of some audits, which are the newest first, as far as a filter goes.
pub async fn trend(state: &ApiState, kept: &Kept, filter: &Filter, audits: &[Audit]) -> Result<Vec<Point>, Problem> {
    of_audits(state, kept, filter, audits, |_| true).await
}

async fn of_audits(
    state: &ApiState,
    kept: &Kept,
    filter: &Filter,
    audits: &[Audit],
    is_told: impl Fn(&OpenChange) -> bool,
) -> Result<Vec<Point>, Problem> {
    let (Some(newest), Some(oldest)) = (audits.first(), audits.last()) else { return Ok(Vec::new()) };
    let history = kept.store.history(filter, oldest.id, newest.id).await?;
    let in_force = state.app.in_force.load();
    let groups = state.app.groups(&in_force);
    // Whoever names namespaces wants their score, whosesoever they are.
    let is_scored = |name: &str| !filter.namespace.is_empty() || groups.is_scored(name);
    Ok(points(audits, &history, is_scored, is_told))
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
            let points = points(&audits, &history, |name| name != "kube-system", is_told);
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
