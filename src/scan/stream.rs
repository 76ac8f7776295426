//! Scans that are answered while they come in, in constant memory.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::ApiState;
use super::evaluate::{LINES, Plan, SILENCE};
use super::lines::Lines;
use super::problem::Problem;
use crate::engine::Machines;
use crate::input::paths::STDIN;
use crate::input::{Chunk, Fault, Splitter};
use crate::report::{EngineVersion, FileReport, LineReport, Tally};

/// Parts of a body that wait, on the way in and on the way out.
const WAITING: usize = 8;

/// What is read at a time, in bytes; a document may be longer than the limit by as much before that shows.
const BUFFER: usize = 8 << 10;

type Part = Result<Bytes, &'static str>;

/// Has a body judged as it comes, and answers with the lines as they are made.
pub fn answer(
    state: &ApiState,
    plan: Plan,
    is_lines: bool,
    body: Body,
    permit: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let (input, incoming) = channel(WAITING);
    let (outgoing, output) = channel(WAITING);
    let writer = Writer { parts: outgoing, runtime: Handle::current() };
    let limit = state.max_scan_bytes;
    let job = move |machines: &mut Machines| {
        let _permit = permit;
        judge(&plan, Incoming::new(incoming, limit), is_lines, machines, &writer);
    };
    let waiting = state.pool.try_submit(job).map_err(|_| Problem::unavailable("too many scans wait for a thread"))?;
    tokio::spawn(pump(body, input));
    // Whoever drops the job before it begins takes it out of the queue: it must live as long as its answer.
    let parts = stream::unfold((output, waiting), |(mut output, waiting)| async {
        let part: Bytes = output.recv().await?;
        Some((Ok::<_, Infallible>(part), (output, waiting)))
    });
    Ok(([(CONTENT_TYPE, LINES)], Body::from_stream(parts)).into_response())
}

/// Hands the body on as it comes; a client that falls silent is given up.
async fn pump(mut body: Body, input: Sender<Part>) {
    loop {
        let part = match timeout(SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame.into_data().map_err(|_| "trailers"),
            Ok(None) => return,
            Ok(Some(Err(_))) => Err("the body broke off"),
            Err(_) => Err("the client fell silent"),
        };
        let is_last = part.is_err();
        if part != Err("trailers") && (input.send(part).await.is_err() || is_last) {
            return;
        }
    }
}

fn judge(plan: &Plan, incoming: Incoming, is_lines: bool, machines: &mut Machines, writer: &Writer) {
    let (pending, failed) = (incoming.pending.clone(), incoming.failed.clone());
    let reader = BufReader::with_capacity(BUFFER, incoming);
    let chunks: Box<dyn Iterator<Item = Result<Chunk, Fault>>> =
        if is_lines { Box::new(Lines::new(reader)) } else { Box::new(Splitter::new(reader)) };
    let mut tally = Tally::default();
    let is_heard = plan.with_scanner(|scanner| {
        for chunk in chunks {
            pending.set(0);
            let mut report = FileReport { file: STDIN.into(), ..FileReport::default() };
            match chunk {
                Ok(chunk) => scanner.document(&chunk, machines, &mut report),
                Err(fault) => report.faults.push(fault),
            }
            tally.add(&report);
            if !writer.write(LineReport::file(&report)) {
                return false;
            }
        }
        true
    });
    if is_heard {
        let engine = EngineVersion::of(&plan.in_force.bundle);
        writer.write(LineReport::end(&engine, &tally, !failed.get()));
    }
}

/// Sends lines to the client, and gives up on one that does not read them.
struct Writer {
    parts: Sender<Bytes>,
    runtime: Handle,
}

impl Writer {
    fn write(&self, text: String) -> bool {
        if text.is_empty() {
            return !self.parts.is_closed();
        }
        let sent = self.runtime.block_on(async { timeout(SILENCE, self.parts.send(Bytes::from(text))).await });
        matches!(sent, Ok(Ok(())))
    }
}

/// Reads a body from a thread; no document may be longer than the limit.
struct Incoming {
    parts: Receiver<Part>,
    current: Bytes,
    limit: usize,
    /// Bytes since the last document was whole.
    pending: Rc<Cell<usize>>,
    failed: Rc<Cell<bool>>,
}

impl Incoming {
    fn new(parts: Receiver<Part>, limit: usize) -> Self {
        Self { parts, current: Bytes::new(), limit, pending: Rc::default(), failed: Rc::default() }
    }

    fn fail(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
        self.failed.set(true);
        io::Error::other(cause)
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.parts.blocking_recv() {
                None => return Ok(0),
                Some(Ok(part)) => self.current = part,
                Some(Err(cause)) => return Err(self.fail(cause)),
            }
        }
        let pending = self.pending.get().saturating_add(self.current.len().min(buffer.len()));
        if pending > self.limit.saturating_add(BUFFER) {
            return Err(self.fail(format!("a document is longer than {} bytes", self.limit)));
        }
        self.pending.set(pending);
        let length = self.current.len().min(buffer.len());
        let part = self.current.split_to(length);
        if let Some(place) = buffer.get_mut(..length) {
            place.copy_from_slice(&part);
        }
        Ok(length)
    }
}
