//! `GET /api/v1/traffic`: how many requests admission answered how over the last day, and how quickly. Counted in memory as
//! reports come in; a process that begins counts the newest decisions of its store first.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value as Text, json};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Query, Routes};
use super::lists::{self, TIMES};
use super::problem::Problem;
use crate::store::{Decision, DecisionResult, Filter, PageQuery, Store, Stored, TimeSort};

/// Seconds that are counted together.
pub const SPAN: i64 = 600;
/// Spans that are kept: a day.
pub const SPANS: usize = 144;
/// Decisions that a process that begins reads, at most.
const READ: usize = 20_000;
/// Decisions that it reads at a time.
const PAGE: usize = 1000;

/// Durations are counted in steps of an eighth of an octave, from 16 µs up to about 17 s: a tenth is as near as they tell.
const STEPS: usize = 160;
const SHORTEST: f64 = 16.0;
const STEPS_OF_OCTAVE: f64 = 8.0;

const TRAFFIC: Endpoint = Endpoint {
    path: "/api/v1/traffic",
    about: "How many requests admission answered how in each 10 minutes of the last day, and how quickly; told to who sees \
            the whole cluster",
    parameters: &[TIMES],
    answer: "SpanList",
    statuses: &[200, 403],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&TRAFFIC, traffic)
}

/// What was answered in a span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// When it begins.
    pub time: Timestamp,
    /// Requests that were allowed with nothing to tell.
    pub allowed: u64,
    /// Requests that were allowed with warnings.
    pub warned: u64,
    /// Requests that were denied.
    pub denied: u64,
    /// What half of the answers took at most, in microseconds, to about a tenth.
    pub p50_us: u64,
    /// What 95 of 100 took at most.
    pub p95_us: u64,
    /// What 99 of 100 took at most.
    pub p99_us: u64,
}

/// What was answered lately.
#[derive(Debug, Default)]
pub struct Traffic {
    slots: BTreeMap<i64, Slot>,
}

/// One span, by its number since 1970.
#[derive(Debug, Clone)]
struct Slot {
    allowed: u64,
    warned: u64,
    denied: u64,
    durations: [u32; STEPS],
    /// What was counted, for a decision is reported again with what was found after its answer.
    known: HashSet<u64>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { allowed: 0, warned: 0, denied: 0, durations: [0; STEPS], known: HashSet::new() }
    }
}

impl Traffic {
    /// Counts a decision once; what is older than a day, or of a time to come, is not counted.
    pub fn count(&mut self, decision: &Decision, now: Timestamp) {
        let (number, last) = (number(decision.time), number(now));
        let first = last.saturating_sub(i64::try_from(SPANS).unwrap_or(i64::MAX)).saturating_add(1);
        // The clocks of webhooks may be a little ahead.
        if number < first || number > last.saturating_add(1) {
            return;
        }
        if !self.slots.contains_key(&number) {
            self.slots = self.slots.split_off(&first);
            // What was found after an answer is reported within minutes of it.
            for (_, slot) in self.slots.range_mut(..last.saturating_sub(1)) {
                slot.known = HashSet::new();
            }
        }
        let slot = self.slots.entry(number).or_default();
        let mut hasher = DefaultHasher::new();
        decision.uid.hash(&mut hasher);
        if slot.known.insert(hasher.finish()) {
            slot.count(decision);
        }
    }

    /// Returns what was answered in each span since the first that is known, the newest first; spans without a request too.
    pub fn spans(&self, now: Timestamp) -> Vec<Span> {
        let last = number(now);
        let earliest = last.saturating_sub(i64::try_from(SPANS).unwrap_or(i64::MAX)).saturating_add(1);
        let Some((first, _)) = self.slots.range(earliest..).next() else { return Vec::new() };
        let none = Slot::default();
        let span = |number: i64| Some(self.slots.get(&number).unwrap_or(&none).told(begin(number)?));
        (*first..=last).rev().filter_map(span).collect()
    }
}

impl Slot {
    fn count(&mut self, decision: &Decision) {
        let verdict = match Answer::of(decision) {
            Answer::Denied => &mut self.denied,
            Answer::Warned => &mut self.warned,
            Answer::Allowed => &mut self.allowed,
        };
        *verdict = verdict.saturating_add(1);
        if let Some(step) = self.durations.get_mut(step(decision.duration_us)) {
            *step = step.saturating_add(1);
        }
    }

    fn told(&self, time: Timestamp) -> Span {
        let &Self { allowed, warned, denied, .. } = self;
        let [p50_us, p95_us, p99_us] = [50, 95, 99].map(|percent| self.within(percent));
        Span { time, allowed, warned, denied, p50_us, p95_us, p99_us }
    }

    /// Returns what so many of 100 answers took at most; 0 where there are none.
    fn within(&self, percent: u64) -> u64 {
        let all: u64 = self.durations.iter().map(|count| u64::from(*count)).sum();
        let wanted = all.saturating_mul(percent).div_ceil(100);
        let mut so_far = 0_u64;
        let found = self.durations.iter().position(|count| {
            so_far = so_far.saturating_add(u64::from(*count));
            so_far >= wanted
        });
        if all == 0 { 0 } else { found.map_or(0, longest) }
    }
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Let in, with nothing to tell.
    Allowed,
    /// Let in, with warnings.
    Warned,
    /// Not let in.
    Denied,
}

impl Answer {
    /// Returns how a decision was answered.
    pub fn of(decision: &Decision) -> Self {
        let is_told = |result: &DecisionResult| result.action != "record" && result.result != "exempt";
        match decision.allowed {
            false => Self::Denied,
            true if decision.results.iter().any(is_told) => Self::Warned,
            true => Self::Allowed,
        }
    }
}

fn number(time: Timestamp) -> i64 {
    time.as_second().div_euclid(SPAN)
}

fn begin(number: i64) -> Option<Timestamp> {
    Timestamp::from_second(number.saturating_mul(SPAN)).ok()
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within STEPS")]
fn step(us: u64) -> usize {
    let step = ((us.max(1) as f64) / SHORTEST).log2() * STEPS_OF_OCTAVE;
    (step.ceil().max(0.0) as usize).min(STEPS.saturating_sub(1))
}

/// Returns the longest duration that a step counts, in microseconds.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within STEPS")]
fn longest(step: usize) -> u64 {
    (SHORTEST * (step as f64 / STEPS_OF_OCTAVE).exp2()).round() as u64
}

/// Returns the newest decisions of the last day that a store has.
pub async fn lately(store: &dyn Store, now: Timestamp) -> Stored<Vec<Decision>> {
    let seconds = SPAN.saturating_mul(i64::try_from(SPANS).unwrap_or(i64::MAX));
    let since = Timestamp::from_second(now.as_second().saturating_sub(seconds)).ok();
    let filter = Filter { since, ..Filter::default() };
    let mut asked = PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: PAGE };
    let mut found = Vec::new();
    loop {
        let page = store.decisions(&asked).await?;
        found.extend(page.items);
        asked.cursor = page.next;
        if asked.cursor.is_none() || found.len() >= READ {
            return Ok(found);
        }
    }
}

async fn traffic(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Text>, Problem> {
    if !caller.sees_all() {
        return Err(Problem::beyond_namespaces("these are the answers to all namespaces"));
    }
    let mut items = state.kept()?.feed.traffic(Timestamp::now());
    if lists::time_sort(&query) == TimeSort::Oldest {
        items.reverse();
    }
    Ok(Json(json!({"items": items, "next": null})))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_400 + second).unwrap()
    }

    fn decision(uid: &str, second: i64, duration_us: u64) -> Decision {
        Decision {
            uid: uid.into(),
            time: at(second),
            cluster: String::new(),
            operation: "CREATE".into(),
            group: String::new(),
            kind: "Pod".into(),
            namespace: "shop".into(),
            name: "web".into(),
            user: "jane".into(),
            verified: true,
            dry_run: false,
            allowed: true,
            reason: "judged".into(),
            duration_us,
            break_glass: None,
            changes: Vec::new(),
            results: Vec::new(),
        }
    }

    fn told(action: &str, result: &str) -> Vec<DecisionResult> {
        vec![DecisionResult { action: action.into(), result: result.into(), ..DecisionResult::default() }]
    }

    #[test]
    fn each_decision_is_counted_once_where_it_belongs() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.spans(at(0)), []);
        let denied = Decision { allowed: false, ..decision("c", 1300, 90) };
        let warned = Decision { results: told("warn", "fail"), ..decision("b", 20, 90) };
        let recorded = Decision { results: told("record", "fail"), ..decision("a", 10, 90) };
        let excused = Decision { results: told("warn", "exempt"), ..decision("d", 1301, 90) };
        for one in [&decision("a", 10, 90), &warned, &recorded, &denied, &excused, &decision("old", -90_000, 90)] {
            traffic.count(one, at(1310));
        }
        let counts: Vec<_> = traffic.spans(at(1310)).iter().map(|at| (at.allowed, at.warned, at.denied)).collect();
        assert_eq!(counts, [(1, 0, 1), (0, 0, 0), (1, 1, 0)], "the newest first, with the quiet one between");
        let after_a_day = traffic.spans(at(86_400 + 700));
        assert_eq!((after_a_day.len(), after_a_day[143].denied), (SPANS, 1), "what is older than a day is gone");
        assert_eq!(traffic.spans(at(86_400 + 1300)), []);
        traffic.count(&decision("e", 200_000, 90), at(200_000));
        assert_eq!(traffic.spans(at(200_000)).len(), 1);
    }

    #[test]
    fn percentiles_are_right_to_a_tenth() {
        let mut traffic = Traffic::default();
        for number in 1..=1000_u64 {
            traffic.count(&decision(&number.to_string(), 0, number * 10), at(0));
        }
        let span = &traffic.spans(at(0))[0];
        for (told, true_one) in [(span.p50_us, 5000), (span.p95_us, 9500), (span.p99_us, 9900)] {
            assert!((true_one..true_one + true_one / 10).contains(&told), "{told} for {true_one}");
        }
        assert_eq!(longest(step(0)), 16);
        assert_eq!(step(u64::MAX), STEPS - 1);
    }
}
