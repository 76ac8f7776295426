//! `/styleguide`: every component, so that one look shows whether they go together.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::SignedDuration;
use serde_json::json;

use super::chart::{Point, Trend};
use super::code::{Code, Line, Mark};
use super::dress::page_of;
use super::facets::{Choice, Menu};
use super::findings::{Part, Row, bar};
use super::manifest;
use super::nothing::Nothing;
use super::shell::{Crumb, Shell, Visit};
use super::traffic::Traffic;
use crate::policy::Severity;
use crate::scan::ApiState;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::problem::Problem;
use crate::scan::traffic::{SPAN, SPANS, Span};

const STYLEGUIDE: Endpoint =
    Endpoint { path: "/styleguide", about: "The components of pages", gives: &["text/html"], ..Endpoint::GET };

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&STYLEGUIDE, styleguide)
}

#[derive(Template)]
#[template(path = "styleguide.html")]
struct Styleguide {
    shell: Shell,
    severities: Vec<&'static str>,
    rows: Vec<Row>,
    missing: Code,
    diff: Code,
    bar: Vec<Part>,
    menu: Menu,
    nothing: Nothing,
    trend: Option<Trend>,
    traffic: Option<Traffic>,
}

async fn styleguide(State(state): State<Arc<ApiState>>, visit: Visit) -> Result<Response, Problem> {
    let shell = Shell::new(&state, &visit, "Style guide", &[Crumb::here("Style guide")]).await;
    let counts = [("critical", 3), ("high", 12), ("medium", 30), ("low", 9), ("info", 4)];
    let choice = |label: &str, count: &str, is_chosen| Choice {
        label: label.to_owned(),
        count: count.to_owned(),
        href: "/styleguide".to_owned(),
        is_chosen,
    };
    page_of(&Styleguide {
        shell,
        severities: Severity::ALL.into_iter().rev().map(Severity::as_str).collect(),
        rows: rows(&visit),
        missing: missing(),
        diff: diff(),
        bar: bar(&counts.map(|(word, count)| (word.to_owned(), count)).into_iter().collect::<BTreeMap<_, _>>()),
        menu: Menu {
            label: "Namespace",
            chosen: 1,
            choices: vec![choice("shop", "12", true), choice("team-payments-production", "1,204", false)],
            field: None,
        },
        nothing: Nothing {
            title: "Nothing is audited here".to_owned(),
            text: "An empty state says why, and what to run.".to_owned(),
            command: "gatepost serve --audit-interval 30m".to_owned(),
            progress: Some(("1,240".to_owned(), 12, 40)),
        },
        trend: trend(),
        traffic: Traffic::new(&spans(&visit), &visit),
    })
}

fn trend() -> Option<Trend> {
    let audits = [(120, 0, 0), (131, 14, 3), (128, 2, 5), (96, 0, 32), (99, 3, 0), (71, 4, 32)];
    let points = (0..).zip(audits).map(|(day, (open, opened, fixed))| {
        let label = format!("{} d ago", audits.len().saturating_sub(1).saturating_sub(day));
        Point { second: i64::try_from(day).unwrap_or_default(), label, open, opened, fixed }
    });
    Trend::new(points.collect())
}

/// Returns a day with a busy afternoon, and an hour in which nobody asked.
fn spans(visit: &Visit) -> Vec<Span> {
    let span = |number: u64| {
        let ago = SignedDuration::from_secs(SPAN.saturating_mul(i64::try_from(number).unwrap_or_default()));
        let asked = if (60..66).contains(&number) { 0 } else { number.saturating_mul(number.abs_diff(90)) / 9 };
        let slow = number.is_multiple_of(40);
        Span {
            time: visit.now.checked_sub(ago).unwrap_or(visit.now),
            allowed: asked,
            warned: asked / 5,
            denied: asked / if slow { 3 } else { 40 },
            p50_us: 420,
            p95_us: 1_600,
            p99_us: if slow { 41_000 } else { number.saturating_mul(17).saturating_add(1_800) },
        }
    };
    (0..).take(SPANS).map(span).collect()
}

fn rows(visit: &Visit) -> Vec<Row> {
    let row = |severity, message: &str, rule: &str, action| Row {
        href: "/styleguide".to_owned(),
        severity,
        message: message.to_owned(),
        rule: rule.to_owned(),
        place: "spec.template.spec.containers[app].image".to_owned(),
        object: "Deployment/web".to_owned(),
        namespace: "shop".to_owned(),
        owner: "Application/shop".to_owned(),
        action,
        first_seen: visit.when(visit.now),
        is_error: false,
        closed: "",
    };
    vec![
        row("critical", "run without privileged mode", "container-privileged", ("deny", "denied")),
        row("high", "write a fixed tag, for example nginx:1.27.3", "container-image-tag", ("warn", "warned")),
        row("low", "set revisionHistoryLimit", "deployment-revision-history", ("record", "recorded")),
    ]
}

fn missing() -> Code {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "app", "image": "nginx:1.27.3"}]},
    });
    Code::new("A manifest", manifest::lines(&object, "/spec/containers/0/securityContext/runAsNonRoot"))
}

fn diff() -> Code {
    let line = |number, lead: &str, key: &str, rest: &str, mark| Line {
        number,
        lead: lead.to_owned(),
        key: key.to_owned(),
        rest: rest.to_owned(),
        mark,
    };
    let lines = vec![
        line(Some(6), "  - ", "name:", " app", Mark::Plain),
        line(Some(7), "    ", "image:", " nginx", Mark::Gone),
        line(Some(7), "    ", "image:", " nginx:1.27.3", Mark::Ghost),
    ];
    Code::new("A diff", lines)
}
