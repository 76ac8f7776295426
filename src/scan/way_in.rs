//! What is known of how a violation came in that is denied and that no decision explains.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::exemptions::covering;
use super::{ApiState, Kept};
use crate::admission::Action;
use crate::cluster::registration;
use crate::policy::{Mode, Severity};
use crate::report::finding::{Finding, State};
use crate::report::way_in::{Away, Denied, Evidence, WayIn};
use crate::store::{Audit, EnforcedSince, Presence, Stored, Trigger};
use crate::webhook::in_force::InForce;

/// Of whom nothing was heard for longer was away; a webhook is heard of every 15 seconds.
const SILENCE: SignedDuration = SignedDuration::from_secs(40);

/// Audits that are looked at, before the one that found something.
const AUDITS: usize = 20;

/// Says how a finding came in; nothing where a decision says it, where it is not denied, and of what is closed.
pub async fn way_in(
    state: &ApiState,
    kept: &Kept,
    in_force: &InForce,
    finding: &Finding,
    object: Option<&Json>,
) -> Stored<Option<WayIn>> {
    if finding.brought_in.is_some() || finding.action != Action::Deny || finding.state != State::Open {
        return Ok(None);
    }
    let place = place(finding);
    let found = finding.first_seen;
    let looks = looks(&kept.store.audits_until(&finding.object.cluster, found, AUDITS).await?, finding);
    let created = object.and_then(|object| object.pointer("/metadata/creationTimestamp")?.as_str()?.parse().ok());
    let after = looks.after.max(created);
    let own = state.app.own_namespace.as_deref();
    let unasked = (!place.is_empty() && !registration::is_sent(place, own))
        .then(|| format!("the registration that ships leaves the namespace {place} out"));
    // What is excused is not found: it must have ended in between.
    let then = after.map(|after| covering(in_force, finding, object, after)).unwrap_or_default();
    let exemption =
        then.into_iter().find(|exemption| !exemption.holds(found)).map(|exemption| exemption.name.to_string());
    // What comes back when an exemption ends was there all the time.
    let once = if finding.reopened > 0 { covering(in_force, finding, object, found) } else { Vec::new() };
    let now = Timestamp::now();
    let ended = once.into_iter().find(|exemption| !exemption.holds(now)).map(|exemption| exemption.name.to_string());
    let enforced = kept.store.enforced_since(&finding.object.cluster, place).await?;
    let evidence = Evidence {
        found,
        after,
        came_back: finding.reopened > 0,
        unasked: unasked.as_deref(),
        registered: registered(state).await,
        from: from(state, in_force, finding, place),
        denied: denied(&enforced, finding),
        exemption: exemption.as_deref(),
        ended: ended.as_deref(),
        away: match after {
            Some(after) if kept.answers_requests => looks.started_after(after).map(Away::Started),
            Some(after) => {
                let shortly_before = after.checked_sub(SILENCE).unwrap_or(after);
                let known = kept.store.presence(&finding.object.cluster, shortly_before).await?;
                unheard(&known, (after, found), now)
            }
            None => None,
        },
    };
    Ok(Some(evidence.way_in()))
}

/// Returns the namespace by whose modes an object is judged: a Namespace by its own.
fn place(finding: &Finding) -> &str {
    let object = &finding.object;
    if object.group.is_empty() && object.kind == "Namespace" { &object.name } else { &object.namespace }
}

/// What audits around the time say when something was found first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Looks {
    /// When the audit before began, which looked by the same rules and did not find it.
    after: Option<Timestamp>,
    /// When processes started.
    starts: Vec<Timestamp>,
}

impl Looks {
    fn started_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.starts.iter().copied().filter(|start| *start > after).min()
    }
}

/// Reads what audits say; the newest, which found it, stands first.
fn looks(audits: &[Audit], finding: &Finding) -> Looks {
    let group = if finding.object.group.is_empty() { "core" } else { &finding.object.group };
    let kind = format!("{group}/{}", finding.object.kind);
    let starts = audits.iter().filter(|audit| audit.trigger == Trigger::Start).map(|audit| audit.started).collect();
    let Some((found, earlier)) = audits.split_first() else { return Looks::default() };
    let before = earlier.iter().find(|audit| audit.state.is_through());
    let before = before.filter(|audit| audit.policies == found.policies && !audit.unread.contains_key(&kind));
    Looks { after: before.map(|audit| audit.started), starts }
}

/// Returns when nothing was heard of any webhook at some time between two others; nothing where that goes back to before
/// there was one. Given are the first, the last that was heard of long before, and all that were later.
fn unheard(known: &[Presence], (after, found): (Timestamp, Timestamp), now: Timestamp) -> Option<Away> {
    let first = known.first().filter(|first| first.since <= after)?;
    let mut until = first.heard;
    let away = |from: Timestamp, to: Timestamp| {
        let is_silence = to.duration_since(from) > SILENCE && from < found && to > after;
        is_silence.then_some(Away::Unheard { from, to })
    };
    for presence in known {
        if let Some(away) = away(until, presence.since) {
            return Some(away);
        }
        until = until.max(presence.heard);
    }
    away(until, now)
}

/// Returns since when one of the policies that deny it does.
fn denied(enforced: &[EnforcedSince], finding: &Finding) -> Option<Denied> {
    let denies = |one: &&EnforcedSince| {
        let least = one.severity.parse::<Severity>().ok();
        finding.policies.contains(&one.policy) && least.is_none_or(|least| finding.severity >= least)
    };
    let first = enforced.iter().filter(denies).min_by_key(|one| one.since)?;
    Some(Denied { not_before: first.not_before, since: first.since })
}

/// Returns the date from which it is denied, where it is not denied without one.
fn from(state: &ApiState, in_force: &InForce, finding: &Finding, place: &str) -> Option<Timestamp> {
    let modes = &in_force.config.modes;
    let grants = if place.is_empty() {
        modes.cluster_scoped_grants()
    } else {
        let known = state.app.known_namespaces(in_force);
        modes.grants(known.iter().find(|namespace| namespace.name == place)?, &*in_force.bundle)
    };
    let denies = grants
        .grants
        .iter()
        .filter(|grant| grant.mode == Mode::Enforce && finding.policies.iter().any(|policy| **policy == *grant.policy));
    let dates: Option<Vec<Timestamp>> = denies.map(|grant| grant.from).collect();
    dates?.into_iter().min()
}

/// Returns when the registration was made that stands, where Gatepost is installed in a cluster and may see it.
async fn registered(state: &ApiState) -> Option<Timestamp> {
    state.app.own_namespace.as_ref()?;
    registration::made(&state.reader.as_ref()?.client).await.ok().flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::RuleId;
    use crate::report::Verdict;
    use crate::report::finding::{Fingerprint, ObjectKey};
    use crate::store::AuditState;

    fn at(hour: u8) -> Timestamp {
        format!("2026-11-20T{hour:02}:00:00Z").parse().unwrap()
    }

    fn finding() -> Finding {
        let object =
            ObjectKey { kind: "Pod".into(), namespace: "shop".into(), name: "web".into(), ..ObjectKey::default() };
        let rule = RuleId::from("r");
        Finding {
            id: Fingerprint::new(&object, &rule, ""),
            object,
            api_version: "v1".into(),
            uid: String::new(),
            owner: String::new(),
            application: None,
            content: String::new(),
            rule,
            place: String::new(),
            result: Verdict::Fail,
            severity: Severity::High,
            category: String::new(),
            policies: vec!["baseline".into()],
            action: Action::Deny,
            path: String::new(),
            message: String::new(),
            state: State::Open,
            closed_because: None,
            closed_at: None,
            first_seen: at(10),
            last_seen: at(10),
            reopened: 0,
            brought_in: None,
            exemption: None,
        }
    }

    fn audit(hour: u8, trigger: Trigger, state: AuditState) -> Audit {
        Audit {
            id: i64::from(hour),
            cluster: String::new(),
            trigger,
            state,
            started: at(hour),
            finished: Some(at(hour)),
            policies: "p".into(),
            objects: 1,
            evaluated: 1,
            opened: 0,
            fixed: 0,
            closed: 0,
            unread: BTreeMap::new(),
        }
    }

    #[test]
    fn the_audit_before_says_after_when_it_came_if_it_looked() {
        use AuditState::{Abandoned, Complete, Partial};
        use Trigger::{Schedule, Start};
        let found = audit(10, Start, Complete);
        let of = |earlier: Audit| looks(&[found.clone(), earlier], &finding());
        let (after, starts) = (Some(at(8)), vec![at(10)]);
        assert_eq!(of(audit(8, Schedule, Complete)), Looks { after, starts });
        assert_eq!(of(audit(8, Schedule, Partial)).after, Some(at(8)));
        assert_eq!(of(audit(8, Schedule, Abandoned)).after, None);
        assert_eq!(of(Audit { policies: "other".into(), ..audit(8, Schedule, Complete) }).after, None);
        let unread = BTreeMap::from([("core/Pod".to_owned(), "403".to_owned())]);
        assert_eq!(of(Audit { unread, ..audit(8, Schedule, Partial) }).after, None);
        assert_eq!(looks(&[], &finding()), Looks::default());
        assert_eq!(of(audit(8, Start, Complete)).started_after(at(8)), Some(at(10)));
        assert_eq!(of(audit(8, Start, Complete)).started_after(at(10)), None);
    }

    #[test]
    fn a_webhook_that_was_not_heard_of_was_away() {
        let during = |since: u8, heard: u8| Presence { since: at(since), heard: at(heard) };
        let away = |from: u8, to: u8| Some(Away::Unheard { from: at(from), to: at(to) });
        let of = |known: &[Presence]| unheard(known, (at(8), at(12)), at(20));
        for (known, expected) in [
            (vec![], None),
            // Nobody knows who was there before the first one.
            (vec![during(9, 20)], None),
            (vec![during(1, 20)], None),
            (vec![during(1, 10), during(10, 20)], None),
            (vec![during(1, 10), during(9, 20)], None),
            (vec![during(1, 10), during(11, 20)], away(10, 11)),
            (vec![during(1, 2), during(11, 20)], away(2, 11)),
            (vec![during(1, 2), during(3, 4), during(11, 20)], away(4, 11)),
            (vec![during(1, 2), during(7, 20)], None),
            (vec![during(1, 10), during(14, 20)], away(10, 14)),
            (vec![during(1, 13), during(14, 20)], None),
            (vec![during(1, 10)], away(10, 20)),
            (vec![during(1, 13)], None),
        ] {
            assert_eq!(of(&known), expected, "{known:?}");
        }
        let soon = Presence { since: at(10) + SignedDuration::from_secs(30), heard: at(20) };
        assert_eq!(of(&[during(1, 10), soon]), None, "it only started anew");
    }

    #[test]
    fn the_first_of_the_policies_that_deny_it_counts() {
        let since = |policy: &str, severity: &str, hour| EnforcedSince {
            policy: policy.into(),
            severity: severity.into(),
            not_before: None,
            since: at(hour),
        };
        let of = |enforced: &[EnforcedSince]| denied(enforced, &finding()).map(|denied| denied.since);
        assert_eq!(of(&[since("baseline", "", 3), since("other", "", 1)]), Some(at(3)));
        assert_eq!(of(&[since("baseline", "critical", 1), since("baseline", "high", 4)]), Some(at(4)));
        assert_eq!(of(&[since("baseline", "critical", 1)]), None);
    }
}
