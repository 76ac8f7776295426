//! `/status`: whether Gatepost itself does what it should, as far as this process can tell.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::arrival;
use super::dress::page_of;
use super::shell::{Crumb, Shell, Visit, last_audits, progress};
use super::words::{When, count, number};
use crate::policy::exemption::ExemptionState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::exemptions::visible;
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept, lists};
use crate::store::{Audit, AuditState, Filter, PageQuery, TimeSort};

/// Somebody should look where nobody has asked about any object for so long.
const SILENCE: SignedDuration = SignedDuration::from_mins(15);
/// Somebody should look where the last audit is so old.
const STALE: SignedDuration = SignedDuration::from_hours(24);
/// Namespaces that are named.
const NAMED: usize = 5;

const STATUS: Endpoint =
    Endpoint { path: "/status", about: "The page of Gatepost's own health", gives: &["text/html"], ..Endpoint::GET };

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&STATUS, status)
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    shell: Shell,
    lines: Vec<Line>,
    verdict: (&'static str, String),
    facts: Vec<(&'static str, String)>,
    command: &'static str,
    has_cluster: bool,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    check: &'static str,
    /// `good`, `warn`, `deny`, or `record` where nobody knows.
    pub tone: &'static str,
    /// What was seen.
    pub says: String,
    when: Option<When>,
    mend: String,
}

impl Line {
    /// Says how something is.
    pub fn new(check: &'static str, tone: &'static str, says: impl Into<String>) -> Self {
        Self { check, tone, says: says.into(), when: None, mend: String::new() }
    }

    fn at(self, when: When) -> Self {
        Self { when: Some(when), ..self }
    }

    /// Adds what to do about it.
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }

    fn word(&self) -> &'static str {
        match self.tone {
            "good" => "ok",
            "warn" => "look at it",
            "deny" => "problem",
            _ => "not known",
        }
    }
}

async fn status(State(state): State<Arc<ApiState>>, caller: Caller, visit: Visit) -> Result<Response, Problem> {
    let mut lines = arrival::lines(&state, visit.now).await;
    match &state.kept {
        Some(kept) => {
            lines.push(store(kept).await);
            lines.push(asked(&state, kept, &caller, &visit).await);
            lines.push(audited(kept, &visit).await);
            lines.extend(turn(kept));
        }
        None => lines.push(Line::new(
            "Store",
            "record",
            "This process keeps nothing: what it decides goes to its scanner, whose pages show it",
        )),
    }
    lines.push(queue(&state));
    lines.push(namespaces(&state, &caller));
    lines.push(exemptions(&state, &caller, visit.now));
    lines.extend(arrival::notes(&state, &caller));
    let has_cluster = state.app.has_cluster();
    page_of(&StatusPage {
        shell: Shell::new(&state, &visit, "Status", &[Crumb::here("Status")]).await,
        verdict: verdict(&lines),
        lines,
        facts: facts(&state),
        command: "gatepost doctor",
        has_cluster,
    })
}

fn verdict(lines: &[Line]) -> (&'static str, String) {
    let of = |tone: &str| u64::try_from(lines.iter().filter(|line| line.tone == tone).count()).unwrap_or(u64::MAX);
    let (problems, warnings) = (of("deny"), of("warn"));
    match (problems, warnings) {
        (0, 0) => ("good", "Nothing is wrong, as far as this process can tell".to_owned()),
        (0, _) => ("warn", format!("{} to look at", count(warnings, "thing", "things"))),
        _ => ("bad", format!("{}, and {} to look at", count(problems, "problem", "problems"), number(warnings))),
    }
}

async fn store(kept: &Kept) -> Line {
    let began = Instant::now();
    if let Err(error) = kept.store.ping().await {
        return Line::new("Store", "deny", format!("It does not answer: {error}"))
            .mend("Requests are still judged; findings and decisions wait until it answers again");
    }
    let took = began.elapsed().as_millis();
    match kept.store.size().await {
        Ok(bytes) => Line::new("Store", "good", format!("It answers in {took} ms and takes {} MiB", bytes >> 20)),
        Err(error) => Line::new("Store", "warn", format!("It answers, but not how large it is: {error}")),
    }
}

/// Says when the API server last asked; of one who sees some namespaces, about those.
async fn asked(state: &ApiState, kept: &Kept, caller: &Caller, visit: &Visit) -> Line {
    let filter = Filter { visible: lists::visible(&state.app, caller), ..Filter::default() };
    let query = PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: 1 };
    let mend = "If people apply objects meanwhile, the webhook may not be registered: gatepost doctor tells";
    match kept.store.decisions(&query).await.map(|page| page.items.into_iter().next()) {
        Ok(Some(last)) if visit.now.duration_since(last.time) > SILENCE => {
            Line::new("Requests", "warn", "The API server has not asked for a while; it last did")
                .at(visit.when(last.time))
                .mend(mend)
        }
        Ok(Some(last)) => Line::new("Requests", "good", "The API server last asked").at(visit.when(last.time)),
        Ok(None) => Line::new("Requests", "warn", "Nobody has asked about an object yet").mend(mend),
        Err(error) => Line::new("Requests", "record", format!("When somebody last asked is not known: {error}")),
    }
}

/// Says whose turn it is to audit, where that is known.
fn turn(kept: &Kept) -> Option<Line> {
    let has_turn = kept.auditor.as_ref()?.has_turn();
    has_turn.then(|| Line::new("Turn", "good", "This process audits; others with the same store would wait for it"))
}

async fn audited(kept: &Kept, visit: &Visit) -> Line {
    if kept.auditor.is_none() {
        return Line::new("Audit", "record", "Nothing is audited here")
            .mend("Tell how often with --audit-interval, for example 30m");
    }
    if kept.auditor.as_ref().is_some_and(|auditor| !auditor.has_turn()) {
        return Line::new(
            "Audit",
            "record",
            "Another process with this store audits, or it is not known yet which one",
        )
        .mend("This one takes over within half a minute when the other is gone");
    }
    let audits = match last_audits(kept, 5).await {
        Ok(audits) => audits,
        Err(problem) => return Line::new("Audit", "record", problem.detail().to_owned()),
    };
    let ended = audits.iter().find(|audit| audit.finished.is_some() && audit.state != AuditState::Abandoned);
    match (ended, progress(kept)) {
        (Some(audit), _) => ended_line(audit, visit),
        (None, Some(progress)) => {
            Line::new("Audit", "good", format!("The first one is under way: {} objects read", number(progress.objects)))
        }
        (None, None) => Line::new("Audit", "warn", "No audit has ended yet"),
    }
}

fn ended_line(audit: &Audit, visit: &Visit) -> Line {
    let finished = audit.finished.unwrap_or(audit.started);
    let unread = u64::try_from(audit.unread.len()).unwrap_or(u64::MAX);
    let line = match audit.state {
        _ if visit.now.duration_since(finished) > STALE => Line::new("Audit", "warn", "The last one is old; it ended")
            .mend("It may be that none begins any more: the log of the scanner says why"),
        AuditState::Complete => Line::new("Audit", "good", "The last one read everything and ended"),
        AuditState::Partial => Line::new(
            "Audit",
            "warn",
            format!("The last one could not read {}; it ended", count(unread, "kind", "kinds")),
        )
        .mend(format!("Which, and why: /audits/{}", audit.id)),
        _ => Line::new("Audit", "warn", "The last one was stopped"),
    };
    line.at(visit.when(finished))
}

fn queue(state: &ApiState) -> Line {
    match state.app.workers.queued() {
        0 => Line::new("Queue", "good", "No request waits to be judged"),
        waiting => Line::new("Queue", "good", format!("{waiting} requests wait to be judged")),
    }
}

/// Names namespaces whose labels mean nothing: they are judged as if there were none.
fn namespaces(state: &ApiState, caller: &Caller) -> Line {
    let in_force = state.app.in_force.load();
    let known = state.app.known_namespaces(&in_force);
    let seen: Vec<_> = known.iter().filter(|namespace| caller.sees(&namespace.name)).collect();
    let faulty = seen.iter().filter(|namespace| {
        let granted = in_force.config.modes.grants(namespace, &*in_force.bundle);
        !granted.notices.is_empty()
    });
    let faulty: Vec<&str> = faulty.map(|namespace| &*namespace.name).collect();
    let total = count(u64::try_from(seen.len()).unwrap_or(u64::MAX), "namespace is", "namespaces are");
    if faulty.is_empty() {
        return Line::new("Namespaces", "good", format!("{total} known, and their labels all mean something"));
    }
    let named = faulty.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = if faulty.len() > NAMED { " and others" } else { "" };
    Line::new("Namespaces", "warn", format!("Labels of {named}{more} name nothing that there is"))
        .mend("They are judged as if the labels were not there; the page of each namespace says what is wrong")
}

/// Counts exemptions; for one who sees some namespaces, those of them.
fn exemptions(state: &ApiState, caller: &Caller, now: Timestamp) -> Line {
    let seen = visible(state, caller, now);
    let of = |state: ExemptionState| seen.iter().filter(|item| item.state == state).count();
    let [active, ending, refused] = [ExemptionState::Active, ExemptionState::Ending, ExemptionState::Refused].map(of);
    let held = active.saturating_add(ending);
    match (refused, ending) {
        (0, 0) => Line::new("Exemptions", "good", format!("{held} in force, none of them ends soon")),
        (0, _) => Line::new("Exemptions", "warn", format!("{held} in force, {ending} of them end within 14 days"))
            .mend("What they excuse counts again from then on: /exemptions?state=ending"),
        _ => Line::new("Exemptions", "warn", format!("{refused} are at fault or not allowed, and excuse nothing"))
            .mend("Which, and why: /exemptions?state=refused"),
    }
}

fn facts(state: &ApiState) -> Vec<(&'static str, String)> {
    let in_force = state.app.in_force.load();
    vec![
        ("Gatepost", env!("CARGO_PKG_VERSION").to_owned()),
        ("Rules in force", in_force.bundle.rules().len().to_string()),
        ("Policies", in_force.bundle.policies().len().to_string()),
        ("Bundle", in_force.bundle.digest().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_the_gravest_first() {
        let line = |tone| Line::new("Store", tone, "");
        for (tones, expected) in
            [(&["good", "record"][..], "good"), (&["good", "warn"], "warn"), (&["warn", "deny", "good"], "bad")]
        {
            let lines: Vec<Line> = tones.iter().map(|tone| line(*tone)).collect();
            assert_eq!(verdict(&lines).0, expected, "{tones:?}");
        }
    }
}
