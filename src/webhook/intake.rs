//! What every endpoint does first: reads the body within limit and deadline, and decodes the envelope.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::timeout;

use super::memory::{Full, ParseRoom, RequestMemory, TextRoom};
use crate::admission::Envelope;
use crate::telemetry::{Metrics, Overload, Throttle};

/// The deadline when the API server names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The API server waits no longer than this, whatever a query says.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a refused body is read, so that the answer arrives.
const DRAIN: Duration = Duration::from_secs(2);
/// Of the API server's timeout, at least this much is kept for the way back.
const LEAST_MARGIN: Duration = Duration::from_millis(50);
/// And at most this much.
const MOST_MARGIN: Duration = Duration::from_millis(500);
/// So much of a body that is larger than what is judged is kept all the same.
const OVERSIZE: usize = 16 << 20;

/// When an answer must be on its way.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline of a request that arrived then, with the query of its URL.
    fn of(start: Instant, query: Option<&str>) -> Self {
        let timeout = query.and_then(timeout_of).unwrap_or(DEFAULT_TIMEOUT).min(LONGEST_TIMEOUT);
        let margin = (timeout / 10).clamp(LEAST_MARGIN, MOST_MARGIN).min(timeout / 2);
        Self(start + timeout.saturating_sub(margin))
    }

    /// Returns the time left.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns how long to wait for a worker that was told of this deadline.
    pub fn patience(self) -> Duration {
        self.remaining() + LEAST_MARGIN / 2
    }
}

/// A request whose envelope could be read.
#[derive(Debug)]
pub struct Received {
    /// The request.
    pub envelope: Arc<Envelope>,
    /// When its answer must be on its way.
    pub deadline: Deadline,
    /// Bytes that the objects take once they are parsed, at most.
    pub weight: usize,
    /// The memory that it takes; kept until nothing of it is left.
    pub room: Arc<Room>,
}

/// The memory that a request takes, given back when dropped.
#[derive(Debug)]
pub struct Room {
    _text: TextRoom,
    _parsed: Option<ParseRoom>,
}

/// A body that is no AdmissionReview, or never came whole, or for which there is no room: the only requests that get no
/// AdmissionReview back.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    cause: String,
}

impl Refused {
    fn new(status: StatusCode, cause: impl Into<String>) -> Self {
        Self { status, cause: cause.into() }
    }

    /// Returns why in two words, for traces.
    pub fn reason(&self) -> &'static str {
        if self.status == StatusCode::SERVICE_UNAVAILABLE { "overloaded" } else { "no AdmissionReview" }
    }

    /// Counts it, if there was no room for it.
    pub fn count(&self, metrics: &Metrics) {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            metrics.admission.record_overload(Overload::Memory);
        }
    }
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, full.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        static THROTTLE: Throttle = Throttle::new();
        if let Some(held_back) = THROTTLE.pass() {
            tracing::warn!(cause = self.cause, held_back, "request refused");
        }
        (self.status, format!("{}\n", self.cause)).into_response()
    }
}

/// Reads a request that arrived at `start`; up to `max_body` bytes its objects can be judged, if there is memory.
pub async fn receive(
    start: Instant,
    query: Option<&str>,
    body: Body,
    max_body: usize,
    memory: &RequestMemory,
) -> Result<Received, Refused> {
    let deadline = Deadline::of(start, query);
    let read = timeout(deadline.remaining(), read(body, max_body, memory)).await;
    let late = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    let (body, cut_off, text) = read.map_err(late)??;
    let mut envelope = Envelope::decode(&body, cut_off.then_some(max_body))
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    drop(body);
    let mut weight = envelope.weight();
    if !memory.can_ever_parse(weight) {
        let cause = format!("the objects would take {} MiB of memory, more than is set aside", weight >> 20);
        envelope.refuse_objects(cause);
        weight = 0;
    }
    let parsed = memory.room_to_parse(weight, deadline.remaining()).await?;
    Ok(Received {
        envelope: Arc::new(envelope),
        deadline,
        weight,
        room: Arc::new(Room { _text: text, _parsed: parsed }),
    })
}

/// Reads a body; the second value says that it is larger than what is judged. Up to [`OVERSIZE`] beyond that it is kept,
/// for the envelope may stand behind the objects; what is larger still is read to its end, so that the answer arrives.
async fn read(mut body: Body, limit: usize, memory: &RequestMemory) -> Result<(Bytes, bool, TextRoom), Refused> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut room = match memory.enter(announced.min(limit)) {
        Ok(room) => room,
        Err(full) => return Err(refuse(full, body)),
    };
    let mut buffer = BytesMut::new();
    let mut size = 0_usize;
    let mut is_kept = true;
    while let Some(frame) = body.frame().await {
        let unreadable = |error| Refused::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"));
        let Ok(data) = frame.map_err(unreadable)?.into_data() else { continue };
        size = size.saturating_add(data.len());
        is_kept = is_kept && size <= limit.saturating_add(OVERSIZE);
        if !is_kept {
            continue;
        }
        match room.grow(data.len()) {
            Ok(()) => buffer.extend_from_slice(&data),
            // Beyond what is judged nothing has to be kept.
            Err(_) if size > limit => is_kept = false,
            Err(full) => return Err(refuse(full, body)),
        }
    }
    Ok((buffer.freeze(), size > limit, room))
}

/// Refuses a body at once; what is still to come of it is read for a moment and forgotten, for a client that writes does
/// not read.
fn refuse(full: Full, mut body: Body) -> Refused {
    tokio::spawn(timeout(DRAIN, async move { while let Some(Ok(_)) = body.frame().await {} }));
    full.into()
}

/// Returns the timeout that a query names; one that cannot be read is none.
fn timeout_of(query: &str) -> Option<Duration> {
    query.split('&').find_map(|pair| parse_timeout(pair.strip_prefix("timeout=")?))
}

/// Reads a duration as Go writes it: `10s`, `500ms`, `1m30s`.
fn parse_timeout(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = tail;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse_timeout, timeout_of};

    #[test]
    fn a_query_that_says_nothing_sensible_says_nothing() {
        assert_eq!(timeout_of("timeout=2s&timeout=1s"), Some(Duration::from_secs(2)));
        assert_eq!(timeout_of("a=b&timeout=2s"), Some(Duration::from_secs(2)));
        assert_eq!(timeout_of("timeout=soon"), None);
    }

    #[test]
    fn reads_timeouts_as_go_writes_them() {
        assert_eq!(parse_timeout("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_timeout("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_timeout("1.5s"), Some(Duration::from_millis(1500)));
        for odd in ["", "10", "s", "10x", "-1s"] {
            assert_eq!(parse_timeout(odd), None, "{odd}");
        }
    }
}
