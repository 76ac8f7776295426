//! `/`: how things stand, in one screen: modes, findings and where they go, where it is worst, and what is mended easily.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::arrival::alarm;
use super::audits::Row as AuditRow;
use super::caveats::unless_away;
use super::chart::{Point, Trend};
use super::dress::page_of;
use super::highlights::Highlights;
use super::links::encoded;
use super::namespaces::{is_announced, strongest};
use super::nothing::{Nothing, nothing_yet};
use super::rules::Row as RuleRow;
use super::shell::{Crumb, Shell, Visit, last_audits, progress};
use super::words::{at_least, count, number};
use crate::policy::{Effort, Severity};
use crate::report::score::Score;
use crate::scan::access::Caller;
use crate::scan::audits::{may_direct, seen};
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::lists::visible;
use crate::scan::problem::Problem;
use crate::scan::trends::{BySeverity, Point as AuditPoint};
use crate::scan::{ApiState, Kept};
use crate::store::{Audit, AuditState, Facet, Filter};

/// Audits that the trend is drawn from, at most.
pub const AUDITS: usize = 300;
/// How far back the trend goes.
const PAST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far back new and fixed are summed up.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Namespaces of the heat table, rules of the lists.
const NAMESPACES: usize = 15;
const RULES: usize = 8;
const PAIRS: usize = 100_000;

const OVERVIEW: Endpoint = Endpoint { path: "/", about: "The first page", gives: &["text/html"], ..Endpoint::GET };

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&OVERVIEW, overview)
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    nothing: Option<Nothing>,
    modes: Modes,
    standing: Standing,
    may_begin: bool,
    facts: Vec<(&'static str, String)>,
}

/// How many namespaces do what at most.
#[derive(Default)]
struct Modes {
    parts: Vec<ModePart>,
    /// `7 namespaces do`.
    total: String,
    /// What exemptions excuse.
    excused: String,
}

/// Namespaces of one mode, and their part of the strip.
struct ModePart {
    mode: &'static str,
    /// How many of them enforce from a day on that is still to come.
    announced: usize,
    class: &'static str,
    count: usize,
    about: &'static str,
    from: usize,
    length: usize,
}

/// What was found.
#[derive(Default)]
struct Standing {
    told: String,
    recorded: String,
    severities: Vec<(&'static str, String)>,
    opened: Changed,
    fixed: Changed,
    score: Scored,
    trend: Option<Trend>,
    categories: Vec<String>,
    heat: Vec<Heat>,
    worst: Vec<RuleRow>,
    wins: Vec<RuleRow>,
    highlights: Highlights,
    audit: Option<AuditRow>,
    progress: Option<(String, usize, usize)>,
}

/// The score in words.
#[derive(Default)]
pub struct Scored {
    /// The points; a dash where nothing was judged.
    pub value: String,
    /// How it changed.
    pub note: String,
    /// `better`, `worse`, or nothing.
    pub tone: &'static str,
}

/// What came or went in the last audit, and in the last week.
#[derive(Default)]
struct Changed {
    last: String,
    week: String,
}

/// A namespace of the heat table.
struct Heat {
    label: String,
    href: String,
    cells: Vec<Cell>,
    total: String,
}

/// Findings of a namespace and a topic; the heat goes from 0 to 4.
struct Cell {
    count: u64,
    heat: u8,
}

async fn overview(State(state): State<Arc<ApiState>>, caller: Caller, visit: Visit) -> Result<Response, Problem> {
    let nothing = nothing_yet(&state).await?;
    let mut modes = modes(&state, &caller, visit.now);
    let standing = match &state.kept {
        Some(kept) if nothing.is_none() => {
            let excused = excused(kept, visible(&state.app, &caller)).await;
            modes.excused = unless_away(excused)?.unwrap_or_default();
            standing(&state, kept, &caller, &visit).await?
        }
        _ => Standing::default(),
    };
    let mut shell = Shell::new(&state, &visit, "Overview", &[Crumb::here("Overview")]).await;
    if let Some(alarm) = alarm(&state, &caller, &visit).await? {
        shell.caveats.insert(0, alarm);
    }
    page_of(&Overview {
        shell,
        nothing,
        modes,
        standing,
        may_begin: may_direct(&caller) && state.kept.as_ref().is_some_and(|kept| kept.auditor.is_some()),
        facts: facts(&state),
    })
}

fn modes(state: &ApiState, caller: &Caller, now: Timestamp) -> Modes {
    let in_force = state.app.in_force.load();
    // Of each mode: how many namespaces, and how many of those enforce only later.
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for namespace in state.app.known_namespaces(&in_force).iter().filter(|namespace| caller.sees(&namespace.name)) {
        let grants = in_force.config.modes.grants(namespace, &*in_force.bundle).grants;
        let (_, mode) = strongest(&grants, now);
        let (count, announced) = counts.entry(mode).or_default();
        *count = count.saturating_add(1);
        *announced = announced.saturating_add(usize::from(mode != "enforce" && is_announced(&grants, now)));
    }
    let total: usize = counts.values().map(|(count, _)| count).sum();
    let mut from = 0;
    let part = |(mode, class, about): (&'static str, _, _)| {
        let (count, announced) = counts.get(mode).copied().unwrap_or_default();
        let length = count.saturating_mul(1000) / total.max(1);
        let part = ModePart { mode, announced, class, count, about, from, length };
        from = from.saturating_add(length);
        part
    };
    let words = [
        ("enforce", "deny", "violations are denied"),
        ("warn", "warn", "violations are warned of"),
        ("audit", "record", "violations are recorded only"),
        ("off", "", "nothing is judged"),
    ];
    let parts = words.into_iter().map(part).collect();
    let total = count(u64::try_from(total).unwrap_or(u64::MAX), "namespace does", "namespaces do");
    Modes { parts, total, excused: String::new() }
}

/// Counts what exemptions excuse.
async fn excused(kept: &Kept, visible: Option<Vec<String>>) -> Result<String, Problem> {
    let filter = Filter { state: vec!["exempt".into()], visible, ..Filter::default() };
    let found = kept.store.facet(&filter, Facet::Severity, 5).await?;
    Ok(number(found.iter().map(|(_, findings)| findings).sum()))
}

fn facts(state: &ApiState) -> Vec<(&'static str, String)> {
    let in_force = state.app.in_force.load();
    let digest = in_force.bundle.digest().chars().take(15).collect::<String>();
    vec![
        ("Gatepost", env!("CARGO_PKG_VERSION").to_owned()),
        ("Rules in force", in_force.bundle.rules().len().to_string()),
        ("Policies", in_force.bundle.policies().len().to_string()),
        ("Bundle", format!("{digest}…")),
        ("Requests waiting", state.app.workers.queued().to_string()),
    ]
}

async fn standing(state: &ApiState, kept: &Kept, caller: &Caller, visit: &Visit) -> Result<Standing, Problem> {
    let open = Filter { state: vec!["open".into()], visible: visible(&state.app, caller), ..Filter::default() };
    let told = Filter { action: vec!["deny".into(), "warn".into()], ..open.clone() };
    let store = &*kept.store;
    let actions = store.facet(&open, Facet::Action, 3).await?;
    let severities = store.facet(&told, Facet::Severity, 5).await?;
    let of = |counts: &[(String, u64)], words: &[&str]| -> u64 {
        counts.iter().filter(|(word, _)| words.contains(&word.as_str())).map(|(_, findings)| findings).sum()
    };
    let words = Severity::ALL.into_iter().rev().map(Severity::as_str);
    let rules = store.facet(&told, Facet::Rule, PAIRS).await?;
    let pairs = store.cross(&told, [Facet::Namespace, Facet::Category], PAIRS).await?;
    let (categories, heat) = heat(&pairs);
    let audits = seen(state, kept, caller, last_audits(kept, AUDITS).await?).await?;
    let ended: Vec<&Audit> = audits.iter().filter(|audit| has_ended(audit)).collect();
    let recent = recent(&audits, visit.now);
    let points = crate::scan::trends::trend(state, kept, &open, &recent).await?;
    let (worst, wins) = ranked(state, &rules);
    let is_partial = ended.first().is_some_and(|audit| audit.state == AuditState::Partial);
    let figure = |findings: u64| at_least(&number(findings), is_partial);
    Ok(Standing {
        told: figure(of(&actions, &["deny", "warn"])),
        recorded: figure(of(&actions, &["record"])),
        severities: words.map(|word| (word, figure(of(&severities, &[word])))).collect(),
        opened: changed(&ended, visit.now, |audit| audit.opened),
        fixed: changed(&ended, visit.now, |audit| audit.fixed),
        score: score(&points, visit.now),
        trend: trend(&points, visit),
        categories,
        heat,
        worst,
        wins,
        highlights: Highlights::read(kept, &told, visit).await?,
        audit: ended.first().map(|audit| AuditRow::of(audit, caller, visit)),
        progress: progress(kept).map(|progress| (number(progress.objects), progress.kinds_done, progress.kinds)),
    })
}

/// Returns the audits that a trend is drawn from.
pub fn recent(audits: &[Audit], now: Timestamp) -> Vec<Audit> {
    let is_recent = |audit: &&Audit| has_ended(audit) && now.duration_since(audit.started) <= PAST;
    audits.iter().filter(is_recent).cloned().collect()
}

fn has_ended(audit: &Audit) -> bool {
    audit.state.is_through()
}

fn changed(ended: &[&Audit], now: Timestamp, of: impl Fn(&Audit) -> u64) -> Changed {
    let is_recent = |audit: &&&Audit| now.duration_since(audit.started) <= WEEK;
    // The first audit of all finds what stood there before anybody looked.
    let told = ended.iter().filter(|audit| audit.id > 1);
    let last = ended.first().filter(|audit| audit.id > 1);
    Changed {
        last: last.map_or("–".to_owned(), |audit| number(of(audit))),
        week: number(told.filter(is_recent).map(|audit| of(audit)).sum()),
    }
}

/// Returns what was open after each audit.
pub fn trend(points: &[AuditPoint], visit: &Visit) -> Option<Trend> {
    let sum = |counts: &BySeverity| counts.values().sum();
    let point = |point: &AuditPoint| Point {
        second: point.time.as_second(),
        label: visit.when(point.time).words,
        open: sum(&point.open),
        // The first audit of all finds what stood there before anybody looked.
        opened: if point.audit > 1 { sum(&point.new) } else { 0 },
        fixed: sum(&point.fixed),
    };
    Trend::new(points.iter().rev().map(point).collect())
}

/// Returns the score after the last audit, and how it changed since the first one of the last week.
pub fn score(points: &[AuditPoint], now: Timestamp) -> Scored {
    let of_week = points.iter().filter(|point| now.duration_since(point.time) <= WEEK);
    let scores: Vec<f64> = of_week.filter_map(|point| point.score.map(Score::points)).collect();
    let last = points.first().and_then(|point| point.score).map(Score::points);
    let Some(last) = last else {
        return Scored { value: "–".to_owned(), note: "nothing judged yet".to_owned(), tone: "" };
    };
    let change = scores.last().map_or(0.0, |first| last - first);
    let (tone, note) = match change {
        change if change >= 0.05 => ("better", format!("+{change:.1} in 7 days")),
        change if change <= -0.05 => ("worse", format!("−{:.1} in 7 days", change.abs())),
        _ => ("", "as 7 days ago".to_owned()),
    };
    // One audit cannot have changed anything.
    let note = if scores.len() < 2 { "of 100".to_owned() } else { note };
    Scored { value: format!("{last:.1}"), note, tone }
}

fn heat(pairs: &[(String, String, u64)]) -> (Vec<String>, Vec<Heat>) {
    let mut by_namespace: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for (namespace, category, findings) in pairs {
        by_namespace.entry(namespace).or_default().insert(category, *findings);
    }
    let categories: BTreeSet<&str> = pairs.iter().map(|(_, category, _)| category.as_str()).collect();
    let most = pairs.iter().map(|(.., findings)| *findings).max().unwrap_or_default().max(1);
    let mut rows: Vec<(u64, Heat)> = by_namespace
        .into_iter()
        .map(|(namespace, counts)| {
            let here = if namespace.is_empty() { String::new() } else { format!("?namespace={}", encoded(namespace)) };
            let cell = |category: &&str| {
                let count = counts.get(category).copied().unwrap_or_default();
                Cell { count, heat: warmth(count, most) }
            };
            let total: u64 = counts.values().sum();
            let heat = Heat {
                label: if namespace.is_empty() { "outside any namespace".to_owned() } else { namespace.to_owned() },
                href: if here.is_empty() { String::new() } else { format!("/findings{here}") },
                cells: categories.iter().map(cell).collect(),
                total: number(total),
            };
            (total, heat)
        })
        .collect();
    rows.sort_by(|(a, _), (b, _)| b.cmp(a));
    rows.truncate(NAMESPACES);
    (categories.into_iter().map(str::to_owned).collect(), rows.into_iter().map(|(_, heat)| heat).collect())
}

/// Returns how warm a count is; half of the most is already hot, so that one outlier does not leave the rest pale.
fn warmth(count: u64, most: u64) -> u8 {
    match count.saturating_mul(100) / most {
        _ if count == 0 => 0,
        0..10 => 1,
        10..25 => 2,
        25..50 => 3,
        _ => 4,
    }
}

/// Returns the rules that find most by severity, and those of them that are mended easily.
fn ranked(state: &ApiState, found: &[(String, u64)]) -> (Vec<RuleRow>, Vec<RuleRow>) {
    let in_force = state.app.in_force.load();
    let catalogue = in_force.bundle.catalogue();
    let known = found.iter().filter_map(|(id, findings)| Some((catalogue.rule(id).ok()?, *findings)));
    let mut known: Vec<_> = known.collect();
    known.sort_by(|(a, x), (b, y)| b.severity.cmp(&a.severity).then(y.cmp(x)));
    let row = |(rule, findings): &(&Arc<crate::policy::Rule>, u64)| RuleRow::of(rule, rule.severity, &[], *findings);
    let worst = known.iter().take(RULES).map(row).collect();
    let wins = known.iter().filter(|(rule, _)| rule.effort == Effort::Easy).take(RULES).map(row).collect();
    (worst, wins)
}
