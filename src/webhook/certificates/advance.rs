//! What certificates should be now: who is trusted, who issues, what is served. Time is passed in, nothing is kept here.
//!
//! A new authority is trusted first and issues later, when clients have had time to hear of it. The one before it goes
//! on issuing until then, and is trusted for a while after, for another replica may still serve what it issued.

use jiff::{SignedDuration, Timestamp};

use super::CertificateError;
use super::issue::{self, Name};
use super::state::{Authority, State};
use super::x509::{Certificate, Leaf};

/// From 30 days before its end a certificate is renewed, or from the last third of a short life.
const RENEW_BEFORE_SECONDS: i64 = 30 * 24 * 60 * 60;
/// How long a new authority is trusted before it issues, unless something else is asked for.
const LONGEST_OVERLAP_SECONDS: i64 = 30 * 24 * 60 * 60;
/// How long clients that are told of a new authority take to trust it.
const SETTLE_SECONDS: i64 = 5;
/// How long other replicas may serve what a former authority issued.
const LINGER_SECONDS: i64 = 60 * 60;

/// How long things last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// An authority, in seconds.
    pub authority: i64,
    /// A serving certificate, in seconds.
    pub leaf: i64,
    /// From when a new authority is trusted until it issues, in seconds.
    pub overlap: i64,
}

impl Lifetimes {
    /// Checks that certificates can take turns; without an overlap it is a tenth of the authority's life, at most 30 days.
    pub fn new(authority: i64, leaf: i64, overlap: Option<i64>) -> Result<Self, &'static str> {
        let overlap = overlap.unwrap_or_else(|| (authority / 10).clamp(1, LONGEST_OVERLAP_SECONDS));
        if leaf > authority / 2 {
            return Err("--tls-lifetime is longer than half of --ca-lifetime");
        }
        if overlap > authority / 4 {
            return Err("--ca-overlap is longer than a quarter of --ca-lifetime");
        }
        Ok(Self { authority, leaf, overlap })
    }

    /// Returns how long whoever looks at what changed by hand waits until clients must have heard of it, in seconds.
    pub fn settle(self) -> i64 {
        SETTLE_SECONDS.min(self.overlap)
    }

    /// Returns for how long a former authority is still trusted, in seconds.
    pub fn linger(self) -> i64 {
        LINGER_SECONDS.min(self.overlap)
    }

    /// Returns with how much time left an authority gets a successor: enough that the successor is trusted before, and
    /// that until then every serving certificate can have its full life.
    fn authority_margin(self, authority: &Certificate) -> i64 {
        (self.leaf + self.overlap).min(authority.life_seconds() / 2)
    }
}

/// Says whether every registration has held an authority for long enough.
pub type IsPublished<'a> = &'a (dyn Fn(&Certificate) -> bool + Sync);

/// What is wanted.
pub struct Plan<'a> {
    /// The names that the serving certificate must bear.
    pub names: &'a [Name],
    /// How long things last.
    pub lifetimes: Lifetimes,
    /// Says whether every registration has held an authority for long enough; true where nobody manages them.
    pub is_published: IsPublished<'a>,
}

/// Returns what should be, given what is kept, and what this process has served so far.
///
/// What is in force and not kept any more, because somebody replaced or removed it, stays trusted for as long as it may
/// be served somewhere.
pub fn advance(
    kept: &State,
    in_force: Option<&State>,
    plan: &Plan<'_>,
    now: Timestamp,
) -> Result<State, CertificateError> {
    let mut next = Next { state: kept.clone(), plan, now };
    let is_removed = kept.authorities.is_empty() && in_force.is_some();
    if let Some(in_force) = in_force {
        next.recollect(in_force);
    }
    next.state.authorities.retain(|authority| !authority.is_over(now));
    next.schedule();
    next.succeed(is_removed)?;
    next.renew()?;
    next.retire();
    Ok(next.state)
}

/// Returns whether a serving certificate has so little time left that something has gone wrong.
pub fn is_urgent(leaf: &Leaf, now: Timestamp) -> bool {
    leaf.certificate.remaining_seconds(now) <= margin(&leaf.certificate) / 2
}

/// Returns with how much time left a serving certificate is renewed, in seconds.
fn margin(leaf: &Certificate) -> i64 {
    RENEW_BEFORE_SECONDS.min(leaf.life_seconds() / 3)
}

/// What should be, in the making.
struct Next<'a> {
    state: State,
    plan: &'a Plan<'a>,
    now: Timestamp,
}

impl Next<'_> {
    /// Adds what is in force and was taken away; the key of an authority only when all was removed together.
    fn recollect(&mut self, in_force: &State) {
        let is_removed = self.state.authorities.is_empty();
        for authority in &in_force.authorities {
            let key = authority.key.clone().filter(|_| is_removed);
            self.state.add(Authority { key, ..authority.clone() });
        }
        if self.holder().is_none() {
            let kept = self.state.leaf.take();
            self.state.leaf.clone_from(&in_force.leaf);
            if self.holder().is_none() {
                self.state.leaf = kept;
            }
        }
    }

    /// Returns the place of the authority by which clients accept the serving certificate for every name.
    fn holder(&self) -> Option<usize> {
        self.holder_for(self.plan.names)
    }

    fn holder_for(&self, names: &[Name]) -> Option<usize> {
        let leaf = self.state.leaf.as_ref().filter(|leaf| leaf.certificate.ends > self.now)?;
        let accepts = |authority: &Authority| leaf.is_accepted_by(&authority.certificate, names, self.now).is_ok();
        self.state.authorities.iter().position(accepts)
    }

    /// Decides from when an authority may issue that somebody put there.
    fn schedule(&mut self) {
        let issues_from = if self.holder().is_some() { self.after(self.plan.lifetimes.settle()) } else { self.now };
        for authority in &mut self.state.authorities {
            if authority.key.is_some() && authority.issues_from.is_none() {
                authority.issues_from = Some(issues_from);
            }
        }
    }

    /// Makes the next authority when the newest nears its end, or is gone.
    fn succeed(&mut self, is_removed: bool) -> Result<(), CertificateError> {
        let lifetimes = self.plan.lifetimes;
        let is_due = match self.state.authorities.iter().find(|authority| authority.key.is_some()) {
            _ if is_removed => true,
            Some(newest) => {
                newest.certificate.remaining_seconds(self.now) <= lifetimes.authority_margin(&newest.certificate)
            }
            // Somebody gave a certificate without its authority's key: it is served for as long as it lasts.
            None => self.holder().is_none() || self.state.leaf.as_ref().is_some_and(|leaf| is_urgent(leaf, self.now)),
        };
        if !is_due {
            return Ok(());
        }
        let wait = if is_removed { lifetimes.settle() } else { lifetimes.overlap };
        let (certificate, key) = issue::authority(lifetimes.authority, self.now)?;
        let issues_from = Some(self.after(wait.min(self.time_left())));
        self.state.authorities.insert(0, Authority { certificate, key: Some(key), issues_from, trusted_until: None });
        Ok(())
    }

    /// Returns for how many seconds what there is can be served without a new authority.
    fn time_left(&self) -> i64 {
        let Some(holder) = self.holder().and_then(|holder| self.state.authorities.get(holder)) else { return 0 };
        let leaf = self.state.leaf.as_ref().map(|leaf| &leaf.certificate);
        let lasting = if holder.key.is_some() { Some(&holder.certificate) } else { leaf };
        lasting.map_or(0, |certificate| (certificate.remaining_seconds(self.now) - guard(certificate)).max(0))
    }

    /// Issues a serving certificate if there is none that clients accept, it is due, or another authority takes over.
    fn renew(&mut self) -> Result<(), CertificateError> {
        let holder = self.holder();
        let ready = self.state.authorities.iter().position(|authority| self.is_ready(authority));
        let last = self.state.authorities.iter().rposition(|authority| self.is_able(authority));
        let issuer = match (holder, ready) {
            (Some(holder), Some(ready)) if ready < holder => Some(ready),
            (Some(holder), _) if !self.is_due(holder) => None,
            (Some(holder), _) if self.state.authorities.get(holder).is_some_and(|held| self.is_able(held)) => {
                Some(holder)
            }
            (_, Some(ready)) => Some(ready),
            (_, None) => last,
        };
        let Some((issuer, key)) = issuer.and_then(|issuer| {
            let issuer = self.state.authorities.get(issuer)?;
            Some((issuer, issuer.key.as_ref()?))
        }) else {
            return Ok(());
        };
        let life = self.plan.lifetimes.leaf.min(issuer.certificate.remaining_seconds(self.now));
        let leaf = issue::leaf(&issuer.certificate, key, &self.names(holder), life, self.now)?;
        self.state.leaf = Some(leaf);
        Ok(())
    }

    /// Returns the names to issue for. When only a name is missing, those that the certificate has stay: another replica,
    /// started otherwise, may want them.
    fn names(&self, holder: Option<usize>) -> Vec<Name> {
        let mut names = self.plan.names.to_vec();
        if holder.is_none() {
            let held = self.state.leaf.as_ref().map(Leaf::names).unwrap_or_default();
            let is_held = !held.is_empty() && self.holder_for(&held).is_some();
            names.extend(held.into_iter().filter(|name| is_held && !self.plan.names.contains(name)));
        }
        names
    }

    /// Returns whether the serving certificate is to be renewed; not if a new one would hardly last longer.
    fn is_due(&self, holder: usize) -> bool {
        let (Some(leaf), Some(holder)) = (&self.state.leaf, self.state.authorities.get(holder)) else { return true };
        let remaining = leaf.certificate.remaining_seconds(self.now);
        if !self.is_able(holder) {
            // Whoever issues instead may not be known to all clients yet: not before the last moment.
            return remaining <= guard(&leaf.certificate);
        }
        let margin = margin(&leaf.certificate);
        let anew = self.plan.lifetimes.leaf.min(holder.certificate.remaining_seconds(self.now));
        remaining <= margin && anew > remaining + margin / 4
    }

    /// Returns whether an authority may issue: it has its key, and enough time left.
    fn is_able(&self, authority: &Authority) -> bool {
        authority.key.is_some()
            && authority.trusted_until.is_none()
            && authority.certificate.remaining_seconds(self.now) > guard(&authority.certificate)
    }

    /// Returns whether clients have had time to hear of an authority that may issue.
    fn is_ready(&self, authority: &Authority) -> bool {
        self.is_able(authority)
            && authority.issues_from.is_some_and(|from| from <= self.now)
            && (self.plan.is_published)(&authority.certificate)
    }

    /// Lets those go that issued before the one which does now; their keys at once.
    fn retire(&mut self) {
        let (Some(holder), until) = (self.holder(), self.after(self.plan.lifetimes.linger())) else { return };
        for former in self.state.authorities.iter_mut().skip(holder + 1) {
            former.key = None;
            if former.issues_from.is_some() {
                former.trusted_until.get_or_insert(until);
            }
        }
    }

    fn after(&self, seconds: i64) -> Timestamp {
        self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(self.now)
    }
}

/// Returns with how little time left nothing may depend on a certificate any more, in seconds.
fn guard(certificate: &Certificate) -> i64 {
    (certificate.life_seconds() / 20).min(60 * 60)
}
