//! `GET /api/v1/findings/export`: every finding of a filter, as CSV, lines of JSON or SARIF, page by page.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde_json::json;

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::evaluate::LINES;
use super::findings::{FILTERS, SORT, Told, filter, sort};
use super::lists;
use super::problem::Problem;
use crate::report::csv;
use crate::report::finding::Finding;
use crate::report::sarif::Sarif;
use crate::store::{FindingSort, Page, PageQuery, Store};
use crate::webhook::in_force::InForce;

/// Findings that are held at a time.
const PAGE: usize = 1000;

const CSV: &str = "text/csv";
const SARIF: &str = "application/sarif+json";

const FORMAT: &[Parameter] = &[Parameter::new(
    "format",
    Values::OneOf(&["csv", "ndjson", "sarif"]),
    "The format; if nobody says, what Accept asks for, and else csv",
)];

const EXPORT: Endpoint = Endpoint {
    path: "/api/v1/findings/export",
    about: "Every finding of a filter, in one answer",
    parameters: &[FILTERS, SORT, FORMAT],
    gives: &[CSV, LINES, SARIF],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&EXPORT, export)
}

async fn export(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = state.kept()?.store.clone();
    let mut asked = lists::page(&query, filter(&state.app, &caller, &query)?, sort(query.text("sort")));
    asked.limit = PAGE;
    let writer = Writer::new(query.text("format"), &headers);
    let (kind, ending) = (writer.media_type(), writer.ending());
    // What cannot be read is a problem as long as nothing has been sent.
    let first = store.findings(&asked).await?;
    let export =
        Export { store, asked, writer, in_force: state.app.in_force.load(), next: Some(first), has_begun: false };
    let parts = stream::try_unfold(export, Export::part);
    let disposition = format!("attachment; filename=\"gatepost-findings.{ending}\"");
    let head = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((head, Body::from_stream(parts)).into_response())
}

/// An export under way.
struct Export {
    store: Arc<dyn Store>,
    asked: PageQuery<FindingSort>,
    writer: Writer,
    in_force: Arc<InForce>,
    /// The page that is written next; none when all are.
    next: Option<Page<Finding>>,
    has_begun: bool,
}

impl Export {
    /// Returns the next part; a store that fails in between breaks the answer off, so that nobody takes it for whole.
    async fn part(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let Some(page) = self.next.take() else { return Ok(None) };
        let mut text = if self.has_begun { String::new() } else { self.writer.start() };
        self.has_begun = true;
        page.items.into_iter().for_each(|finding| self.writer.finding(finding, &mut text));
        match page.next {
            None => text.push_str(&self.writer.end(&self.in_force)),
            cursor => {
                self.asked.cursor = cursor;
                self.next = Some(self.store.findings(&self.asked).await.map_err(io::Error::other)?);
            }
        }
        Ok(Some((Bytes::from(text), self)))
    }
}

/// Writes findings in one of the formats.
enum Writer {
    Csv,
    Lines,
    Sarif(Sarif),
}

impl Writer {
    fn new(format: Option<&str>, headers: &HeaderMap) -> Self {
        let accepts = |kind: &str| {
            headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(kind)))
        };
        match format {
            Some("ndjson") => Self::Lines,
            Some("sarif") => Self::Sarif(Sarif::default()),
            None if accepts(LINES) => Self::Lines,
            None if accepts(SARIF) => Self::Sarif(Sarif::default()),
            _ => Self::Csv,
        }
    }

    const fn media_type(&self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Lines => LINES,
            Self::Sarif(_) => SARIF,
        }
    }

    const fn ending(&self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Lines => "ndjson",
            Self::Sarif(_) => "sarif",
        }
    }

    fn start(&self) -> String {
        match self {
            Self::Csv => csv::header(),
            Self::Lines => String::new(),
            Self::Sarif(_) => Sarif::start().to_owned(),
        }
    }

    fn finding(&mut self, finding: Finding, text: &mut String) {
        match self {
            Self::Csv => text.push_str(&csv::line(&finding)),
            Self::Lines => {
                text.push_str(&json!(Told::from(finding)).to_string());
                text.push('\n');
            }
            Self::Sarif(sarif) => text.push_str(&sarif.result(&finding)),
        }
    }

    fn end(&self, in_force: &InForce) -> String {
        let rules = in_force.bundle.catalogue().rules();
        match self {
            Self::Csv | Self::Lines => String::new(),
            Self::Sarif(sarif) => sarif.end(|id| rules.get(id).map(AsRef::as_ref)),
        }
    }
}
