//! `POST /api/v1/reports`: what webhooks decided and what CI jobs judged, taken in whole or not at all.

mod check;
mod presence;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::ApiState;
use super::access::{Caller, Scope};
use super::endpoint::{Endpoint, Method, Routes};
use super::evaluate::read;
use super::problem::{Flaw, Problem};
use crate::store::{Batch, Taken};

/// Largest report.
pub const REPORT_BYTES: usize = 8 << 20;
/// How long the store may take before the sender is told to come again: what it wrote by then is known by its key.
const PATIENCE: Duration = Duration::from_secs(10);

const REPORT: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/reports",
    scope: Some(Scope::Report),
    about: "Takes in decisions of webhooks and checks of CI jobs, whole or not at all, and each key of a source once",
    takes: &["application/json"],
    statuses: &[200, 201, 400, 409, 413, 415, 422, 429],
    answer: "Taken",
    body: "Report",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    presence::routes(routes.add(&REPORT, report))
}

async fn report(State(state): State<Arc<ApiState>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    state.kept()?;
    check_type(&request)?;
    let _turn = turn(&state)?;
    let body = read(request, REPORT_BYTES).await?;
    let batch: Batch = parse(&body)?;
    if !batch.checks.is_empty() {
        check_reach(&caller)?;
    }
    let flaws = check::flaws(&batch, &caller, Timestamp::now());
    if !flaws.is_empty() {
        return Err(Problem::body(flaws));
    }
    let (status, word) = match take_in(&state, &batch).await? {
        Taken::Stored => (StatusCode::CREATED, "stored"),
        Taken::Known => (StatusCode::OK, "known"),
    };
    let answer = json!({"state": word, "decisions": batch.decisions.len(), "checks": batch.checks.len()});
    Ok((status, Json(answer)).into_response())
}

/// Turns away whoever sees some namespaces only and would write into a history that belongs to none.
pub fn check_reach(caller: &Caller) -> Result<(), Problem> {
    if caller.sees_all() { Ok(()) } else { Err(Problem::beyond_namespaces("checks are in no namespace")) }
}

/// Returns leave to take one more report in, as long as there is room.
pub fn turn(state: &ApiState) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = state.reports.clone().try_acquire_owned();
    turn.map_err(|_| Problem::too_many("as many reports as there is room for are being taken in"))
}

/// Returns what is wrong with names that a report would carry, given as query parameters.
pub fn flaws_of_names(names: &[(&str, &str)]) -> Vec<Flaw> {
    let wrong = names.iter().filter_map(|(name, text)| Some((*name, check::flaw_of_text(text)?)));
    wrong.map(|(name, cause)| Flaw::of_parameter(name, format!("{name} {cause}"))).collect()
}

/// Takes a report in that nothing is wrong with.
pub async fn take_in(state: &ApiState, batch: &Batch) -> Result<Taken, Problem> {
    let kept = state.kept()?;
    let taken = tokio::time::timeout(PATIENCE, kept.feed.take_in(&*kept.store, batch)).await;
    Ok(taken.map_err(|_| Problem::unavailable("the store is slow: send the same again"))??)
}

fn check_type(request: &Request) -> Result<(), Problem> {
    let Some(value) = request.headers().get(CONTENT_TYPE) else { return Ok(()) };
    let given = value.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::media_type(given, "application/json"))
}

/// Reads what was sent; what is wrong comes back with its place.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut text = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let cause = error.inner();
        if cause.is_data() {
            let (pointer, detail) = (check::pointer(error.path()), cause.to_string());
            return Problem::body(vec![Flaw::at(pointer.clone(), format!("{}: {detail}", check::place(&pointer)))]);
        }
        Problem::malformed(format!("the body is no JSON: {cause}"))
    })?;
    text.end().map_err(|error| Problem::malformed(format!("the body goes on after its end: {error}")))?;
    Ok(read)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report() -> Value {
        json!({
            "apiVersion": "gatepost.dev/v1", "kind": "Report", "key": "1", "source": "webhook/a",
            "decisions": [{
                "uid": "u", "time": "2026-05-01T00:00:00Z", "operation": "CREATE", "group": "apps",
                "kind": "Deployment", "namespace": "shop", "name": "web", "user": "jane", "verified": true,
                "dryRun": false, "allowed": true, "reason": "judged", "durationUs": 300,
                "results": [{"rule": "r", "policy": "p", "severity": "high", "result": "fail", "action": "warn"}],
            }],
            "checks": [{
                "time": "2026-05-01T00:00:00Z", "source": "ci/shop", "policies": "sha256:0", "passed": true,
                "summary": {"objects": 1, "pass": 1, "fail": 0, "error": 0, "skip": 0, "exempt": 0},
            }],
        })
    }

    /// Returns the places and the words of everything that is wrong with a report.
    fn wrong_with(report: &Value, caller: &Caller) -> Vec<String> {
        let now = "2026-05-01T00:30:00Z".parse().unwrap();
        let flaws = match parse(report.to_string().as_bytes()) {
            Ok(batch) => check::flaws(&batch, caller, now),
            Err(problem) => problem.flaws().to_vec(),
        };
        flaws.into_iter().map(|flaw| format!("{}|{}", flaw.pointer.unwrap_or_default(), flaw.detail)).collect()
    }

    #[test]
    fn a_whole_report_is_right() {
        assert_eq!(wrong_with(&report(), &Caller::local()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_wrong_is_told_with_its_place() {
        let long = "x".repeat(3000);
        let many = vec![report()["decisions"][0].clone(); 1001];
        let results = vec![report()["decisions"][0]["results"][0].clone(); 501];
        let table = [
            ("/kind", json!("Batch"), "kind: must be \"Report\""),
            ("/apiVersion", json!("v1"), "apiVersion: must be \"gatepost.dev/v1\""),
            ("/key", json!(""), "key: is empty"),
            ("/source", json!("a\nb"), "source: holds control characters"),
            ("/commit", json!(long), "commit: is longer than 253 bytes"),
            ("/decisions/0/time", json!("yesterday"), "decisions[0].time: "),
            ("/decisions/0/time", json!("2026-05-01T02:00:00Z"), "decisions[0].time: lies in the future"),
            ("/decisions/0/time", json!("1999-05-01T02:00:00Z"), "decisions[0].time: lies before 2000"),
            ("/decisions/0/operation", json!("create"), "decisions[0].operation: \"create\" is none of CREATE, UPDATE"),
            ("/decisions/0/uid", json!(""), "decisions[0].uid: is empty"),
            ("/decisions/0/durationUs", json!(-1), "decisions[0].durationUs: "),
            ("/decisions/0/results/0/severity", json!("hgih"), "did you mean \"high\"?"),
            ("/decisions/0/results/0/result", json!("pass"), "is none of fail, error"),
            ("/decisions/0/results/0/action", json!("block"), "is none of deny, warn, record"),
            ("/decisions/0/results/0/message", json!(long), "is longer than 2048 bytes"),
            ("/decisions/0/results", json!(results), "decisions[0].results: has 501 entries, and 500 is the most"),
            ("/decisions", json!(many), "decisions: has 1001 entries, and 1000 is the most"),
            ("/checks/0/id", json!(7), "checks[0].id: is given by the store"),
            ("/checks/0/violations", json!({"grave": 1}), "\"grave\" is none of critical"),
            ("/checks/0/summary", json!({"objects": "1"}), "checks[0].summary.objects: "),
        ];
        for (pointer, value, expected) in table {
            let mut report = report();
            if let Some(place) = report.pointer_mut(pointer) {
                *place = value;
            } else {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                report.pointer_mut(parent).unwrap()[key] = value;
            }
            let said = wrong_with(&report, &Caller::local());
            assert!(said.len() == 1 && said.iter().all(|said| said.starts_with(pointer)), "{pointer}: {said:?}");
            assert!(said.iter().any(|said| said.contains(expected)), "{pointer}: {said:?} lacks {expected}");
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_those_that_are_known() {
        let mut report = report();
        report["decisions"][0]["nmae"] = json!("web");
        let said = wrong_with(&report, &Caller::local());
        assert!(said.iter().any(|said| said.starts_with("/decisions/0/nmae|") && said.contains("`name`")), "{said:?}");
    }

    #[test]
    fn nothing_is_no_report_and_everything_that_is_wrong_is_told_at_once() {
        let mut report = report();
        (report["decisions"], report["checks"], report["key"]) = (json!([]), json!([]), json!(""));
        let said = wrong_with(&report, &Caller::local());
        assert_eq!(said, ["/key|key: is empty", "|there is neither a decision nor a check in it"]);
    }

    #[test]
    fn a_limited_token_reports_only_on_what_it_sees() {
        let caller = Caller::new("t".into(), vec![Scope::Report], &["team-*".into()]);
        let said = wrong_with(&report(), &caller);
        assert_eq!(said, ["/decisions/0/namespace|decisions[0].namespace: the token does not reach \"shop\""]);
    }

    #[test]
    fn what_is_no_json_is_said_to_be_none() {
        for text in ["", "[", "{} {}", "kind: Report"] {
            assert_eq!(parse::<Batch>(text.as_bytes()).unwrap_err().status().as_u16() / 100, 4, "{text}");
        }
        assert_eq!(parse::<Batch>(b"kind: Report").unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}
