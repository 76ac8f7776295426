//! What clients must trust, told to whoever registers the webhook, and what the registrations hold, told back.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::watch;

/// Joins whoever keeps the certificates with whoever writes `caBundle`.
///
/// The keeper tells every authority that clients must trust. Whoever manages registrations tells back what all of them
/// hold: an authority issues no serving certificate before they hold it.
#[derive(Debug)]
pub struct Trust {
    authorities: watch::Sender<Option<Arc<str>>>,
    published: watch::Sender<Option<Published>>,
}

/// Which authorities clients have been told of, and since when: what every registration of this installation holds, or
/// what `ca.crt` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Published(Vec<(CertificateDer<'static>, Timestamp)>);

impl Default for Trust {
    fn default() -> Self {
        Self { authorities: watch::Sender::new(None), published: watch::Sender::new(None) }
    }
}

impl Trust {
    /// Returns what clients must trust, as PEM: the webhook configuration's `caBundle`.
    ///
    /// `None` until that is agreed with the other replicas; nothing may be published before.
    pub fn authorities(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.authorities.subscribe()
    }

    /// Says what clients must trust from now on.
    pub fn set_authorities(&self, pem: &str) {
        self.authorities.send_if_modified(|now| {
            let is_new = now.as_deref() != Some(pem);
            if is_new {
                *now = Some(pem.into());
            }
            is_new
        });
    }

    /// Says which authorities every registration held at `now`, as PEM; empty as long as one holds none.
    ///
    /// Whoever manages registrations calls this when it begins, with the empty text, and each time that it has looked.
    /// Without any call nobody manages them, and time alone decides when a new authority may issue.
    pub fn set_published(&self, pem: &str, now: Timestamp) {
        self.published.send_if_modified(|published| {
            let before = published.take();
            let held = Some(before.clone().unwrap_or_default().holding(pem, now));
            let is_new = held != before;
            *published = held;
            is_new
        });
    }

    /// Returns since when every registration has held an authority; `Err` if nobody manages registrations.
    pub(super) fn published_since(&self, authority: &[u8]) -> Result<Option<Timestamp>, Unmanaged> {
        self.published.borrow().as_ref().map(|published| published.since(authority)).ok_or(Unmanaged)
    }
}

/// Nobody manages registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unmanaged;

impl Published {
    /// Returns what is held at `now`, as PEM; what was held before keeps its time.
    pub(super) fn holding(&self, pem: &str, now: Timestamp) -> Self {
        let held = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        let with_time = |authority: CertificateDer<'static>| {
            let since = self.since(&authority).unwrap_or(now);
            (authority, since)
        };
        Self(held.map(with_time).collect())
    }

    /// Returns since when an authority has been held, if it is.
    pub(super) fn since(&self, authority: &[u8]) -> Option<Timestamp> {
        self.0.iter().find(|(held, _)| held.as_ref() == authority).map(|(_, since)| *since)
    }
}
