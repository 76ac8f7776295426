//! Open files: the limit is raised as far as it goes, and shared out so that no listener takes what another needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than this is never needed.
const MOST_FILES: u64 = 65_536;
/// Connections to the webhook: one with TLS takes about 24 KiB, and an API server opens a handful.
const MOST_CONNECTIONS: u64 = 2_500;
/// What is open beside connections: the cluster's watches, certificates and policies that are read.
const OWN_FILES: u64 = 128;
/// Connections to the API: whoever follows the feed keeps one open.
const MOST_OF_API: u64 = 1_280;
/// As many connections a listener has, however few files there are.
const LEAST_CONNECTIONS: u64 = 8;

/// Connections that each listener may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Files that the process may have open.
    pub files: u64,
    /// Of the webhook.
    pub webhook: u32,
    /// Of the API: always some, whatever comes to the webhook.
    pub api: u32,
    /// Of health and metrics.
    pub others: u32,
}

/// Raises the limit of open files and shares out what there is; `wanted` connections are never exceeded.
pub fn share_out(wanted: Option<u32>) -> Shares {
    let shares = shares(raise(), wanted);
    if let Some(wanted) = wanted.filter(|wanted| *wanted > shares.webhook) {
        let (files, connections) = (shares.files, shares.webhook);
        tracing::warn!(wanted, connections, files, "--max-connections is more than the limit of open files leaves");
    }
    shares
}

fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let reachable = maximum.unwrap_or(MOST_FILES).min(MOST_FILES);
    let current = current.unwrap_or(MOST_FILES);
    let raised = Rlimit { current: Some(reachable), maximum };
    if current < reachable && setrlimit(Resource::Nofile, raised).is_ok() { reachable } else { current }
}

fn shares(files: u64, wanted: Option<u32>) -> Shares {
    let most = wanted.map_or(MOST_CONNECTIONS, u64::from).max(1);
    let left = (files / 4 * 3).min(files.saturating_sub(OWN_FILES));
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let webhook = left.max(LEAST_CONNECTIONS).min(most);
    let part = |most| narrow((files / 16).clamp(LEAST_CONNECTIONS, most));
    Shares { files, webhook: narrow(webhook), api: part(MOST_OF_API), others: part(OWN_FILES) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_has_its_share() {
        for (files, wanted, webhook, api, others) in [
            (65_536, None, 2_500, 1_280, 128),
            (20_000, None, 2_500, 1_250, 128),
            (20_000, Some(12_000), 12_000, 1_250, 128),
            (65_536, Some(100), 100, 1_280, 128),
            (1_024, None, 768, 64, 64),
            (1_024, Some(10_000), 768, 64, 64),
            (256, None, 128, 16, 16),
            (64, None, 8, 8, 8),
            (0, Some(0), 1, 8, 8),
        ] {
            assert_eq!(shares(files, wanted), Shares { files, webhook, api, others }, "{files} {wanted:?}");
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let before = getrlimit(Resource::Nofile);
        let files = raise();
        assert!(files >= before.current.unwrap_or(MOST_FILES));
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(MOST_FILES), files);
    }
}
