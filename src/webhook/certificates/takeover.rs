//! When a serving certificate that is kept takes over from the one that is served.

use jiff::{SignedDuration, Timestamp};

use super::advance::{Plan, is_urgent};
use super::state::{Authority, State};
use super::x509::Leaf;

/// Returns what to serve of `next`: its serving certificate, or still the one that is `served`.
///
/// Somebody may have put an authority there together with what it issued, or another replica may have heard earlier that
/// an authority is published. As long as clients accept what is served, it goes on until they accept the other one too.
pub fn leaf_to_serve(next: &State, served: Option<&Leaf>, plan: &Plan<'_>, now: Timestamp) -> Option<Leaf> {
    let (Some(kept), Some(served)) = (&next.leaf, served) else { return next.leaf.clone() };
    let may_stay = |issuer: &Authority| lasts(issuer, plan, now) && accepts(issuer, served, now);
    let may_follow = |issuer: &Authority| {
        accepts(issuer, kept, now) && ((plan.is_published)(&issuer.certificate) || accepts(issuer, served, now))
    };
    let stays = kept != served
        && !is_urgent(served, now)
        && next.authorities.iter().any(may_stay)
        && !next.authorities.iter().any(may_follow);
    Some(if stays { served } else { kept }.clone())
}

fn accepts(issuer: &Authority, leaf: &Leaf, now: Timestamp) -> bool {
    leaf.is_accepted_by(&issuer.certificate, &leaf.names(), now).is_ok()
}

/// Returns whether an authority is still trusted for a while: whoever registers the webhook may take it out a little
/// earlier than this process looks.
fn lasts(issuer: &Authority, plan: &Plan<'_>, now: Timestamp) -> bool {
    let margin = SignedDuration::from_secs(plan.lifetimes.linger() / 2);
    issuer.trusted_until.is_none_or(|until| now.saturating_add(margin).is_ok_and(|soon| soon < until))
}
