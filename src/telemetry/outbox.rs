//! What becomes of decisions that are to be reported.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::add;

/// Why a decision is not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lost {
    /// More came in at a time than could be written down.
    Queue,
    /// It was the oldest when there was no more room, or its file could not be read any more.
    Room,
    /// Whoever takes reports in says that it is wrong.
    Refused,
}

impl Lost {
    const ALL: [Self; 3] = [Self::Queue, Self::Room, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Room => "room",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LostLabels {
    kind: &'static str,
    reason: &'static str,
}

/// What is counted of the outbox.
#[derive(Debug, Clone)]
pub struct OutboxMetrics {
    /// Decisions that wait.
    pub queued: Gauge,
    /// Bytes that they take on disk.
    pub bytes: Gauge,
    /// Bytes that are in memory because no disk takes them.
    pub unwritten_bytes: Gauge,
    /// Age of the oldest that waits.
    pub oldest_age: Gauge,
    /// Decisions that were delivered.
    pub delivered: Counter,
    /// Attempts that failed, and are repeated.
    pub failures: Counter,
    /// Times that the disk did not take what was to be written.
    pub write_errors: Counter,
    /// Allowed decisions without violations that were too many to keep.
    pub sampled_out: Counter,
    dropped: Family<LostLabels, Counter>,
}

impl OutboxMetrics {
    /// Registers them; kinds are `clean` and `violation`.
    pub fn register(registry: &mut Registry) -> Self {
        let oldest_age = Gauge::default();
        let help = "Age of the oldest decision that waits to be reported";
        registry.register_with_unit("outbox_oldest_age", help, Unit::Seconds, oldest_age.clone());
        let dropped: Family<LostLabels, Counter> =
            add(registry, "outbox_dropped", "Decisions that are not reported, by kind and reason");
        for kind in ["clean", "violation"] {
            for reason in Lost::ALL {
                drop(dropped.get_or_create(&LostLabels { kind, reason: reason.as_str() }));
            }
        }
        Self {
            queued: add(registry, "outbox_queued", "Decisions that wait to be reported"),
            bytes: add(registry, "outbox_bytes", "Bytes that decisions take on disk until they are reported"),
            unwritten_bytes: add(registry, "outbox_unwritten_bytes", "Bytes of decisions that no disk has taken"),
            oldest_age,
            delivered: add(registry, "outbox_delivered", "Decisions that were reported"),
            failures: add(registry, "outbox_delivery_failures", "Reports that failed and are sent again"),
            write_errors: add(registry, "outbox_write_errors", "Times that the disk did not take decisions"),
            sampled_out: add(registry, "outbox_sampled_out", "Decisions without violations that were too many to keep"),
            dropped,
        }
    }

    /// Counts decisions that are not reported.
    pub fn drop_of(&self, kind: &'static str, lost: Lost, count: u64) {
        self.dropped.get_or_create(&LostLabels { kind, reason: lost.as_str() }).inc_by(count);
    }
}
