//! The release of Kubernetes that objects are meant for: `1.31`.

use std::fmt;
use std::str::FromStr;

/// A minor release of Kubernetes. Patches change no API, so they do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// 1.
    pub major: u32,
    /// The release, for example 31.
    pub minor: u32,
}

/// The oldest release that can be asked for: from it on, rules know what was deprecated and removed.
pub const OLDEST: KubernetesVersion = KubernetesVersion { major: 1, minor: 16 };
/// The newest one: of what comes later nobody can say what it serves.
pub const NEWEST: KubernetesVersion = KubernetesVersion { major: 1, minor: 37 };

/// Why a text names no release that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no release of Kubernetes that is known: write one from {OLDEST} to {NEWEST}, for example {EXAMPLE}"
)]
pub struct UnknownVersion(String);

const EXAMPLE: &str = "1.31 or v1.31.4";

impl KubernetesVersion {
    /// Reads what an API server says of itself, such as `v1.31.4-gke.100`; it may be of any release.
    pub fn of_server(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let numbers = text.split(['-', '+']).next()?;
        let mut numbers = numbers.split('.').map(number);
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let is_patch = |patch: Option<Option<u32>>| patch.is_none_or(|patch| patch.is_some());
        (is_patch(numbers.next()) && numbers.next().is_none()).then_some(Self { major, minor })
    }
}

/// Reads digits, and nothing that Rust would take beside them.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl FromStr for KubernetesVersion {
    type Err = UnknownVersion;

    /// Reads what somebody asks for: `1.31`, `v1.31`, and a whole version, whose patch and suffix do not count.
    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        let known = Self::of_server(text).filter(|version| (OLDEST..=NEWEST).contains(version));
        known.ok_or_else(|| UnknownVersion(text.chars().take(40).collect()))
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn reads_releases_as_people_and_servers_write_them() {
        for text in ["1.31", "v1.31", "1.31.4", "v1.31.4-gke.100", "v1.31.4+k3s1", "v1.31.0-rc.1", " 1.31 "] {
            assert_eq!(text.parse::<KubernetesVersion>().unwrap().to_string(), "1.31", "{text}");
        }
        assert_eq!(KubernetesVersion::of_server("v2.3.0").unwrap().to_string(), "2.3");
    }

    #[test]
    fn refuses_the_rest_and_says_what_it_takes() {
        for text in [
            "",
            "1",
            "1.",
            "latest",
            "1.x",
            "1.31.",
            "1.31.x",
            "1.31.4.5",
            "+1.31",
            "1.+31",
            "1.15",
            "1.38",
            "2.0",
            "1.99999999999",
        ] {
            let error = text.parse::<KubernetesVersion>().unwrap_err().to_string();
            assert!(error.contains("from 1.16 to 1.37"), "{text}: {error}");
        }
    }
}
