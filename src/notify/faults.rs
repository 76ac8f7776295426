//! What fails, and for how long: told once it has failed for a while, and again when it works.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::notice::{Item, Notice, SHOWN, some};
use crate::config::notifications::Event;

/// How long something must fail before it is told: what passes by itself needs nobody.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug)]
struct Fault {
    cause: String,
    since: Timestamp,
    is_told: bool,
}

/// What is known to fail.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<String, Fault>);

impl Faults {
    /// Compares what fails now with what did; returns what is to be told.
    pub(super) fn look(&mut self, failing: &BTreeMap<String, String>, cluster: &str, now: Timestamp) -> Vec<Notice> {
        let over: Vec<String> = self.0.keys().filter(|part| !failing.contains_key(*part)).cloned().collect();
        let ended = over.iter().filter_map(|part| self.0.remove(part).map(|fault| (part, fault)));
        let ended: Vec<(&String, Fault)> = ended.filter(|(_, fault)| fault.is_told).collect();
        for (part, cause) in failing {
            let fault = self.0.entry(part.clone()).or_insert_with(|| Fault {
                cause: String::new(),
                since: now,
                is_told: false,
            });
            fault.cause.clone_from(cause);
        }
        let mut begun = Vec::new();
        for (part, fault) in &mut self.0 {
            if !fault.is_told && now.duration_since(fault.since) >= PATIENCE {
                fault.is_told = true;
                begun.push(Item::new(&format!("{part}: {}", fault.cause)));
            }
        }
        let works = ended.iter().map(|(part, fault)| Item::new(&format!("{part}: it failed since {}", fault.since)));
        let told = [(begun, false), (works.collect(), true)].into_iter().filter(|(items, _)| !items.is_empty());
        told.map(|(items, is_over)| notice(items, is_over, cluster, now)).collect()
    }
}

fn notice(mut items: Vec<Item>, is_over: bool, cluster: &str, now: Timestamp) -> Notice {
    let mut notice = Notice::new(Event::Components, now, cluster);
    notice.count = u64::try_from(items.len()).unwrap_or(u64::MAX);
    let parts = some(notice.count, "part");
    notice.title = match (is_over, notice.count) {
        (true, 1) => "a part of Gatepost works again".to_owned(),
        (true, _) => format!("{parts} of Gatepost work again"),
        (false, 1) => "a part of Gatepost fails".to_owned(),
        (false, _) => format!("{parts} of Gatepost fail"),
    };
    notice.more = u64::try_from(items.len().saturating_sub(SHOWN)).unwrap_or(u64::MAX);
    items.truncate(SHOWN);
    (notice.items, notice.resolved) = (items, is_over);
    notice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_once_and_again_when_it_works() {
        let second = |second| Timestamp::from_second(second).unwrap_or_default();
        let failing = |cause: &str| BTreeMap::from([("reload".to_owned(), cause.to_owned())]);
        let mut faults = Faults::default();
        let mut look = |failing: &BTreeMap<String, String>, at| -> Vec<(bool, String)> {
            let notices = faults.look(failing, "", second(at));
            notices.iter().map(|notice| (notice.resolved, notice.plain())).collect()
        };
        assert!(look(&failing("a"), 0).is_empty() && look(&failing("a"), 59).is_empty());
        assert_eq!(look(&failing("b"), 60), [(false, "- reload: b\n".to_owned())]);
        assert!(look(&failing("c"), 600).is_empty());
        let works = look(&BTreeMap::new(), 601);
        assert!(matches!(works.as_slice(), [(true, text)] if text.starts_with("- reload: it failed since 1970-")));
        assert!(look(&BTreeMap::new(), 602).is_empty());
        assert!(look(&failing("a"), 603).is_empty() && look(&BTreeMap::new(), 604).is_empty(), "it passed by itself");
    }
}
