//! Tells people what happens: new findings, denials, audits, what fails, exemptions that end,
//! dates from which something is denied, and a digest once a week.
//!
//! What is told is read from the store, from where a target was told last: so a target that is away for an hour, or a
//! process that restarts, hears later and of everything at once, in one message. `collect` says what there is to tell,
//! `route` to whom, `teller` when; a file for each way says how. Only what nobody takes for a day is let go of, and
//! counted.

mod alertmanager;
mod collect;
mod dates;
mod denials;
mod desk;
mod digest;
mod email;
mod endings;
mod faults;
mod http;
mod links;
mod notice;
mod route;
mod send;
mod slack;
mod teller;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a failing test is what it is for"
)]
mod tests;
mod webhook;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::policy::{Exemptions, NamespaceMeta};

pub use dates::Dated;
pub use desk::{Desk, LastError, Notifier, Status};
pub use links::Links;
pub use notice::{Item, Notice};
pub use send::NotSent;

/// What a notifier sees of the process around it.
pub trait Around: Send + Sync + 'static {
    /// Returns the configuration in force.
    fn config(&self) -> Arc<Config>;

    /// Returns the namespaces that are known.
    fn namespaces(&self) -> Vec<Arc<NamespaceMeta>>;

    /// Returns the exemptions in force.
    fn exemptions(&self) -> Arc<Exemptions>;

    /// Returns from when namespaces deny what they warn of until then.
    fn dates(&self) -> Vec<Dated>;

    /// Returns what is wrong now, by the part that it is wrong with.
    fn faults(&self) -> BTreeMap<String, String>;
}
