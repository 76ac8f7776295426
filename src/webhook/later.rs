//! What is done after the answer has gone out, when there is nothing more urgent: judging for the record, and repeating
//! evaluations of users' rules on the interpreter. Under load it is given up.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::handlers::App;
use super::in_force::InForce;
use super::record::Later;
use crate::admission::decision::Deferred;
use crate::engine::{Budget, Limits, Machines, Repeat, Repeated};
use crate::telemetry::Metrics;

/// Objects that take so many bytes may wait to be judged for the record only.
const DEFERRED_BYTES: usize = 24 << 20;
/// Time for what only records, for one object.
const AUDIT_TIME: Duration = Duration::from_secs(1);

/// Has what only records judged when there is nothing more urgent, or not at all under load: the audit finds it again.
pub(super) fn judge_later(app: &Arc<App>, in_force: Arc<InForce>, deferred: Deferred, later: Later, size: usize) {
    let later = Arc::new(Mutex::new(Some(later)));
    let take = |later: &Mutex<Option<Later>>| later.lock().unwrap_or_else(PoisonError::into_inner).take();
    let waiting = later.clone();
    let is_queued = in_background(app, size, move |app, machines| {
        let limits = in_force.limits;
        let budget = Budget { limits, remaining: &|| AUDIT_TIME };
        let recorded = deferred.judge(machines, &budget);
        let decided = deferred.tell(&in_force.bundle, &recorded);
        app.note_uses(&decided.exempted);
        if let Some(later) = take(&waiting) {
            later.write(&decided, &app.metrics, app.outbox.as_ref());
        }
        repeat(&deferred.repeats(&recorded), limits, machines, &app.metrics);
    });
    if !is_queued {
        app.metrics.admission.audit_dropped.inc();
        if let Some(later) = take(&later) {
            later.give_up(app.outbox.as_ref());
        }
    }
}

/// Has evaluations repeated when there is nothing more urgent, or not at all under load: others will be.
pub(super) fn repeat_later(app: &Arc<App>, limits: Limits, repeats: Vec<Repeat>, size: usize) {
    if !repeats.is_empty() {
        in_background(app, size, move |app, machines| repeat(&repeats, limits, machines, &app.metrics));
    }
}

fn repeat(repeats: &[Repeat], limits: Limits, machines: &mut Machines, metrics: &Metrics) {
    let budget = Budget { limits, remaining: &|| AUDIT_TIME };
    for repeated in repeats.iter().map(|repeat| repeat.run(machines, &budget)) {
        metrics.vm.repeats.inc();
        if let Repeated::Different(difference) = repeated {
            metrics.vm.differences.inc();
            tracing::error!(
                rule = %difference.rule,
                digest = difference.digest,
                "the virtual machine judged otherwise than the interpreter, which evaluates the rule from now on",
            );
        }
    }
}

/// Queues a job that keeps a request of so many bytes; returns whether there was room.
fn in_background(app: &Arc<App>, size: usize, job: impl FnOnce(&App, &mut Machines) + Send + 'static) -> bool {
    let waiting = app.deferred_bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
    let place = Place { app: app.clone(), size };
    let job = move |machines: &mut Machines| {
        let place = place;
        job(&place.app, machines);
    };
    waiting <= DEFERRED_BYTES && app.workers.try_submit_background(job).is_ok()
}

/// The room that a request takes among those that wait for the record; free again however its job ends.
struct Place {
    app: Arc<App>,
    size: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.deferred_bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}
