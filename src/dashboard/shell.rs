//! The frame of every page: routes, where one is, how fresh the data is, and the theme.

use axum::extract::FromRequestParts;
use axum::http::header::{LOCATION, REFERER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;

use super::assets::{ICON, SCRIPT, STYLE};
use super::caveats::{COUNTED, Caveat};
use super::words::{When, count};
use crate::audit::{Desk, Progress};
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Method, Parameter, Query, Routes, Values};
use crate::scan::guard::{SESSION, cookie};
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Audit, AuditState, Filter, Page, PageQuery, TimeSort};

/// The routes, group by group: a heading, then path and name of each.
const ROUTES: &[(&str, &[(&str, &str)])] = &[
    (
        "Now",
        &[
            ("/", "Overview"),
            ("/findings", "Findings"),
            ("/applications", "Applications"),
            ("/namespaces", "Namespaces"),
        ],
    ),
    (
        "From warn to enforce",
        &[("/enforce", "Ready to enforce"), ("/modes", "Change modes"), ("/messages", "Messages")],
    ),
    (
        "Judged by",
        &[("/rules", "Rules"), ("/policies", "Policies"), ("/exemptions", "Exemptions"), ("/playground", "Playground")],
    ),
    ("Past", &[("/feed", "Live feed"), ("/decisions", "Decisions"), ("/checks", "Checks"), ("/audits", "Audits")]),
    ("Gatepost", &[("/status", "Status"), ("/settings", "Settings"), ("/styleguide", "Style guide")]),
];

const THEMES: &[&str] = &["system", "light", "dark"];

/// Namespaces that are named to whoever sees no others, before the rest is one click away.
const NAMED: usize = 8;

/// Colours: those that most tell apart at a glance, and those that people with any kind of colour-blindness do.
const PALETTES: &[&str] = &["usual", "colour-blind"];

const THEME: Endpoint = Endpoint {
    method: Method::Post,
    path: "/theme",
    // The page that asks who somebody is has these buttons, too.
    scope: None,
    about: "Remembers light or dark, and the colours",
    parameters: &[&[
        Parameter::new("set", Values::OneOf(THEMES), "Light, dark, or as the system is"),
        Parameter::new("palette", Values::OneOf(PALETTES), "Which colours"),
    ]],
    statuses: &[303],
    ..Endpoint::GET
};

/// Adds the paths that belong to the frame.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&THEME, set_theme)
}

/// What a request says beside what it asks for.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The path, with its query.
    pub here: String,
    path: String,
    theme: &'static str,
    palette: &'static str,
    is_signed_in: bool,
    /// What whoever asks sees; empty where they see all, or are not known yet.
    limits: Limits,
    /// Now, for every time on the page.
    pub now: Timestamp,
}

/// Returns the word of a list that a cookie holds.
fn chosen(headers: &HeaderMap, name: &str, known: &[&'static str]) -> Option<&'static str> {
    let held = cookie(headers, name)?;
    known.iter().copied().find(|word| *word == held)
}

impl Visit {
    /// Reads it from a request.
    pub fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        let theme = chosen(headers, "theme", THEMES).unwrap_or("system");
        let palette = chosen(headers, "palette", PALETTES).unwrap_or("usual");
        let here = uri.path_and_query().map_or("/", |here| here.as_str()).to_owned();
        let is_signed_in = cookie(headers, SESSION).is_some();
        let limits = Limits::default();
        Self { here, path: uri.path().to_owned(), theme, palette, is_signed_in, limits, now: Timestamp::now() }
    }

    /// Returns whether the browser shows a token, right or not.
    pub fn shows_token(&self) -> bool {
        self.is_signed_in
    }

    /// Words a moment as seen from the request.
    pub fn when(&self, moment: Timestamp) -> When {
        When::new(moment, self.now)
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let limits = parts.extensions.get::<Caller>().map(limits).unwrap_or_default();
        Ok(Self { limits, ..Self::of(&parts.headers, &parts.uri) })
    }
}

/// The namespaces that somebody sees who does not see all.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The first of them, in words; empty where everything is seen, or not known yet.
    pub few: String,
    /// The others.
    pub rest: Vec<String>,
}

/// Returns what somebody sees who sees some namespaces; empty for one who sees all.
fn limits(caller: &Caller) -> Limits {
    let globs = caller.globs().unwrap_or_default();
    // One more than are named costs no more room than saying that there is one more.
    let named = if globs.len() > NAMED.saturating_add(1) { NAMED } else { globs.len() };
    let (few, rest) = globs.split_at(named);
    Limits { few: few.join(", "), rest: rest.to_vec() }
}

/// One step of the way to a page.
#[derive(Debug, Clone)]
pub struct Crumb {
    /// Where it leads; nothing for the page itself.
    pub href: String,
    /// What it is called.
    pub label: String,
}

impl Crumb {
    /// Builds a step that leads somewhere.
    pub fn to(href: impl Into<String>, label: impl Into<String>) -> Self {
        Self { href: href.into(), label: label.into() }
    }

    /// Builds the step of the page itself.
    pub fn here(label: impl Into<String>) -> Self {
        Self { href: String::new(), label: label.into() }
    }
}

/// A heading of the navigation, with its routes.
#[derive(Debug, Clone)]
pub struct RouteGroup {
    /// The heading.
    pub label: &'static str,
    /// Path, name, and whether one is there.
    pub routes: Vec<(&'static str, &'static str, bool)>,
}

/// How fresh what a page shows is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// `good`, `warn`, `bad`, `running`, or nothing.
    pub tone: &'static str,
    /// In words, without the time.
    pub text: String,
    /// When the last audit ended.
    pub when: Option<When>,
    /// More, for whoever points at it.
    pub detail: String,
    /// Whether an audit is under way.
    pub is_running: bool,
}

/// The frame of a page.
#[derive(Debug)]
pub struct Shell {
    /// The page's name.
    pub title: String,
    /// What every path begins with for people; empty where paths are as they are here.
    pub base: String,
    /// The cluster's name, empty where it has none.
    pub cluster: String,
    /// The theme that was chosen.
    pub theme: &'static str,
    /// The colours that were chosen.
    pub palette: &'static str,
    /// Whether the browser shows a token.
    pub is_signed_in: bool,
    /// What the reader sees of everything; empty where that is all.
    pub limits: Limits,
    /// The navigation.
    pub groups: Vec<RouteGroup>,
    /// The way to the page.
    pub crumbs: Vec<Crumb>,
    /// How fresh the data is.
    pub freshness: Freshness,
    /// What to know before the numbers.
    pub caveats: Vec<Caveat>,
    /// Whether the last audit could not read everything, so that counts are at least what is shown.
    pub is_partial: bool,
    /// The style sheet.
    pub style: &'static str,
    /// The module for what lives.
    pub script: &'static str,
    /// The icon.
    pub icon: &'static str,
}

impl Shell {
    /// Builds the frame; `tells` says whether the reader may know of audits.
    pub async fn of(state: &ApiState, visit: &Visit, title: &str, crumbs: &[Crumb], tells: bool) -> Self {
        let kept = state.kept.as_ref().filter(|_| tells);
        let audits = match kept {
            Some(kept) => last_audits(kept, 5).await.map(Some),
            None => Ok(None),
        };
        let last =
            audits.as_ref().ok().and_then(|audits| audits.iter().flatten().find(|audit| audit.state.is_through()));
        let is_partial = last.is_some_and(|audit| audit.state == AuditState::Partial);
        let caveat = if audits.is_err() { Some(Caveat::away()) } else { last.and_then(Caveat::of) };
        let caveat = caveat.filter(|_| COUNTED.iter().any(|route| is_at(&visit.path, route)));
        let freshness = match (&audits, kept) {
            (Ok(Some(audits)), Some(kept)) => {
                Freshness::new(audits, progress(kept).map(|progress| progress.objects), visit.now)
            }
            (Err(_), _) => Freshness { tone: "bad", ..Freshness::none("The store does not answer") },
            _ => Freshness::none(if tells { "No audit here" } else { "" }),
        };
        Self {
            title: title.to_owned(),
            base: state.reached.base().to_owned(),
            cluster: kept.map(|kept| kept.cluster.clone()).unwrap_or_default(),
            theme: visit.theme,
            palette: visit.palette,
            is_signed_in: visit.is_signed_in,
            limits: visit.limits.clone(),
            groups: groups(&visit.path),
            crumbs: crumbs.to_vec(),
            freshness,
            caveats: caveat.into_iter().collect(),
            is_partial,
            style: &STYLE.path,
            script: &SCRIPT.path,
            icon: &ICON.path,
        }
    }

    /// Builds the frame of a page for whoever may read.
    pub async fn new(state: &ApiState, visit: &Visit, title: &str, crumbs: &[Crumb]) -> Self {
        Self::of(state, visit, title, crumbs, true).await
    }

    /// Returns what stands before a count that is at least so many.
    pub const fn at_least(&self) -> &'static str {
        if self.is_partial { "≥ " } else { "" }
    }
}

/// Returns whether a path is a route's, or below it.
fn is_at(path: &str, route: &str) -> bool {
    match route {
        "/" => path == "/",
        route => path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

fn groups(path: &str) -> Vec<RouteGroup> {
    let of_group = |routes: &[(&'static str, &'static str)]| {
        routes.iter().map(|(route, label)| (*route, *label, is_at(path, route))).collect()
    };
    ROUTES.iter().map(|(label, routes)| RouteGroup { label, routes: of_group(routes) }).collect()
}

impl Freshness {
    fn none(text: &str) -> Self {
        Self { tone: "", text: text.to_owned(), when: None, detail: String::new(), is_running: false }
    }

    /// Words how fresh data is, from the last audits, the newest first, and the objects that one under way has read.
    pub fn new(audits: &[Audit], running: Option<u64>, now: Timestamp) -> Self {
        let ended = audits.iter().find(|audit| audit.finished.is_some() && audit.state != AuditState::Abandoned);
        let when = ended.and_then(|audit| audit.finished).map(|finished| When::new(finished, now));
        let objects = ended.map_or(0, |audit| audit.objects);
        let detail = match (running, ended) {
            (Some(read), _) => format!("{} read so far", count(read, "object", "objects")),
            (None, Some(audit)) => detail(audit, objects),
            (None, None) => String::new(),
        };
        let (tone, text) = match (running, ended.map(|audit| audit.state)) {
            (Some(_), None) => ("running", "First audit under way"),
            (Some(_), Some(_)) => ("running", "Auditing again; last audit"),
            (None, Some(AuditState::Complete)) => ("good", "Audited"),
            (None, Some(AuditState::Partial)) => ("warn", "Partly audited"),
            (None, Some(_)) => ("bad", "Audit stopped"),
            (None, None) => ("", "No audit yet"),
        };
        Self { tone, text: text.to_owned(), when, detail, is_running: running.is_some() }
    }
}

fn detail(audit: &Audit, objects: u64) -> String {
    let unread = audit.unread.len();
    let objects = count(objects, "object", "objects");
    if unread == 0 {
        format!("complete, {objects}")
    } else {
        let kinds = count(u64::try_from(unread).unwrap_or(u64::MAX), "kind", "kinds");
        format!("partial: {kinds} could not be read; {objects}")
    }
}

/// Returns how far the audit under way has come.
pub fn progress(kept: &Kept) -> Option<Progress> {
    kept.auditor.as_ref().and_then(Desk::progress)
}

/// Returns the last audits, the newest first.
pub async fn last_audits(kept: &Kept, limit: usize) -> Result<Vec<Audit>, Problem> {
    let Page { items, .. } = kept
        .store
        .audits(&PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: None, limit })
        .await?;
    Ok(items)
}

async fn set_theme(query: Query, headers: HeaderMap) -> Response {
    let mut answer = (StatusCode::SEE_OTHER, [(LOCATION, back(&headers))]).into_response();
    for (parameter, name) in [("set", "theme"), ("palette", "palette")] {
        let Some(word) = query.text(parameter) else { continue };
        let cookie = format!("{name}={word}; Path=/; Max-Age=31536000; SameSite=Strict");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    answer
}

/// Returns the path of the page that a form stood on: never another site, whatever the header says.
pub fn back(headers: &HeaderMap) -> String {
    let referer = headers.get(REFERER).and_then(|value| value.to_str().ok()?.parse::<Uri>().ok());
    let path = referer.as_ref().and_then(|uri| uri.path_and_query()).map_or("/", |path| path.as_str());
    plain(path)
}

/// Returns a path of this host, or else the first page.
pub fn plain(path: &str) -> String {
    let is_plain =
        path.starts_with('/') && !path.starts_with("//") && !path.contains(|c: char| c == '\\' || c.is_control());
    if is_plain { path.to_owned() } else { "/".to_owned() }
}
