//! From what was read to what is wrong, and how to mend it. The clock is part of what was read.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::facts::{Facts, Read};
use super::process::{Clock, Process};
use registration::{mutation, registrations};

mod registration;

/// How far clocks may differ before certificates that were just made are refused.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(30);
/// Validity that is left when somebody should look.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It could not be found out.
    Unknown,
    /// It works, and somebody should look.
    Warning,
    /// It does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a few words that stay the same.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, state: State::Ok, says: says.into(), mend: None }
    }

    fn unknown(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, state: State::Unknown, says: says.into(), mend: None }
    }

    fn warning(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Warning, says: says.into(), mend: Some(mend.into()) }
    }

    fn problem(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Problem, says: says.into(), mend: Some(mend.into()) }
    }
}

/// Judges what was read, in the order in which one would look.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![api_server(facts), replicas(facts)];
    findings.extend(processes(facts));
    findings.extend(registrations(facts));
    findings.extend(mutation(facts));
    findings.push(arrival(facts));
    findings.push(rights(facts));
    findings.extend(clocks(facts));
    findings.extend(certificates(facts));
    findings.extend(watches(facts));
    findings
}

fn api_server(facts: &Facts) -> Finding {
    match &facts.api_server {
        Ok((version, _)) => Finding::ok("API server", format!("answers, Kubernetes {version}")),
        Err(cause) => {
            Finding::problem("API server", format!("cannot be asked: {cause}"), "check --kubeconfig and your network")
        }
    }
}

fn replicas(facts: &Facts) -> Finding {
    let namespace = &facts.namespace;
    match &facts.replicas {
        Ok(Some((wanted, available))) if available >= wanted => {
            Finding::ok("Deployment", format!("{available} of {wanted} replicas are available in {namespace}"))
        }
        Ok(Some((wanted, available))) => Finding {
            state: if *available == 0 { State::Problem } else { State::Warning },
            ..Finding::problem(
                "Deployment",
                format!("{available} of {wanted} replicas are available"),
                format!("kubectl -n {namespace} get pods; kubectl -n {namespace} describe deployment gatepost"),
            )
        },
        Ok(None) => Finding::warning(
            "Deployment",
            format!("there is no Deployment gatepost in {namespace}"),
            "name the namespace with --namespace, or install it: kubectl apply -f manifests/install.yaml",
        ),
        Err(cause) => Finding::unknown("Deployment", format!("cannot be read: {cause}")),
    }
}

fn processes(facts: &Facts) -> Vec<Finding> {
    if facts.processes.is_empty() {
        let mend = "start it, or name its health listener with --metrics ADDR:PORT";
        return vec![Finding::problem("process", "no running Gatepost was found", mend)];
    }
    facts.processes.iter().map(|(name, process)| one_process(name, process)).collect()
}

fn one_process(name: &str, process: &Read<Process>) -> Finding {
    match process {
        Ok(process) if !process.is_ready() => {
            let failed: Vec<&str> = process.readiness.lines().filter_map(|line| line.strip_prefix("[-]")).collect();
            let mut says = format!("{name} is not ready: {}", failed.join("; "));
            if !notes(process).is_empty() {
                says = format!("{says}; and says: {}", notes(process).join("; "));
            }
            Finding::problem("process", says, "see its log")
        }
        Ok(process) => {
            let notes = notes(process);
            if notes.is_empty() {
                return Finding::ok("process", format!("{name} is ready"));
            }
            let says = format!("{name} is ready, and says: {}", notes.join("; "));
            Finding::warning("process", says, "mend what it says; what was in force before still is")
        }
        Err(cause) => Finding::unknown("process", format!("{name} could not be asked: {cause}")),
    }
}

/// Returns what a process says beside its readiness.
fn notes(process: &Process) -> Vec<&str> {
    process.readiness.lines().filter(|line| line.starts_with("[!]")).collect()
}

fn arrival(facts: &Facts) -> Finding {
    const CHECK: &str = "requests";
    let total: f64 = all(facts).filter_map(|(_, process)| process.sum("gatepost_admission_requests_total")).sum();
    match &facts.arrived {
        Ok(true) => {
            Finding::ok(CHECK, format!("arrive; {total} so far, one of them sent by this command and not stored"))
        }
        Ok(false) => Finding::problem(
            CHECK,
            format!("do not arrive: an object was sent to the API server and nobody counted it ({total} so far)"),
            "see registration and CA bundle above; if both are right, the control plane cannot reach port 8443 of the \
             Pods (a firewall, a NetworkPolicy): the API server's log names gatepost",
        ),
        Err(cause) => Finding::unknown(CHECK, cause.clone()),
    }
}

fn rights(facts: &Facts) -> Finding {
    const CHECK: &str = "rights";
    let Facts { namespace, rights, .. } = facts;
    let missing: Vec<String> =
        rights.iter().filter(|(_, may)| may == &Ok(false)).map(|(right, _)| right.to_string()).collect();
    let unknown = rights.iter().find_map(|(_, may)| may.as_ref().err());
    match (missing.as_slice(), unknown) {
        ([], None) => Finding::ok(CHECK, format!("ServiceAccount {namespace}/gatepost has all {}", rights.len())),
        ([], Some(cause)) => Finding::unknown(CHECK, format!("cannot be asked about: {cause}")),
        (missing, _) => Finding::problem(
            CHECK,
            format!("ServiceAccount {namespace}/gatepost may not: {}", missing.join("; ")),
            if facts.registers_itself() {
                "apply manifests/base/rbac-webhook.yaml and manifests/components/self-registration/rbac.yaml again"
            } else {
                "apply manifests/base/rbac-webhook.yaml again"
            },
        ),
    }
}

fn clocks(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "clock";
    let Ok((_, Some(reference))) = &facts.api_server else { return vec![] };
    let here = ("this machine".to_owned(), -reference.ahead());
    // Each was read at another moment, so each is compared with the one clock that was there every time.
    let apart = |clock: Clock| clock.ahead() - reference.ahead();
    let theirs = all(facts).filter_map(|(name, process)| Some((name.to_owned(), apart(process.clock?))));
    let wrong: Vec<Finding> = std::iter::once(here)
        .chain(theirs)
        .filter(|(_, apart)| apart.abs() > CLOCK_TOLERANCE)
        .map(|(name, apart)| {
            let says = format!("{name} is {apart:#} from the API server");
            Finding::problem(CHECK, says, "synchronise the clocks: certificates and dates in modes depend on them")
        })
        .collect();
    if wrong.is_empty() { vec![Finding::ok(CHECK, "all within 30 s of the API server")] } else { wrong }
}

fn certificates(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "certificates";
    let mut findings = Vec::new();
    for (name, process) in all(facts) {
        for (word, label) in [("serving certificate", "leaf"), ("authority", "ca")] {
            let series = format!("gatepost_tls_certificate_not_after_timestamp_seconds{{certificate=\"{label}\"}}");
            let Some(ends) = process.sample(&series).and_then(instant) else { continue };
            let left = facts.now.duration_until(ends);
            if left <= EXPIRES_SOON {
                let says = format!("the {word} of {name} ends at {ends}");
                let mend = "Gatepost renews its own in time: see its log. One from files is for whoever writes them";
                let finding = if left.is_negative() { Finding::problem } else { Finding::warning };
                findings.push(finding(CHECK, says, mend.to_owned()));
            }
        }
    }
    if findings.is_empty() && all(facts).next().is_some() {
        findings.push(Finding::ok(CHECK, "valid for more than a week"));
    }
    findings
}

#[expect(clippy::cast_possible_truncation, reason = "seconds of any certificate fit")]
fn instant(seconds: f64) -> Option<Timestamp> {
    (seconds > 0.0).then(|| Timestamp::from_second(seconds as i64).ok()).flatten()
}

fn watches(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "watch of namespaces";
    let Ok(newest) = facts.newest_namespace else { return vec![] };
    let behind: Vec<&str> = all(facts)
        .filter(|(_, process)| process.namespace_version().is_some_and(|seen| seen < newest))
        .map(|(name, _)| name)
        .collect();
    if behind.is_empty() {
        return vec![Finding::ok(CHECK, "up to date")];
    }
    let says = format!("{} has not seen the newest change of a Namespace", behind.join(", "));
    vec![Finding::problem(CHECK, says, "see its log: it says why the watch fails; check rights above")]
}

fn all(facts: &Facts) -> impl Iterator<Item = (&str, &Process)> {
    answered(&facts.processes)
}

fn answered(processes: &BTreeMap<String, Read<Process>>) -> impl Iterator<Item = (&str, &Process)> {
    processes.iter().filter_map(|(name, process)| Some((name.as_str(), process.as_ref().ok()?)))
}

fn any(facts: &Facts, holds: impl Fn(&Process) -> bool) -> bool {
    all(facts).any(|(_, process)| holds(process))
}

#[cfg(test)]
mod tests;
