//! Decisions as they are taken in, for whoever watches: `GET /api/v1/decisions/stream`, server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use jiff::Timestamp;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::ApiState;
use super::access::Caller;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::lists::NAMESPACE;
use super::names::Names;
use super::problem::Problem;
use super::random;
use super::traffic::{self, Span, Traffic};
use crate::store::{Batch, Decision, Store, Stored, Taken};

/// Decisions that are remembered for those who come back, and that may wait for one who reads slowly.
const REMEMBERED: usize = 2048;
/// How often a silent stream says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What comes in such a time goes out together: hundreds of listeners would else be woken for each decision.
const TOGETHER: Duration = Duration::from_millis(100);
/// Bytes that go out together, about.
const LARGEST_PART: usize = 64 << 10;
/// Comes first, so that browsers and proxies see the stream open before there is anything to tell.
const OPEN: &[u8] = b": open\n\n";
/// Says that the stream is there.
const STILL: &[u8] = b":\n\n";
/// Says that something was missed, which `/api/v1/decisions` has.
const GAP: &[u8] = b"event: gap\ndata: {\"read\":\"/api/v1/decisions\"}\n\n";

const STREAM: Endpoint = Endpoint {
    path: "/api/v1/decisions/stream",
    about: "Decisions as they are taken in, as server-sent events; Last-Event-ID goes on where a stream broke off",
    parameters: &[&[NAMESPACE, Parameter::new("state", Values::Some(&["allowed", "denied"]), "What was answered")]],
    gives: &["text/event-stream"],
    statuses: &[200, 409, 429],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&STREAM, stream)
}

/// A decision, and its number among all that this process took in.
#[derive(Debug, Clone)]
struct Numbered {
    number: u64,
    told: Arc<Once>,
}

/// A decision, and how it is told: written once, whoever listens.
#[derive(Debug)]
struct Once {
    decision: Decision,
    event: OnceLock<String>,
}

/// Tells what is taken in.
#[derive(Debug)]
pub struct Feed {
    /// The name of the cluster that is meant where nobody says which.
    cluster: String,
    /// Tells this process's numbers from those of another.
    epoch: String,
    told: Mutex<Told>,
    traffic: Mutex<Traffic>,
    stopped: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Told {
    last: u64,
    remembered: VecDeque<Numbered>,
    sender: broadcast::Sender<Numbered>,
}

/// What somebody who comes in gets.
struct Seat {
    /// What they missed.
    missed: VecDeque<Numbered>,
    /// Whether some of what they missed is not remembered any more.
    has_gap: bool,
    receiver: broadcast::Receiver<Numbered>,
}

impl Feed {
    /// Begins with nothing told; streams end when the process is told to stop.
    pub fn new(cluster: String, stopped: watch::Receiver<bool>) -> Self {
        let (sender, _) = broadcast::channel(REMEMBERED);
        let told = Told { last: 0, remembered: VecDeque::new(), sender };
        Self { cluster, epoch: random::hex::<4>(), told: Mutex::new(told), traffic: Mutex::default(), stopped }
    }

    /// Counts what was decided lately, before this process began.
    pub async fn remember(&self, store: &dyn Store) -> Stored<()> {
        let now = Timestamp::now();
        let lately = traffic::lately(store, now).await?;
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        for decision in &lately {
            traffic.count(decision, now);
        }
        Ok(())
    }

    /// Returns what was answered over the last day, the newest first.
    pub fn traffic(&self, now: Timestamp) -> Vec<Span> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner).spans(now)
    }

    /// Takes a report in, and tells of its decisions if it was not known.
    pub async fn take_in(&self, store: &dyn Store, batch: &Batch) -> Stored<Taken> {
        let batch = self.named(batch);
        let taken = store.take_in(&batch).await?;
        if taken == Taken::Stored {
            self.tell(&batch.decisions);
        }
        Ok(taken)
    }

    /// Returns a report with this cluster's name on decisions that name none; a check is of files, and of no cluster.
    fn named<'a>(&self, batch: &'a Batch) -> Cow<'a, Batch> {
        let own = if batch.cluster.is_empty() { &self.cluster } else { &batch.cluster };
        if own.is_empty() || batch.decisions.iter().all(|decision| !decision.cluster.is_empty()) {
            return Cow::Borrowed(batch);
        }
        let mut batch = batch.clone();
        for decision in batch.decisions.iter_mut().filter(|decision| decision.cluster.is_empty()) {
            decision.cluster.clone_from(own);
        }
        Cow::Owned(batch)
    }

    fn tell(&self, decisions: &[Decision]) {
        let now = Timestamp::now();
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        for decision in decisions {
            traffic.count(decision, now);
        }
        drop(traffic);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for decision in decisions {
            told.last = told.last.saturating_add(1);
            let once = Once { decision: decision.clone(), event: OnceLock::new() };
            let numbered = Numbered { number: told.last, told: Arc::new(once) };
            if told.remembered.len() == REMEMBERED {
                told.remembered.pop_front();
            }
            told.remembered.push_back(numbered.clone());
            // Nobody may be listening.
            let _ = told.sender.send(numbered);
        }
    }

    /// Lets somebody in who saw everything up to an event, or who begins now.
    fn enter(&self, last_event: Option<&str>) -> Seat {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = told.sender.subscribe();
        let Some(last_event) = last_event else { return Seat { missed: VecDeque::new(), has_gap: false, receiver } };
        let own = last_event.split_once('-').filter(|(epoch, _)| *epoch == self.epoch);
        let seen = own.and_then(|(_, number)| number.parse::<u64>().ok());
        // Of another process nobody knows what they saw: everything that is remembered may be new to them.
        let after = seen.unwrap_or_default();
        let missed: VecDeque<Numbered> =
            told.remembered.iter().filter(|numbered| numbered.number > after).cloned().collect();
        let first = missed.front().map_or(told.last.saturating_add(1), |numbered| numbered.number);
        Seat { missed, has_gap: seen.is_none() || first > after.saturating_add(1), receiver }
    }

    /// Returns a decision as an event. JSON holds no line breaks, so its data is one line.
    fn event<'a>(&self, numbered: &'a Numbered) -> &'a str {
        numbered.told.event.get_or_init(|| {
            let text = serde_json::to_string(&numbered.told.decision).unwrap_or_default();
            format!("event: decision\nid: {}-{}\ndata: {text}\n\n", self.epoch, numbered.number)
        })
    }
}

/// What a stream is narrowed to.
struct Wanted {
    caller: Caller,
    namespaces: Names,
    states: Vec<String>,
}

impl Wanted {
    fn takes(&self, decision: &Decision) -> bool {
        let is_one = |words: &[String], word: &str| words.is_empty() || words.iter().any(|known| known == word);
        self.caller.sees(&decision.namespace)
            && self.namespaces.mean(&decision.namespace)
            && is_one(&self.states, if decision.allowed { "allowed" } else { "denied" })
    }
}

/// Somebody who listens.
struct Listener {
    feed: Arc<Feed>,
    seat: Seat,
    wanted: Wanted,
    stopped: watch::Receiver<bool>,
    /// When something went out last; nothing before the stream is open.
    sent: Option<Instant>,
    _turn: OwnedSemaphorePermit,
}

impl Listener {
    /// Returns what they missed, and then waits for what comes.
    async fn told(&mut self) -> Result<Numbered, RecvError> {
        if let Some(missed) = self.seat.missed.pop_front() {
            return Ok(missed);
        }
        tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => Err(RecvError::Closed),
            told = self.seat.receiver.recv() => told,
        }
    }

    /// Returns what has come meanwhile.
    fn told_already(&mut self) -> Result<Numbered, TryRecvError> {
        self.seat.missed.pop_front().map_or_else(|| self.seat.receiver.try_recv(), Ok)
    }

    /// Waits for the next part of the stream; nothing when it ends.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let part = self.part().await?;
        self.sent = Some(Instant::now());
        Some((Ok(part), self))
    }

    async fn part(&mut self) -> Option<Bytes> {
        let Some(sent) = self.sent else { return Some(Bytes::from_static(OPEN)) };
        if std::mem::take(&mut self.seat.has_gap) {
            return Some(Bytes::from_static(GAP));
        }
        let mut part = String::new();
        // What others are told does not show that this stream is alive.
        let silent_until = Instant::now() + HEARTBEAT;
        while part.is_empty() {
            match timeout_at(silent_until, self.told()).await {
                Err(_) => return Some(Bytes::from_static(STILL)),
                Ok(Ok(numbered)) => self.add(&numbered, &mut part),
                Ok(Err(RecvError::Lagged(_))) => return Some(Bytes::from_static(GAP)),
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
        sleep_until(sent + TOGETHER).await;
        while part.len() < LARGEST_PART {
            match self.told_already() {
                Ok(numbered) => self.add(&numbered, &mut part),
                Err(TryRecvError::Lagged(_)) => {
                    self.seat.has_gap = true;
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some(part.into())
    }

    fn add(&self, numbered: &Numbered, part: &mut String) {
        if self.wanted.takes(&numbered.told.decision) {
            part.push_str(self.feed.event(numbered));
        }
    }
}

async fn stream(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let turn = state.streams.clone().try_acquire_owned();
    let turn = turn.map_err(|_| Problem::too_many("as many streams as there is room for are open"))?;
    let last_event = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let listener = Listener {
        seat: kept.feed.enter(last_event),
        stopped: kept.feed.stopped.clone(),
        feed: kept.feed.clone(),
        wanted: Wanted { caller, namespaces: Names::of(&query)?, states: query.list("state").to_vec() },
        sent: None,
        _turn: turn,
    };
    // Some proxies gather an answer unless they are told not to.
    let head = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    let body = Body::from_stream(stream::unfold(listener, Listener::next));
    Ok((head, [("x-accel-buffering", "no")], body).into_response())
}
