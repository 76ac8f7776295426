//! Exemptions that are about to end, or have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::collect::{Due, Source};
use super::notice::{Item, Notice, SHOWN, some};
use super::route::{Recipient, Router};
use crate::config::notifications::{Event, Target};
use crate::policy::Exemption;
use crate::policy::exemption::ExemptionState;

/// Returns what is due: each exemption is told of two weeks before its end, or when it is first seen after that, and when
/// it has ended; `told` are those that need not be told of before their end again.
pub(super) fn due(
    source: &Source,
    target: &Target,
    (after, until): (Timestamp, Timestamp),
    told: &BTreeSet<String>,
) -> Due {
    let exemptions = source.around.exemptions();
    let namespaces = source.around.namespaces();
    let router = Router::new(target, &namespaces);
    let is_within = |time: Timestamp| after < time && time <= until;
    let mut shares: BTreeMap<Recipient, Vec<(Timestamp, Arc<Exemption>)>> = BTreeMap::new();
    let mut telling = Vec::new();
    for exemption in exemptions.list() {
        let Some(end) = exemption.expires else { continue };
        let key = key(exemption, end);
        let is_ending = exemption.state(until) == ExemptionState::Ending && !told.contains(&key);
        if (is_within(end) || is_ending)
            && let Some(recipient) = router.recipient(&exemption.name.namespace)
        {
            shares.entry(recipient).or_default().push((end, exemption.clone()));
            telling.extend(is_ending.then_some((key, end)));
        }
    }
    let notices = shares.into_iter().map(|(recipient, ending)| notice(source, recipient, ending, until));
    Due { notices: notices.collect(), through: Some(until), telling }
}

/// Returns the words by which is kept that an exemption was told of before its end: with another end it is another one.
fn key(exemption: &Exemption, end: Timestamp) -> String {
    format!("{} {} {end}", Event::Exemptions, exemption.name)
}

fn notice(
    source: &Source,
    recipient: Recipient,
    mut exemptions: Vec<(Timestamp, Arc<Exemption>)>,
    now: Timestamp,
) -> Notice {
    exemptions.sort_by_key(|(end, _)| *end);
    let mut notice = Notice::new(Event::Exemptions, now, &source.cluster);
    notice.recipient = recipient;
    notice.url = source.links.page("/exemptions");
    notice.count = u64::try_from(exemptions.len()).unwrap_or(u64::MAX);
    let ended = exemptions.iter().filter(|(end, _)| *end <= now).count();
    let (ended, ending) =
        (some(count(ended), "exemption"), some(count(exemptions.len().saturating_sub(ended)), "exemption"));
    notice.title = match (ended.starts_with("0 "), ending.starts_with("0 ")) {
        (true, _) => format!("{ending} will end within two weeks"),
        (false, true) => format!("{ended} ended; what they excused counts again"),
        (false, false) => format!("{ended} ended, {ending} will end within two weeks"),
    };
    notice.more = count(exemptions.len().saturating_sub(SHOWN));
    notice.items = exemptions.iter().take(SHOWN).map(|(end, exemption)| item(*end, exemption, now)).collect();
    notice
}

/// Says of an exemption when it ends, and who answers for it.
pub(super) fn item(end: Timestamp, exemption: &Exemption, now: Timestamp) -> Item {
    let word = if end <= now { "ended" } else { "ends" };
    let Exemption { name, owner, reason, .. } = exemption;
    let namespace = name.namespace.to_string();
    Item {
        namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
        ..Item::new(&format!("{name} {word} {end} (owner {owner}): {reason}"))
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
