//! Whether what people apply comes to Gatepost: the registration, the certificates, and what a page says aloud of them.

use jiff::{SignedDuration, Timestamp};

use super::caveats::Caveat;
use super::shell::Visit;
use super::status::Line;
use super::words::count;
use crate::cluster::registration::live::{Asks, Live};
use crate::policy::{Mode, NamespaceMeta};
use crate::scan::access::Caller;
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Filter, PageQuery, TimeSort};
use crate::telemetry::registration::Standing;

/// Nobody applies anything for so long in a cluster that is used.
const SILENT: SignedDuration = SignedDuration::from_hours(24);
/// Certificates are exchanged long before they have so little left.
const SHORT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Says what is registered, and whether that is trusted; nothing where there is no cluster.
pub async fn lines(state: &ApiState, now: Timestamp) -> Vec<Line> {
    let Some(registered) = &state.registered else { return Vec::new() };
    let live = match registered.look().await {
        Ok(live) => live,
        Err(error) => {
            return vec![Line::new("Registration", "record", format!("It cannot be read: {error}"))];
        }
    };
    let is_paused = state.app.metrics.registration.standing() == Standing::Paused;
    let leaf = state.app.metrics.certificates.leaf_ends();
    let mut lines = vec![registration(&live, state.app.own_namespace.is_some(), is_paused)];
    lines.extend(certificates(leaf, live.trusts_until, now));
    lines
}

fn registration(live: &Live, is_installed: bool, is_paused: bool) -> Line {
    let of = |tone, says: &str| Line::new("Registration", tone, says);
    match live.asks {
        Asks::Nothing if !is_installed => {
            of("record", "This process is not installed in the cluster, and nothing is registered there as gatepost")
        }
        Asks::Nothing if is_paused => of("deny", "Somebody deleted the registration, and Gatepost leaves it so")
            .mend("gatepost doctor --resume has it written again"),
        Asks::Nothing => of("deny", "There is no ValidatingWebhookConfiguration gatepost: the API server asks nobody")
            .mend("kubectl apply -f manifests/install.yaml; with registration: self the webhook's log says why not"),
        Asks::Probes => of("deny", "The API server only asks whether Gatepost can be reached: it was not, so far")
            .mend("The webhook's log and gatepost doctor say what is in the way"),
        Asks::Objects if !live.distrusting.is_empty() => {
            let says = format!(
                "caBundle is empty in {}: the API server does not trust whom it asks",
                live.distrusting.join(", ")
            );
            of("deny", &says)
                .mend("Gatepost writes it by itself unless registration is none: the webhook's log says why not")
        }
        Asks::Objects => of("good", "The API server asks about objects, and trusts the authorities in caBundle"),
    }
}

/// Says how long certificates are still good; nothing where none is known here.
fn certificates(leaf: Option<Timestamp>, authority: Option<Timestamp>, now: Timestamp) -> Option<Line> {
    let left = |what: &str, ends: Timestamp| {
        let left = ends.duration_since(now);
        let days = u64::try_from(left.as_hours() / 24).unwrap_or_default();
        if left.is_positive() {
            format!("{what} is good for {}", count(days, "day", "days"))
        } else {
            format!("{what} is over")
        }
    };
    let known = [("the serving certificate", leaf), ("what the API server trusts", authority)];
    let known: Vec<(&str, Timestamp)> = known.into_iter().filter_map(|(what, ends)| Some((what, ends?))).collect();
    let first = known.iter().map(|(_, ends)| ends.duration_since(now)).min()?;
    let says: Vec<String> = known.iter().map(|(what, ends)| left(what, *ends)).collect();
    let says = says.join(", ");
    let says = says.get(..1).unwrap_or_default().to_ascii_uppercase() + says.get(1..).unwrap_or_default();
    Some(match first {
        first if !first.is_positive() => Line::new("Certificates", "deny", says)
            .mend("The API server reaches nobody: the webhook's log says why no new one was made"),
        first if first < SHORT => Line::new("Certificates", "warn", says)
            .mend("A new one should be there by now: the webhook's log says why not"),
        _ => Line::new("Certificates", "good", says),
    })
}

/// Says what this process itself has noted as wrong, a line for each part; only to whoever sees everything.
pub fn notes(state: &ApiState, caller: &Caller) -> Vec<Line> {
    if caller.globs().is_some() {
        return Vec::new();
    }
    let named = |part: &str| match part {
        "reload" => Some("Configuration"),
        "registration" => Some("Registration, as this process keeps it"),
        "certificates" => Some("Certificates, as this process keeps them"),
        "client-ca" => Some("Client authorities"),
        "reports" => Some("Reports"),
        // The store has a line of its own, and conditions are over before a page is asked for.
        _ => None,
    };
    let faults = state.readiness.faults().into_iter();
    faults.filter_map(|(part, says)| Some(Line::new(named(&part)?, "warn", says))).collect()
}

/// Returns what the first page says aloud when nothing comes to Gatepost, where that can be told.
pub async fn alarm(state: &ApiState, caller: &Caller, visit: &Visit) -> Result<Option<Caveat>, Problem> {
    let Some(registered) = state.registered.as_ref().filter(|_| state.app.own_namespace.is_some()) else {
        return Ok(None);
    };
    // Whoever may not look cannot tell; the status says so.
    let Ok(live) = registered.look().await else { return Ok(None) };
    let last = match &state.kept {
        Some(kept) if caller.globs().is_none() && is_enforced(state) => Heard::of(last_asked(kept).await?),
        _ => Heard::Unlooked,
    };
    Ok(unheard(&live, last, visit.now))
}

/// When somebody last asked.
#[derive(Debug, Clone, Copy)]
enum Heard {
    /// Nobody looks where no namespace enforces.
    Unlooked,
    /// Nobody has.
    Never,
    /// Then.
    At(Timestamp),
}

impl Heard {
    fn of(last: Option<Timestamp>) -> Self {
        last.map_or(Self::Never, Self::At)
    }
}

/// Returns what is wrong when nothing comes.
fn unheard(live: &Live, last: Heard, now: Timestamp) -> Option<Caveat> {
    let caveat = |title: &str, text: &str| Caveat {
        tone: "bad",
        title: title.to_owned(),
        text: text.to_owned(),
        link: ("/status".to_owned(), "What is wrong, and how to mend it"),
    };
    let silent = || {
        caveat(
            "The API server has not asked Gatepost for a day",
            "Namespaces enforce, and nothing came that could be denied.",
        )
    };
    let is_long_ago = |time: Timestamp| now.duration_since(time) > SILENT;
    match (live.asks, last) {
        (Asks::Nothing, _) => Some(caveat(
            "The API server does not ask Gatepost",
            "There is no registration, so nothing is judged: whatever is applied goes through.",
        )),
        (Asks::Probes, _) => Some(caveat(
            "The API server does not ask Gatepost about objects",
            "It has not reached it so far, so nothing is judged: whatever is applied goes through.",
        )),
        (Asks::Objects, _) if !live.distrusting.is_empty() => Some(caveat(
            "The API server does not trust Gatepost",
            "Its caBundle is empty: requests go unjudged, or are refused where failurePolicy is Fail.",
        )),
        (Asks::Objects, Heard::At(last)) if is_long_ago(last) => Some(silent()),
        (Asks::Objects, Heard::Never) if live.made.is_some_and(is_long_ago) => Some(silent()),
        (Asks::Objects, _) => None,
    }
}

fn is_enforced(state: &ApiState) -> bool {
    let in_force = state.app.in_force.load();
    let enforces = |namespace: &NamespaceMeta| {
        let grants = in_force.config.modes.grants(namespace, &*in_force.bundle).grants;
        grants.iter().any(|grant| grant.mode == Mode::Enforce)
    };
    state.app.known_namespaces(&in_force).iter().any(|namespace| enforces(namespace))
}

async fn last_asked(kept: &Kept) -> Result<Option<Timestamp>, Problem> {
    let asked = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: None, limit: 1 };
    Ok(kept.store.decisions(&asked).await?.items.first().map(|decision| decision.time))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    fn live(asks: Asks) -> Live {
        Live { asks, made: None, distrusting: Vec::new(), trusts_until: None }
    }

    #[test]
    fn a_registration_that_is_not_there_is_a_problem_where_gatepost_is_installed() {
        for (asks, is_installed, is_paused, expected) in [
            (Asks::Nothing, false, false, "record"),
            (Asks::Nothing, true, false, "deny"),
            (Asks::Nothing, true, true, "deny"),
            (Asks::Probes, true, false, "deny"),
            (Asks::Objects, true, false, "good"),
        ] {
            assert_eq!(registration(&live(asks), is_installed, is_paused).tone, expected, "{asks:?} {is_installed}");
        }
        let distrusting = Live { distrusting: vec!["x".into()], ..live(Asks::Objects) };
        assert_eq!(registration(&distrusting, true, false).tone, "deny");
    }

    #[test]
    fn certificates_are_told_by_the_days_that_are_left() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let after = |days: i64| Some(now + SignedDuration::from_hours(24 * days));
        for (leaf, authority, tone, says) in [
            (
                after(60),
                after(300),
                "good",
                "The serving certificate is good for 60 days, what the API server trusts is good for 300 days",
            ),
            (None, after(3), "warn", "What the API server trusts is good for 3 days"),
            (after(-1), None, "deny", "The serving certificate is over"),
        ] {
            let line = certificates(leaf, authority, now).unwrap();
            assert_eq!((line.tone, &*line.says), (tone, says));
        }
        assert_eq!(certificates(None, None, now), None);
    }

    #[test]
    fn the_first_page_says_aloud_that_nothing_comes() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let ago = |hours: i64| Some(now - SignedDuration::from_hours(hours));
        let registered = live(Asks::Objects);
        let made = Live { made: ago(100), ..live(Asks::Objects) };
        let distrusting = Live { distrusting: vec!["x".into()], ..live(Asks::Objects) };
        for (live, last, is_told) in [
            (live(Asks::Nothing), Heard::Unlooked, true),
            (live(Asks::Probes), Heard::Unlooked, true),
            (distrusting, Heard::Unlooked, true),
            (registered.clone(), Heard::Unlooked, false),
            (registered.clone(), Heard::of(ago(1)), false),
            (registered.clone(), Heard::of(ago(25)), true),
            (registered, Heard::Never, false),
            (made, Heard::Never, true),
        ] {
            assert_eq!(unheard(&live, last, now).is_some(), is_told, "{live:?} {last:?}");
        }
    }
}
