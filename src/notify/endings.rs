//! Exemptions that are about to end, or have ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::collect::{Due, Source};
use super::notice::{Item, Notice, SHOWN, some};
use super::route::{Recipient, Router};
use crate::config::notifications::{Event, Target};
use crate::policy::Exemption;
use crate::policy::exemption::SOON;

/// Returns what is due: each exemption is told of two weeks before its end, and when it has ended.
pub(super) fn due(source: &Source, target: &Target, (after, until): (Timestamp, Timestamp)) -> Due {
    let exemptions = source.around.exemptions();
    let namespaces = source.around.namespaces();
    let router = Router::new(target, &namespaces);
    let is_within = |time: Timestamp| after < time && time <= until;
    let mut shares: BTreeMap<Recipient, Vec<(Timestamp, Arc<Exemption>)>> = BTreeMap::new();
    for exemption in exemptions.list() {
        let Some(end) = exemption.expires else { continue };
        let begins_to_end = end.checked_sub(SOON).unwrap_or(Timestamp::UNIX_EPOCH);
        if (is_within(end) || is_within(begins_to_end))
            && let Some(recipient) = router.recipient(&exemption.name.namespace)
        {
            shares.entry(recipient).or_default().push((end, exemption.clone()));
        }
    }
    let notices = shares.into_iter().map(|(recipient, ending)| notice(source, recipient, ending, until));
    Due { notices: notices.collect(), through: Some(until) }
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
