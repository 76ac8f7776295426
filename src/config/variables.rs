//! Variables that begin as ours do and mean nothing: misspelt ones, and those that Kubernetes makes for Services.

use super::scalars::{PREFIX, scalars};
use crate::policy::nearest;

/// Variables that are not settings: where the file is, and what else reads the environment.
const OTHERS: [&str; 1] = ["CONFIG"];

/// Returns the variables that begin with `GATEPOST_` and mean nothing, each with the nearest that does.
///
/// Kubernetes gives every Pod variables for each Service of its namespace, for ours `GATEPOST_PORT=tcp://…` among them:
/// those are left out.
pub fn unknown_variables<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<(&'a str, Option<String>)> {
    let known = || scalars().iter().filter_map(|scalar| scalar.variable.strip_prefix(PREFIX)).chain(OTHERS);
    let unknown = |name: &'a str| {
        let word = name.strip_prefix(PREFIX)?;
        let is_one = !known().any(|known| known == word) && !is_service_link(name);
        is_one.then(|| (name, nearest(word, known()).map(|near| format!("{PREFIX}{near}"))))
    };
    names.into_iter().filter_map(unknown).collect()
}

/// Returns whether a variable is one that the kubelet makes of a Service: `X_SERVICE_HOST`, `X_SERVICE_PORT`,
/// `X_SERVICE_PORT_NAME`, `X_PORT`, `X_PORT_443_TCP`, `X_PORT_443_TCP_ADDR` and so on.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str) -> bool {
    let of_port = |rest: &str| {
        let mut parts = rest.split('_');
        let is_number = parts.next().is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let is_protocol = parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol));
        let is_part = parts.next().is_none_or(|part| ["PROTO", "PORT", "ADDR"].contains(&part));
        is_number && is_protocol && is_part && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.match_indices("_PORT_").any(|(at, part)| name.get(at + part.len()..).is_some_and(of_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [&str; 12] = [
        "GATEPOST_SERVICE_HOST",
        "GATEPOST_SERVICE_PORT",
        "GATEPOST_SERVICE_PORT_WEBHOOK",
        "GATEPOST_PORT",
        "GATEPOST_PORT_443_TCP",
        "GATEPOST_PORT_443_TCP_PROTO",
        "GATEPOST_PORT_443_TCP_PORT",
        "GATEPOST_PORT_443_TCP_ADDR",
        "GATEPOST_METRICS_SERVICE_HOST",
        "GATEPOST_METRICS_SERVICE_PORT_METRICS",
        "GATEPOST_METRICS_PORT",
        "GATEPOST_METRICS_PORT_9090_UDP_ADDR",
    ];

    #[test]
    fn what_kubernetes_makes_is_left_alone() {
        assert_eq!(unknown_variables(LINKS), []);
        assert!(!is_service_link("GATEPOST_PORT_WIDTH") && !is_service_link("GATEPOST_PORT_443_TCP_X_ADDR"));
    }

    #[test]
    fn none_of_ours_is_one_that_kubernetes_makes() {
        for scalar in scalars() {
            assert!(!is_service_link(&scalar.variable), "{}", scalar.variable);
        }
    }

    #[test]
    fn names_the_nearest() {
        let names = ["GATEPOST_RULE_TIMEOUT", "GATEPOST_CONFIG", "GATEPOST_QUEUE", "GATEPOST_ZZZ", "PATH", "GATEPOSTS"];
        let near = Some("GATEPOST_RULE_TIMEOUT_MS".to_owned());
        assert_eq!(unknown_variables(names), [("GATEPOST_RULE_TIMEOUT", near), ("GATEPOST_ZZZ", None)]);
    }
}
