//! From what was read to what is wrong, and how to mend it. The clock is part of what was read.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use serde::Serialize;

use super::facts::{Facts, Read};
use super::process::Process;
use super::rights::Right;
use crate::cluster::registration::authorities::Authorities;
use crate::cluster::registration::{self, Difference, Field};

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
    findings.push(rights(&facts.namespace, &facts.rights));
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
            let says = format!("{name} is not ready: {}", failed.join("; "));
            Finding::problem("process", says, "see its log")
        }
        Ok(process) => {
            let notes: Vec<&str> = process.readiness.lines().filter(|line| line.starts_with("[!]")).collect();
            if notes.is_empty() {
                return Finding::ok("process", format!("{name} is ready"));
            }
            let says = format!("{name} is ready, and says: {}", notes.join("; "));
            Finding::warning("process", says, "mend what it says; what was in force before still is")
        }
        Err(cause) => Finding::unknown("process", format!("{name} could not be asked: {cause}")),
    }
}

fn registrations(facts: &Facts) -> Vec<Finding> {
    let live = match &facts.registration {
        Ok(Some(live)) => live,
        Ok(None) => {
            let paused = any(facts, |process| process.sample("gatepost_registration_paused") == Some(1.0));
            let says = "there is no ValidatingWebhookConfiguration gatepost: the API server asks nobody";
            return vec![if paused {
                let says = format!("{says}. It was deleted by somebody, so Gatepost leaves it so");
                Finding::problem("registration", says, "gatepost doctor --resume has it written again")
            } else {
                let mend = "kubectl apply -f manifests/install.yaml; with registration: self see Gatepost's log";
                Finding::problem("registration", says, mend)
            }];
        }
        Err(cause) => return vec![Finding::unknown("registration", format!("cannot be read: {cause}"))],
    };
    let mut findings = vec![registered(facts, live)];
    findings.push(trust(facts, live));
    findings
}

fn registered(facts: &Facts, live: &ValidatingWebhookConfiguration) -> Finding {
    let entries = live.webhooks.as_deref().unwrap_or_default();
    let differences = differences(live, &facts.namespace);
    let missing = facts.processes.values().filter_map(|process| {
        process.as_ref().ok()?.sample("gatepost_registration_missing_delete_kinds").filter(|count| *count > 0.0)
    });
    if let Some(count) = missing.reduce(f64::max) {
        return Finding::warning(
            "registration",
            format!("rules in force ask about DELETE of {count} kinds for which it is not registered"),
            "add rules with operation DELETE to the ValidatingWebhookConfiguration for what the process says above, or \
             use registration: self",
        );
    }
    if differences.is_empty() {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        return Finding::ok("registration", format!("ValidatingWebhookConfiguration gatepost: {}", names.join(", ")));
    }
    let mend = "apply manifests/install.yaml again, unless the difference is wanted";
    Finding::warning("registration", differences.join("; "), mend)
}

/// Returns how a registration differs from what ships, but for what is a choice: failurePolicy and entries of others.
/// What it asks about on DELETE depends on the rules in force, which each process knows.
fn differences(live: &ValidatingWebhookConfiguration, namespace: &str) -> Vec<String> {
    let mut live = live.clone();
    for rules in live.webhooks.iter_mut().flatten().filter_map(|entry| entry.rules.as_mut()) {
        rules.retain(|rule| rule.operations.as_deref() != Some(&["DELETE".to_owned()]));
    }
    let found = registration::differences(&live, namespace).into_iter();
    let is_wrong = |difference: &Difference| !matches!(difference.field, Field::FailurePolicy | Field::Foreign);
    found.filter(is_wrong).map(|difference| difference.to_string()).collect()
}

/// Whether the API server trusts what Gatepost serves.
fn trust(facts: &Facts, live: &ValidatingWebhookConfiguration) -> Finding {
    const CHECK: &str = "CA bundle";
    let authorities = match &facts.authorities {
        Ok(Some(authorities)) => authorities,
        Ok(None) => return Finding::unknown(CHECK, "Gatepost's certificate authority was not found"),
        Err(cause) => return Finding::unknown(CHECK, format!("Gatepost's authority cannot be read: {cause}")),
    };
    let ours = Authorities::parse(authorities.as_bytes());
    if ours.is_empty() {
        let mend = "delete the Secret: it is made anew";
        return Finding::problem(CHECK, "ca.crt of Gatepost's Secret is no certificate", mend);
    }
    for entry in live.webhooks.iter().flatten().filter(|entry| entry.name.ends_with(".gatepost.dev")) {
        let bundle = entry.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).unwrap_or_default();
        let says = match Authorities::parse(bundle) {
            _ if bundle.is_empty() => format!("{} has no caBundle", entry.name),
            trusted if trusted.is_empty() => format!("caBundle of {} holds no certificate", entry.name),
            trusted if ours.missing_in(&trusted) == 0 => continue,
            _ => format!("caBundle of {} lacks an authority that Gatepost uses", entry.name),
        };
        let mend =
            "Gatepost writes it by itself while it runs with a cluster and --namespace: see its log, and rights below";
        return Finding::problem(CHECK, format!("{says}: the API server cannot connect"), mend);
    }
    Finding::ok(CHECK, "holds every authority that Gatepost uses")
}

/// Whether objects of the namespaces that ask for patches are sent to be mended; nothing where none asks.
fn mutation(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "mutation";
    let namespaces = match &facts.mutated_namespaces {
        Ok(namespaces) if namespaces.is_empty() => return None,
        Ok(namespaces) => namespaces,
        Err(cause) => return Some(Finding::unknown(CHECK, format!("Namespaces cannot be read: {cause}"))),
    };
    let asking = match namespaces.as_slice() {
        [one] => format!("the namespace {one}"),
        [first, rest @ ..] => format!("{first} and {} more namespaces", rest.len()),
        [] => return None,
    };
    Some(match &facts.is_mutation_registered {
        Ok(true) => Finding::ok(CHECK, format!("is registered; {asking}: label gatepost.dev/mutate")),
        Ok(false) => Finding::warning(
            CHECK,
            format!(
                "nothing is mended in {asking}, whose label gatepost.dev/mutate asks for it: there is no \
                 MutatingWebhookConfiguration gatepost"
            ),
            "add manifests/components/mutation to your kustomization, or take the label away",
        ),
        Err(cause) => Finding::unknown(CHECK, format!("its registration cannot be read: {cause}")),
    })
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

fn rights(namespace: &str, rights: &[(Right, Read<bool>)]) -> Finding {
    const CHECK: &str = "rights";
    let missing: Vec<String> =
        rights.iter().filter(|(_, may)| may == &Ok(false)).map(|(right, _)| right.to_string()).collect();
    let unknown = rights.iter().find_map(|(_, may)| may.as_ref().err());
    match (missing.as_slice(), unknown) {
        ([], None) => Finding::ok(CHECK, format!("ServiceAccount {namespace}/gatepost has all {}", rights.len())),
        ([], Some(cause)) => Finding::unknown(CHECK, format!("cannot be asked about: {cause}")),
        (missing, _) => Finding::problem(
            CHECK,
            format!("ServiceAccount {namespace}/gatepost may not: {}", missing.join("; ")),
            "apply manifests/base/rbac-webhook.yaml again",
        ),
    }
}

fn clocks(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "clock";
    let Ok((_, Some(reference))) = &facts.api_server else { return vec![] };
    let here = ("this machine".to_owned(), facts.now);
    let theirs = all(facts).filter_map(|(name, process)| Some((name.to_owned(), process.clock?)));
    let wrong: Vec<Finding> = std::iter::once(here)
        .chain(theirs)
        .filter(|(_, clock)| reference.duration_until(*clock).abs() > CLOCK_TOLERANCE)
        .map(|(name, clock)| {
            let apart = reference.duration_until(clock);
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
