//! Lists, page by page, at a limited rate.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::client::Body;
use kube::core::{Request, Status};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::telemetry::audit::Cost;

/// Longest wait for one page.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a page is asked for that does not come for a reason that may pass.
const TRIES: u32 = 4;
/// The same of what a group serves: one that does not answer holds up the others no longer.
const GROUP_PATIENCE: Duration = Duration::from_secs(10);
const GROUP_TRIES: u32 = 2;
/// What a page should weigh: two are held at once, one that is judged and one that comes.
const PAGE_BYTES: usize = 4 << 20;
/// What a page may weigh: of a heavier one no more is read, and fewer objects are asked for.
const MOST_BYTES: usize = 16 << 20;
/// Objects on the first page of a kind.
const FIRST_PAGE: u32 = 100;
/// Objects on any page, at most.
const MOST: usize = 2000;
/// How many times the objects of one page the next may hold: those may be heavier.
const GROWTH: usize = 4;
/// Of how many objects a page that was too heavy is asked for one.
const SHARE: u32 = 4;

/// Why a page did not come.
#[derive(Debug, PartialEq, Eq)]
pub enum PageError {
    /// The list has grown too old (410); Kubernetes may say where it can go on nevertheless.
    Gone(Option<String>),
    /// There is no such thing (404), in words.
    Missing(String),
    /// Our rights do not suffice (403), in words.
    Forbidden(String),
    /// It weighs too much.
    TooHeavy,
    /// It cannot be had, in words.
    Unread(String),
}

/// Lists that are begun anew, at most: a cluster that is faster than this is not read in pages.
const FRESH_LISTS: u32 = 3;

/// How far a list was read, page by page.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Where the next page begins; none: at the beginning.
    pub at: Option<String>,
    fresh: u32,
}

impl Reached {
    /// Goes on after a list grew too old: where Kubernetes says, else from the beginning; gives back any other error, and
    /// this one when it has come too often.
    pub fn go_on(&mut self, error: PageError) -> Result<(), PageError> {
        match error {
            PageError::Gone(Some(token)) if self.at.as_ref() != Some(&token) => self.at = Some(token),
            PageError::Gone(_) if self.fresh < FRESH_LISTS => {
                self.at = None;
                self.fresh = self.fresh.saturating_add(1);
            }
            error => return Err(error),
        }
        Ok(())
    }
}

/// How much is asked for of each object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its metadata.
    Metadata,
}

/// Part of a list, as text: objects are read from it one by one.
#[derive(Debug, Deserialize)]
pub struct Page<'a> {
    /// Where it goes on.
    #[serde(default)]
    pub metadata: PageMeta,
    /// The objects.
    #[serde(borrow, default)]
    pub items: Option<Vec<&'a RawValue>>,
}

/// The metadata of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PageMeta {
    /// What the next page is asked for with; none on the last.
    #[serde(rename = "continue", deserialize_with = "unless_empty")]
    pub next: Option<String>,
    /// The cluster's state that the list shows.
    pub resource_version: String,
    /// How many objects come after this page, as the server guesses.
    pub remaining_item_count: Option<u64>,
}

/// The last page may say so by an empty text, too.
fn unless_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// How large the next page should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageSize {
    /// Objects on it, at most.
    pub limit: u32,
    /// Bytes that these may weigh: room for them is made at once.
    room: usize,
}

impl PageSize {
    /// Of the first page of a kind, of which nothing is known.
    pub const FIRST: Self = Self { limit: FIRST_PAGE, room: 0 };

    /// Of the page after one of so many objects that weighed so much.
    pub fn after(objects: usize, bytes: usize) -> Self {
        let each = bytes.checked_div(objects).unwrap_or(bytes).max(1);
        let most = objects.max(1).saturating_mul(GROWTH).min(MOST);
        let fitting = PAGE_BYTES.checked_div(each).unwrap_or_default().clamp(1, most);
        let room = fitting.saturating_mul(each.saturating_add(each / 8)).min(PAGE_BYTES.saturating_mul(2));
        Self { limit: u32::try_from(fitting).unwrap_or(FIRST_PAGE), room }
    }

    /// Of the same page once more, which was too heavy.
    fn smaller(self) -> Self {
        Self { limit: (self.limit / SHARE).max(1), ..self }
    }

    /// Returns what the page may weigh; a single object may weigh anything.
    fn most(self) -> usize {
        if self.limit > 1 { MOST_BYTES } else { usize::MAX }
    }
}

/// A page that is on its way; dropping it gives it up.
pub(super) struct Fetch(AbortOnDropHandle<Result<String, PageError>>);

impl Fetch {
    /// Waits for the page, as text; it may be waited for again after a wait that was given up.
    pub async fn page(&mut self) -> Result<String, PageError> {
        (&mut self.0).await.unwrap_or_else(|error| Err(PageError::Unread(format!("asking for a page: {error}"))))
    }
}

/// Asks an API server for pages.
#[derive(Debug)]
pub struct Lister {
    ticks: Mutex<Interval>,
    cost: Cost,
}

impl Lister {
    /// Asks at most `qps` times a second, and counts what that costs.
    pub fn new(qps: u32, cost: Cost) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / qps.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks: Mutex::new(ticks), cost }
    }

    /// Returns what counts the cost.
    pub const fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Waits for the next turn.
    async fn turn(&self) {
        self.ticks.lock().await.tick().await;
        self.cost.requests.inc();
    }

    /// Returns a page of objects as text; what may pass is tried again.
    pub(super) async fn page(
        &self,
        client: &Client,
        url: &str,
        size: PageSize,
        at: Option<&str>,
    ) -> Result<String, PageError> {
        self.page_of(client, (url, Extent::Whole), size, at).await
    }

    /// Asks for a page while something else is done.
    pub(super) fn fetch(self: &Arc<Self>, client: &Client, url: &str, size: PageSize, at: Option<&str>) -> Fetch {
        let (lister, client) = (self.clone(), client.clone());
        let (url, at) = (url.to_owned(), at.map(str::to_owned));
        let page = async move { lister.page(&client, &url, size, at.as_deref()).await };
        Fetch(AbortOnDropHandle::new(tokio::spawn(page)))
    }

    /// Returns a page of objects, or of their metadata, as text; what may pass is tried again.
    pub(super) async fn page_of(
        &self,
        client: &Client,
        (url, extent): (&str, Extent),
        size: PageSize,
        at: Option<&str>,
    ) -> Result<String, PageError> {
        let mut size = size;
        loop {
            let params =
                ListParams { limit: Some(size.limit), continue_token: at.map(str::to_owned), ..ListParams::default() };
            let request = || match extent {
                Extent::Whole => Request::new(url).list(&params),
                Extent::Metadata => Request::new(url).list_metadata(&params),
            };
            let most = (size.room, size.most());
            let page = self.text(client, most, (TRIES, PATIENCE), || request().map_err(|error| error.to_string()));
            match page.await {
                Err(PageError::TooHeavy) => size = size.smaller(),
                page => return page,
            }
        }
    }

    /// Returns an object as text.
    pub async fn object(&self, client: &Client, list: &str, name: &str) -> Result<String, PageError> {
        let request = || Request::new(list).get(name, &GetParams::default());
        self.text(client, ANY, (TRIES, PATIENCE), || request().map_err(|error| error.to_string())).await
    }

    /// Returns what is answered at a path that says what a group serves, as text.
    pub async fn served(&self, client: &Client, path: &str) -> Result<String, PageError> {
        let request = || http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string());
        self.text(client, ANY, (GROUP_TRIES, GROUP_PATIENCE), request).await
    }

    async fn text(
        &self,
        client: &Client,
        (room, most): (usize, usize),
        (mut tries, patience): (u32, Duration),
        request: impl Fn() -> Result<http::Request<Vec<u8>>, String>,
    ) -> Result<String, PageError> {
        let mut wait = Duration::from_millis(200);
        loop {
            self.turn().await;
            tries = tries.saturating_sub(1);
            let answer = timeout(patience, ask(client, (room, most), request().map_err(PageError::Unread)?)).await;
            match answer.unwrap_or_else(|_| Err(Failure { code: 0, cause: "no answer in time".into(), next: None })) {
                Ok(Answer::Whole(text)) => {
                    self.cost.bytes.inc_by(u64::try_from(text.len()).unwrap_or_default());
                    return Ok(text);
                }
                Ok(Answer::TooHeavy(read)) => {
                    self.cost.bytes.inc_by(u64::try_from(read).unwrap_or_default());
                    return Err(PageError::TooHeavy);
                }
                Err(failure) if failure.code == 410 => return Err(PageError::Gone(failure.next)),
                Err(failure) if failure.code == 403 => return Err(PageError::Forbidden(failure.cause)),
                Err(failure) if failure.code == 404 => return Err(PageError::Missing(failure.cause)),
                Err(failure) if tries == 0 || !failure.may_pass() => return Err(PageError::Unread(failure.cause)),
                Err(_) => sleep(wait).await,
            }
            wait = wait.saturating_mul(2);
        }
    }
}

impl PageError {
    /// Returns why, in words.
    pub fn cause(self) -> String {
        match self {
            Self::Gone(_) => "410: the list grew too old several times".to_owned(),
            Self::TooHeavy => "it weighs too much".to_owned(),
            Self::Missing(cause) | Self::Forbidden(cause) | Self::Unread(cause) => cause,
        }
    }
}

struct Failure {
    code: u16,
    cause: String,
    next: Option<String>,
}

impl Failure {
    fn may_pass(&self) -> bool {
        matches!(self.code, 0 | 429 | 500..)
    }
}

/// Room that is made at once, and what an answer may weigh, where nothing is known of it.
const ANY: (usize, usize) = (0, usize::MAX);

/// What came of a request.
enum Answer {
    /// This.
    Whole(String),
    /// More than it may weigh: so much was read of it.
    TooHeavy(usize),
}

async fn ask(
    client: &Client,
    (room, most): (usize, usize),
    request: http::Request<Vec<u8>>,
) -> Result<Answer, Failure> {
    let fail = |cause: String| Failure { code: 0, cause, next: None };
    let answer = client.send(request.map(Body::from)).await.map_err(|error| fail(error.to_string()))?;
    let code = answer.status().as_u16();
    let is_success = answer.status().is_success();
    let (mut body, mut text) = (answer.into_body(), Vec::with_capacity(room));
    // Collected as frames and then put together, a page would be held twice.
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| fail(error.to_string()))?;
        text.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        if text.len() > most {
            return Ok(Answer::TooHeavy(text.len()));
        }
    }
    let text = String::from_utf8(text).map_err(|error| fail(error.to_string()))?;
    if is_success {
        return Ok(Answer::Whole(text));
    }
    let status: Option<Status> = serde_json::from_str(&text).ok();
    let cause = status.as_ref().map(|status| status.message.clone()).filter(|message| !message.is_empty());
    Err(Failure {
        code,
        cause: format!("{code}: {}", cause.unwrap_or_else(|| "no reason given".into())),
        next: status.and_then(|status| status.metadata?.continue_).filter(|next| !next.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_what_fits_into_four_megabytes() {
        for (objects, bytes, limit, room) in [
            (500, 500 * 8_192, 512, 512 * 9_216),
            (500, 500 * 1_000, 2000, 2000 * 1_125),
            (100, 100 * 1_000, 400, 400 * 1_125),
            (500, 500 << 20, 4, 4 * (9 << 17)),
            (1, 9 << 20, 1, 8 << 20),
            (1, 100, 4, 4 * 112),
            (0, 100, 4, 4 * 112),
            (100, 100 * 80_000, 52, 52 * 90_000),
        ] {
            assert_eq!(PageSize::after(objects, bytes), PageSize { limit, room }, "{objects} objects in {bytes} bytes");
        }
    }

    #[test]
    fn a_page_that_is_too_heavy_is_asked_for_with_ever_fewer_objects() {
        let sizes = std::iter::successors(Some(PageSize::FIRST), |size| (size.limit > 1).then(|| size.smaller()));
        let sizes: Vec<_> = sizes.map(|size| (size.limit, size.most() == MOST_BYTES)).collect();
        assert_eq!(sizes, [(100, true), (25, true), (6, true), (1, false)]);
    }

    #[test]
    fn a_page_says_where_it_goes_on() {
        let text =
            r#"{"kind":"PodList","metadata":{"continue":"abc","remainingItemCount":7},"items":[{"a":1},{"b":2}]}"#;
        let page: Page<'_> = serde_json::from_str(text).unwrap_or(Page { metadata: PageMeta::default(), items: None });
        assert_eq!(page.metadata.next.as_deref(), Some("abc"));
        assert_eq!(page.metadata.remaining_item_count, Some(7));
        let items: Vec<&str> = page.items.iter().flatten().map(|item| item.get()).collect();
        assert_eq!(items, [r#"{"a":1}"#, r#"{"b":2}"#]);
    }
}
