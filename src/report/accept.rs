//! Accepting findings as they are today: Exemptions as YAML, as narrow as they can be, so that whatever is new counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::finding::{Finding, ObjectKey};
use super::suggest::scalar;
use crate::engine::template::CONTAINER_LISTS;
use crate::policy::exemption::ExemptionKind;
use crate::policy::set::API_VERSION;

/// Objects that one exemption names.
const NAMED: usize = 50;

/// Who accepts, until when, and why.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Why.
    pub reason: &'a str,
    /// Who answers for it.
    pub owner: &'a str,
    /// The date or instant from which it counts again.
    pub expires: &'a str,
}

/// What one exemption is about: objects of one kind in one namespace that break the same rules in the same containers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct About<'a> {
    namespace: &'a str,
    group: &'a str,
    kind: &'a str,
    rules: BTreeSet<&'a str>,
    /// None: also what is outside of containers.
    containers: Option<BTreeSet<&'a str>>,
    is_wide: bool,
}

/// Exemptions that accept findings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acceptance {
    /// As YAML, with a line between two of them.
    pub yaml: String,
    /// How many there are.
    pub exemptions: usize,
    /// How many of them are ClusterExemptions.
    pub of_cluster: usize,
}

/// Returns the exemptions of findings: each by the kind and name of its objects, the rules that they break today, and the
/// containers in which they do.
///
/// `needs_cluster` says of which findings an Exemption of the namespace would not lift what is enforced.
pub fn accept(findings: &[Finding], terms: Terms<'_>, needs_cluster: impl Fn(&Finding) -> bool) -> Acceptance {
    let mut alike: BTreeMap<About<'_>, BTreeSet<&str>> = BTreeMap::new();
    for (object, by_rule) in by_object(findings, needs_cluster) {
        // Rules that are broken in the same containers are told together.
        let mut by_place: BTreeMap<(Option<BTreeSet<&str>>, bool), BTreeSet<&str>> = BTreeMap::new();
        for (rule, Broken { containers, is_elsewhere, is_wide }) in by_rule {
            by_place.entry(((!is_elsewhere).then_some(containers), is_wide)).or_default().insert(rule);
        }
        for ((containers, is_wide), rules) in by_place {
            let ObjectKey { group, kind, namespace, name, .. } = object;
            alike.entry(About { namespace, group, kind, rules, containers, is_wide }).or_default().insert(name);
        }
    }
    let alike: Vec<(About<'_>, Vec<&str>)> = alike.iter().flat_map(|(about, names)| parts(about, names)).collect();
    if alike.is_empty() {
        return Acceptance { yaml: "# There is nothing to accept.\n".to_owned(), ..Acceptance::default() };
    }
    let each: Vec<String> = alike.iter().map(|(about, names)| exemption(about, names, terms)).collect();
    Acceptance {
        yaml: each.join("---\n"),
        exemptions: alike.len(),
        of_cluster: alike.iter().filter(|(about, _)| about.is_wide).count(),
    }
}

/// Returns exemptions that name no more objects than somebody reads.
fn parts<'a>(about: &About<'a>, names: &BTreeSet<&'a str>) -> Vec<(About<'a>, Vec<&'a str>)> {
    let names: Vec<&str> = names.iter().copied().collect();
    names.chunks(NAMED).map(|names| (about.clone(), names.to_vec())).collect()
}

/// Where an object breaks a rule.
#[derive(Default)]
struct Broken<'a> {
    containers: BTreeSet<&'a str>,
    is_elsewhere: bool,
    is_wide: bool,
}

type ByRule<'a> = BTreeMap<&'a str, Broken<'a>>;

fn by_object(findings: &[Finding], needs_cluster: impl Fn(&Finding) -> bool) -> BTreeMap<&ObjectKey, ByRule<'_>> {
    let mut objects: BTreeMap<&ObjectKey, ByRule<'_>> = BTreeMap::new();
    for finding in findings {
        let broken = objects.entry(&finding.object).or_default().entry(finding.rule.as_str()).or_default();
        match container(&finding.place) {
            Some(name) => _ = broken.containers.insert(name),
            None => broken.is_elsewhere = true,
        }
        broken.is_wide |= finding.object.namespace.is_empty() || needs_cluster(finding);
    }
    objects
}

/// Returns the container that a finding's place is in: `/spec/containers/[app]/image` is in `app`.
fn container(place: &str) -> Option<&str> {
    let mut steps = place.split('/');
    steps.by_ref().find(|step| CONTAINER_LISTS.contains(step))?;
    steps.next()?.strip_prefix('[')?.strip_suffix(']')
}

fn exemption(about: &About<'_>, names: &[&str], terms: Terms<'_>) -> String {
    let About { namespace, group, kind, rules, containers, is_wide } = about;
    let names: Vec<String> = names.iter().map(|name| globset::escape(name)).collect();
    let of = if *is_wide { ExemptionKind::ClusterExemption } else { ExemptionKind::Exemption };
    let name = name(about, &names);
    let mut text = format!("apiVersion: {API_VERSION}\nkind: {}\nmetadata:\n  name: {}\n", of.as_str(), scalar(&name));
    if !is_wide {
        let _ = writeln!(text, "  namespace: {}", scalar(namespace));
    }
    let _ = writeln!(text, "spec:\n  rules: [{}]\n  match:", list(rules.iter().copied()));
    if *is_wide && !namespace.is_empty() {
        let _ = writeln!(text, "    namespaces: [{}]", scalar(namespace));
    }
    let group = if group.is_empty() { "core" } else { group };
    let _ = writeln!(text, "    kinds: [{}]", scalar(&format!("{group}/{kind}")));
    let _ = writeln!(text, "    names: [{}]", list(names.iter().map(String::as_str)));
    if let Some(containers) = containers {
        let _ = writeln!(text, "    containers: [{}]", list(containers.iter().copied()));
    }
    let Terms { reason, owner, expires } = terms;
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let _ = writeln!(text, "  reason: {}\n  owner: {}\n  expires: {}", quoted(reason), quoted(owner), quoted(expires));
    text
}

/// Returns a name that the same exemption always has, so that applying it again changes it and makes no second one.
fn name(about: &About<'_>, names: &[String]) -> String {
    let containers = about.containers.iter().flatten().copied().collect::<Vec<_>>().join(",");
    let rules = about.rules.iter().copied().collect::<Vec<_>>().join(",");
    let told = ObjectKey {
        cluster: format!("{rules};{containers}"),
        group: about.group.to_owned(),
        kind: about.kind.to_owned(),
        namespace: about.namespace.to_owned(),
        name: names.join(","),
    };
    let digest = told.digest();
    format!("accepted-{}-{}", about.kind.to_ascii_lowercase(), digest.get(..10).unwrap_or(&digest))
}

fn list<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.map(scalar).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::review::Inventory;
    use crate::engine::{BackendChoice, Bundle, Catalogue, Limits, Machines, ProgramCache, Review, Value};
    use crate::policy::exemption::{Written, documents};
    use crate::policy::{Exemptions, Source};
    use crate::report::judge::{Judge, asked};

    pub fn finding(kind: &str, name: &str, rule: &str) -> Finding {
        let object = ObjectKey {
            cluster: String::new(),
            group: if kind == "Pod" { String::new() } else { "apps".into() },
            kind: kind.into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        let rule = crate::policy::RuleId::from(rule);
        let now = jiff::Timestamp::UNIX_EPOCH;
        Finding {
            id: crate::report::finding::Fingerprint::new(&object, &rule, ""),
            object,
            api_version: "apps/v1".into(),
            uid: String::new(),
            owner: String::new(),
            application: None,
            content: String::new(),
            rule,
            place: "/spec/<b>".into(),
            result: crate::report::Verdict::Fail,
            severity: crate::policy::Severity::High,
            category: String::new(),
            policies: Vec::new(),
            action: crate::admission::Action::Warn,
            path: String::new(),
            message: "write a `fixed` tag\n# now".into(),
            state: crate::report::finding::State::Open,
            closed_because: None,
            closed_at: None,
            first_seen: now,
            last_seen: now,
            reopened: 0,
            brought_in: None,
            exemption: None,
        }
    }

    #[test]
    fn each_exemption_names_just_the_objects_and_the_rules_that_they_break() {
        let (tag, limit) = ("container-image-tag", "container-cpu-limit");
        let findings = [
            finding("Deployment", "web", tag),
            finding("Deployment", "cart", tag),
            finding("Deployment", "cart", tag),
            finding("Deployment", "api", tag),
            finding("Deployment", "api", limit),
            finding("Pod", "on*ce", tag),
        ];
        let terms = Terms { reason: "it's \"so\": # yes", owner: "no", expires: "2099-01-01" };
        let yaml = accept(&findings, terms, |finding| finding.object.name == "on*ce");
        assert_eq!((yaml.exemptions, yaml.of_cluster), (3, 1));
        let yaml = yaml.yaml;
        let catalogue = Catalogue::read(&[]).unwrap();
        let source = Source { file: "accepted.yaml".into(), text: yaml.clone().into() };
        let mut told: Vec<String> = Vec::new();
        for document in documents(&source) {
            let written = Arc::new(Written::parse(document).unwrap());
            let exemption = catalogue.exemption(&written).unwrap();
            let matches = &written.spec.matches;
            assert_eq!((&*exemption.owner, &*exemption.reason), ("no", terms.reason));
            told.push(format!(
                "{} {:?} {:?} {} {}",
                exemption.name.kind.as_str(),
                matches.kinds.clone().unwrap(),
                matches.names.clone().unwrap(),
                matches.namespaces.is_some(),
                exemption.rules.len(),
            ));
        }
        told.sort();
        let expected = [
            "ClusterExemption [\"core/Pod\"] [\"on[*]ce\"] true 1",
            "Exemption [\"apps/Deployment\"] [\"api\"] false 2",
            "Exemption [\"apps/Deployment\"] [\"cart\", \"web\"] false 1",
        ];
        assert_eq!(told, expected, "{yaml}");
        assert!(documents(&Source { file: "a".into(), text: accept(&[], terms, |_| false).yaml.into() }).is_empty());
    }

    #[test]
    fn what_is_accepted_is_exempt_when_it_is_scanned_again_and_what_is_new_fails() {
        let bundle = Bundle::build(Catalogue::read(&[]).unwrap(), &ProgramCache::default(), BackendChoice::Proven);
        let bundle = bundle.unwrap();
        let terms = Terms { reason: "at the start", owner: "team-shop", expires: "2099-01-01" };
        let mut found = finding("Deployment", "web", "container-image-tag");
        found.place = "/spec/template/spec/containers/[app]/image".into();
        let Acceptance { yaml, .. } = accept(&[found], terms, |_| false);
        assert!(yaml.contains("    containers: [app]\n"), "{yaml}");
        let written = Arc::new(Written::parse(Source { file: "accepted.yaml".into(), text: yaml.into() }).unwrap());
        let accepted = bundle.catalogue().exemption(&written).map(Arc::new).unwrap();
        let exemptions = Exemptions::new([accepted], &crate::policy::ExemptionTerms::default());
        let policies = asked(&bundle, &[], &[]).unwrap();
        let judge = Judge {
            bundle: &bundle,
            policies: &policies,
            limits: Limits { time: std::time::Duration::from_secs(10), instructions: 5_000_000 },
            exemptions: &exemptions,
            now: "2026-11-26T00:00:00Z".parse().unwrap(),
            shows_passed: false,
        };
        let of = |name: &str, containers: serde_json::Value| -> Vec<String> {
            let object = serde_json::json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
                "spec": {"replicas": 2, "template": {"spec": {"containers": containers}}},
            });
            let review = Review::of_file(Value::from(object), None, Inventory::new());
            let (entries, _) = judge.object(&review, &[], &mut Machines::default(), |_| None);
            let wanted = ["container-image-tag", "container-privileged"];
            let of = entries.iter().filter(|entry| wanted.contains(&entry.rule.as_str()));
            let mut said: Vec<String> = of.map(|entry| format!("{} {}", entry.rule, entry.result.as_str())).collect();
            said.sort();
            said
        };
        let app = |privileged: bool| serde_json::json!({"name": "app", "image": "nginx", "securityContext": {"privileged": privileged}});
        let said = |name: &str, privileged: bool| of(name, serde_json::json!([app(privileged)]));
        assert_eq!(said("web", false), ["container-image-tag exempt"]);
        let sidecar = serde_json::json!({"name": "sidecar", "image": "busybox"});
        let two = of("web", serde_json::json!([app(false), sidecar]));
        assert_eq!(two, ["container-image-tag exempt", "container-image-tag fail"], "another container counts");
        assert_eq!(
            said("web", true),
            ["container-image-tag exempt", "container-privileged fail"],
            "another rule counts"
        );
        assert_eq!(said("other", false), ["container-image-tag fail"], "another object counts");
    }
}
