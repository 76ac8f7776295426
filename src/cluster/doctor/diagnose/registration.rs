//! Whether the API server asks as it should, and trusts whom it asks.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;

use super::{Finding, all, any};
use crate::cluster::doctor::facts::Facts;
use crate::cluster::doctor::process::Process;
use crate::cluster::installation::{NAME, SERVICE_PORT};
use crate::cluster::registration::authorities::Authorities;
use crate::cluster::registration::compare::differences;
use crate::cluster::registration::{Configuration, Difference, Entry, Field, Wanted};

const CHECK: &str = "registration";

/// Judges what is registered for validation, and what registrations trust.
pub fn registrations(facts: &Facts) -> Vec<Finding> {
    let live = match &facts.registration {
        Ok(Some(live)) => live,
        Ok(None) => {
            let paused = any(facts, |process| process.sample("gatepost_registration_paused") == Some(1.0));
            let says = "there is no ValidatingWebhookConfiguration gatepost: the API server asks nobody";
            return vec![if paused {
                let says = format!("{says}. It was deleted by somebody, so Gatepost leaves it so");
                Finding::problem(CHECK, says, "gatepost doctor --resume has it written again")
            } else {
                let mend = "kubectl apply -f manifests/install.yaml; with registration: self see Gatepost's log";
                Finding::problem(CHECK, says, mend)
            }];
        }
        Err(cause) => return vec![Finding::unknown(CHECK, format!("cannot be read: {cause}"))],
    };
    let mut findings = registered(facts, live);
    findings.push(trust(facts, live));
    findings
}

/// Tells everything that is otherwise than it should be: what is not judged, then what somebody may have wanted so.
fn registered(facts: &Facts, live: &ValidatingWebhookConfiguration) -> Vec<Finding> {
    let (unjudged, changed): (Vec<_>, Vec<_>) =
        otherwise(facts, live).into_iter().partition(|difference| leaves_unjudged(facts, live, difference));
    let words = |differences: &[Difference]| -> String {
        differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let (again, unless) = if facts.registers_itself() {
        ("Gatepost writes it by itself: see its log, and rights below", "")
    } else {
        ("apply manifests/install.yaml again", ", unless the difference is wanted")
    };
    let mut findings = Vec::new();
    if !unjudged.is_empty() {
        findings.push(Finding::problem(CHECK, words(&unjudged), again));
    }
    findings.extend(deletions(facts));
    if !changed.is_empty() {
        findings.push(Finding::warning(CHECK, words(&changed), format!("{again}{unless}")));
    }
    if findings.is_empty() {
        let names: Vec<String> = live.entries().into_iter().map(|entry| entry.name).collect();
        findings.push(Finding::ok(CHECK, format!("ValidatingWebhookConfiguration gatepost: {}", names.join(", "))));
    }
    findings
}

/// Returns whether requests go elsewhere, or nowhere, because of a difference. A URL may lead here too, as far as
/// requests arrive.
fn leaves_unjudged(facts: &Facts, live: &ValidatingWebhookConfiguration, difference: &Difference) -> bool {
    let by_url = |entry: &Entry| entry.name == difference.entry && entry.client_config.url.is_some();
    match difference.field {
        Field::Missing => true,
        Field::Address => facts.arrived != Ok(true) || !live.entries().iter().any(by_url),
        _ => false,
    }
}

/// Tells where rules ask about deletions that nobody is asked about; each process knows its rules.
fn deletions(facts: &Facts) -> Option<Finding> {
    let missing = all(facts).filter_map(|(_, process)| process.sample("gatepost_registration_missing_delete_kinds"));
    let count = missing.filter(|count| *count > 0.0).reduce(f64::max)?;
    let mend = if facts.registers_itself() {
        "Gatepost registers them by itself: see its log, and rights below"
    } else {
        "add rules with operation DELETE to the ValidatingWebhookConfiguration for what the process says above, or use \
         registration: self"
    };
    let says = format!("rules in force ask about DELETE of {count} kinds for which it is not registered");
    Some(Finding::warning(CHECK, says, mend))
}

/// Returns how a registration differs from what ships, but for what is a choice: failurePolicy, entries of others, and
/// the port as long as the Service has it. What it asks about on DELETE depends on the rules in force.
fn otherwise(facts: &Facts, live: &ValidatingWebhookConfiguration) -> Vec<Difference> {
    let mut live = live.entries();
    for entry in &mut live {
        if let Some(rules) = &mut entry.rules {
            rules.retain(|rule| rule.operations.as_deref() != Some(&["DELETE".to_owned()]));
        }
        if let Some(port) = entry.client_config.service.as_mut().and_then(|service| service.port.as_mut())
            && leads_on(facts, *port)
        {
            *port = SERVICE_PORT;
        }
    }
    let mut found = differences(&live, &Wanted::shipped(&facts.namespace).validating());
    found.retain(|difference| !matches!(difference.field, Field::FailurePolicy | Field::Foreign));
    found
}

/// Returns whether Gatepost's Service has a port.
fn leads_on(facts: &Facts, port: i32) -> bool {
    let Ok(Some(service)) = &facts.service else { return false };
    service.spec.as_ref().is_some_and(|spec| {
        // Another name has whatever ports are there.
        spec.type_.as_deref() == Some("ExternalName") || spec.ports.iter().flatten().any(|each| each.port == port)
    })
}

/// Whether the API server trusts what Gatepost serves.
fn trust(facts: &Facts, live: &ValidatingWebhookConfiguration) -> Finding {
    const CHECK: &str = "CA bundle";
    const MEND: &str =
        "Gatepost writes it by itself while it runs with a cluster and --namespace: see its log, and rights below";
    let entries = trusting(facts, live);
    for entry in &entries {
        let says = match entry.ca_bundle() {
            [] => format!("{} has no caBundle", entry.name),
            bundle if Authorities::parse(bundle).is_empty() => {
                format!("caBundle of {} holds no certificate", entry.name)
            }
            _ => continue,
        };
        return Finding::problem(CHECK, format!("{says}: the API server cannot connect"), MEND);
    }
    // A process knows by what it serves. The Secret may be left over from before there were files.
    let matches = |process: &Process| process.sample("gatepost_registration_ca_matches") == Some(1.0);
    let is_sure = |process: &Process| process.sample("gatepost_registration_state{state=\"unknown\"}") == Some(0.0);
    if let Some((name, _)) = all(facts).find(|(_, process)| is_sure(process) && !matches(process)) {
        let says = format!("caBundle lacks an authority that {name} uses: the API server cannot connect");
        return Finding::problem(CHECK, says, MEND);
    }
    if any(facts, matches) {
        return Finding::ok(CHECK, "holds every authority that Gatepost uses");
    }
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
    let lacks = |entry: &&Entry| ours.missing_in(&Authorities::parse(entry.ca_bundle())) > 0;
    match entries.iter().find(lacks) {
        None => Finding::ok(CHECK, "holds every authority that Gatepost uses"),
        Some(entry) if facts.arrived == Ok(true) => Finding::warning(
            CHECK,
            format!("caBundle of {} lacks an authority of Gatepost's Secret, although requests arrive", entry.name),
            "with --tls-cert the Secret is left over: delete it. Else add its ca.crt before a certificate is issued by it",
        ),
        Some(entry) => {
            let says = format!("caBundle of {} lacks an authority that Gatepost uses", entry.name);
            Finding::problem(CHECK, format!("{says}: the API server cannot connect"), MEND)
        }
    }
}

/// Returns the entries of both configurations by which the API server is to connect here.
fn trusting(facts: &Facts, live: &ValidatingWebhookConfiguration) -> Vec<Entry> {
    let mutating = facts.mutating.as_ref().ok().and_then(Option::as_ref);
    let mutating = mutating.map(Configuration::entries).unwrap_or_default();
    let is_ours = |entry: &Entry| {
        entry.name.ends_with(".gatepost.dev")
            && (entry.client_config.url.is_some() || entry.asks_service(NAME, &facts.namespace))
    };
    live.entries().into_iter().chain(mutating).filter(is_ours).collect()
}

/// Whether objects of the namespaces that ask for patches are sent to be mended; nothing where none asks.
pub fn mutation(facts: &Facts) -> Option<Finding> {
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
    Some(match &facts.mutating {
        Ok(Some(_)) => Finding::ok(CHECK, format!("is registered; {asking}: label gatepost.dev/mutate")),
        Ok(None) => Finding::warning(
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
