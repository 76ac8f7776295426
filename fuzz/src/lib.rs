//! What the fuzzer calls: one function for each parser of outside input. Each takes any bytes, and panics when a promise
//! about them is broken. `tests/fuzz.rs` replays the corpora with the same functions.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target says that it found something"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gatepost::admission::request::{Means, NamespaceState};
use gatepost::admission::{Controllers, Envelope, Reviewer, speak};
use gatepost::config::Config;
use gatepost::engine::rego::{Backend, Library};
use gatepost::engine::review::{Inventory, kind_of};
use gatepost::engine::{
    BackendChoice, Budget, Bundle, Catalogue, Input, Limits, Machines, Outcome, ProgramCache, Review, Value, image,
    json, judge as evaluate, rego,
};
use gatepost::input::split::split_all;
use gatepost::input::{Lines, Surroundings, parse};
use gatepost::policy::modes::{GrantOrigin, parse_from};
use gatepost::policy::set::PolicySet;
use gatepost::policy::{Exemptions, Modes, NamespaceMeta, Provenance, Rule, Selector, Source};
use gatepost::report::redact::Redactor;
use jiff::Timestamp;

/// A target's name, which is also its corpus's, and the target.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("review", review),
    ("json", json),
    ("yaml", yaml),
    ("labels", labels),
    ("config", config),
    ("metadata", metadata),
    ("policy", policy),
    ("rego", rego),
    ("image", image),
    ("rules", rules),
];

/// Longest warning, as `design` promises it.
const LONGEST_WARNING: usize = 256;
/// No time that a busy machine could use up: what takes too long is told by the fuzzer's own limit.
const LIMITS: Limits = Limits { time: Duration::from_mins(1), instructions: 5_000_000 };
const ENOUGH: Duration = Duration::from_mins(2);
/// A configuration in which everything has a say.
const CONFIG: &str = r#"
defaults: {warn: recommended, audit: strict}
clusterScoped: {enforce: strict}
namespaces:
  - {match: {names: ["team-*"]}, set: {enforce: strict, severity: high, scope: all}}
floors:
  - {match: {names: ["*"]}, set: {enforce: baseline}}
  - {match: {labels: {env: prod}}, set: {enforce: recommended, severity: critical, scope: all}}
"#;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let catalogue = Catalogue::read(&[]).expect("the built-in policies are whole");
    Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("they compile")
});
static EXEMPTIONS: LazyLock<Arc<Exemptions>> = LazyLock::new(Arc::default);
static MODES: LazyLock<Modes> = LazyLock::new(|| parse_config(CONFIG).expect("a configuration").modes);

/// A body that somebody sends to `/validate` or `/mutate`: decoded, judged, mended and answered.
pub fn review(data: &[u8]) {
    let whole = Envelope::decode(data, None);
    let cut_off = Envelope::decode(data, Some(data.len() / 2));
    for envelope in [whole, cut_off].into_iter().flatten() {
        answer(&envelope);
        mend(&envelope);
    }
}

fn reviewer(controllers: &Controllers) -> Reviewer<'_> {
    Reviewer {
        kubernetes_version: None,
        bundle: &BUNDLE,
        modes: &MODES,
        exemptions: &EXEMPTIONS,
        controllers,
        judge_owned: false,
        limits: LIMITS,
    }
}

fn means<'a>(envelope: &Envelope, remaining: &'a dyn Fn() -> Duration, machines: &'a mut Machines) -> Means<'a> {
    let labels = BTreeMap::from([("gatepost.dev/mutate".to_owned(), "recommended".to_owned())]);
    let known = |name: &str| {
        NamespaceState::Known(Arc::new(NamespaceMeta { labels: labels.clone(), ..NamespaceMeta::named(name) }))
    };
    let namespace = envelope.judging_namespace().map_or(NamespaceState::None, known);
    Means { namespace, inventory: Inventory::new(), now: Timestamp::UNIX_EPOCH, remaining, machines }
}

fn mend(envelope: &Envelope) {
    let (mut machines, controllers) = (Machines::default(), Controllers::default());
    let mutation = reviewer(&controllers).mutate(envelope, means(envelope, &|| ENOUGH, &mut machines));
    let body = speak::mutation_answer(&envelope.uid, &mutation);
    let said: serde_json::Value = serde_json::from_slice(&body).expect("an answer is JSON");
    assert_eq!(said["response"]["allowed"], true, "{said}");
}

fn answer(envelope: &Envelope) {
    let remaining = || ENOUGH;
    let (mut machines, controllers) = (Machines::default(), Controllers::default());
    let decision = reviewer(&controllers).review(envelope, means(envelope, &remaining, &mut machines));
    let _ = envelope.is_unchanged_text();
    let body = speak::answer(&envelope.uid, &decision, None).body;
    let said: serde_json::Value = serde_json::from_slice(&body).expect("an answer is JSON");
    let response = &said["response"];
    assert_eq!(response["uid"], envelope.uid.as_str());
    assert_eq!(response["allowed"], decision.allowed);
    assert_eq!(response["status"]["code"] == 403, !decision.allowed, "{said}");
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().expect("a text");
        assert!(warning.chars().count() <= LONGEST_WARNING, "{warning}");
        assert!(!warning.contains(['\n', '\r']), "a warning is one line of a header: {warning:?}");
    }
    if let Some(deferred) = &decision.deferred {
        let _ = deferred.judge(&mut machines, &Budget { limits: LIMITS, remaining: &remaining });
    }
}

/// Our own JSON reader takes exactly what `serde_json` takes, and reads the same out of it.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let ours = json::parse(text);
    let theirs: Result<serde_json::Value, _> = serde_json::from_str(text);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?} {theirs:?}");
    if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
        assert!(is_same(&ours, &theirs), "{ours:?} {theirs:?}");
    }
}

/// Compares shape, keys and texts; numbers are written differently.
fn is_same(ours: &Value, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) | (Value::Number(_), serde_json::Value::Number(_)) => true,
        (Value::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
        (Value::String(ours), serde_json::Value::String(theirs)) => **ours == **theirs,
        (Value::Array(ours), serde_json::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_same(ours, theirs))
        }
        (Value::Object(ours), serde_json::Value::Object(theirs)) => {
            let is_there = |(key, value): (&Value, &Value)| {
                let key = if let Value::String(key) = key { &**key } else { return false };
                theirs.get(key).is_some_and(|theirs| is_same(value, theirs))
            };
            ours.len() == theirs.len() && ours.iter().all(is_there)
        }
        _ => false,
    }
}

/// A file of manifests: split, read, and every object of it prepared for its rules.
pub fn yaml(data: &[u8]) {
    let Ok(chunks) = split_all(data) else { return };
    let last_line = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    let is_utf8 = !matches!(data, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..]);
    let mut known = Surroundings::new(["core/LimitRange".to_owned()]);
    for chunk in chunks.into_iter().flatten() {
        let parsed = parse(&chunk);
        let lines = Lines::of(&chunk);
        for manifest in parsed.manifests.iter().take(20) {
            let place = gatepost::engine::Path::of_keys(&["metadata", "name"]);
            let line = lines.line(manifest, &place);
            assert!(line >= 1 && (line <= last_line || !is_utf8), "line {line} of {last_line}");
            known.add(&manifest.object);
            let _ = (known.home(&manifest.object), known.inventory(&manifest.object));
            let _ = Redactor::of(&manifest.object);
            let review = Review::of_file(manifest.object.clone(), None, Inventory::new());
            let input = Input::new(&review);
            assert_eq!(kind_of(input.object()).is_secret(), kind_of(&manifest.object).is_secret());
        }
        for fault in &parsed.faults {
            assert!(!fault.in_file("f").is_empty());
        }
    }
}

/// A Namespace's labels and annotations, one `KEY=VALUE` a line; annotations begin with `@`, a selector's globs with `*`.
pub fn labels(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut namespace = NamespaceMeta::named("shop");
    let mut globs = Vec::new();
    for line in text.lines() {
        let (map, line) = match line.strip_prefix('@') {
            Some(line) => (&mut namespace.annotations, line),
            None => (&mut namespace.labels, line),
        };
        match line.split_once('=') {
            Some((key, value)) => _ = map.insert(key.to_owned(), value.to_owned()),
            None => globs.push(line.to_owned()),
        }
    }
    let floors = |namespace: &NamespaceMeta| -> Vec<_> {
        let grants = MODES.grants(namespace, &*BUNDLE).grants;
        grants.into_iter().filter(|grant| grant.origin == GrantOrigin::Floor).collect()
    };
    let plain = floors(&NamespaceMeta::named("shop"));
    assert!(floors(&namespace).starts_with(&plain), "labels and annotations take no floor away");
    for notice in &MODES.grants(&namespace, &*BUNDLE).notices {
        assert!(!notice.to_string().is_empty());
    }
    let same = MODES.faults_brought_in(&namespace, Some(&namespace), &*BUNDLE);
    assert!(same.is_empty(), "a write that changes nothing brings nothing in: {same:?}");
    if let Ok(selector) = Selector::new(&globs, BTreeMap::new()) {
        let selected = selector.matches(&namespace);
        assert!(!selected || selector.could_match("shop"));
    }
    for value in namespace.annotations.values() {
        let _ = parse_from(value);
    }
}

/// The configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match parse_config(text) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let _ = config.check_policies(&*BUNDLE);
    for name in ["shop", "team-a", ""] {
        let _ = config.modes.grants(&NamespaceMeta::named(name), &*BUNDLE);
        let _ = config.modes.grants_of_unread(name, &*BUNDLE);
    }
}

fn parse_config(text: &str) -> Result<Config, gatepost::config::ConfigError> {
    Config::parse(Path::new("gatepost.yaml"), text)
}

/// The METADATA block of a rule.
pub fn metadata(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Rule::parse(Source::new("own/rule.rego", text), "own", Provenance::User) {
        Ok(rule) => assert!(!rule.id.as_str().is_empty() && !rule.kinds.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A policy file.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match PolicySet::parse(Source::new("own.yaml", text)) {
        Ok(set) => assert!(!set.name.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A rule's Rego: compiled for both backends, and run on nothing within its budget.
pub fn rego(data: &[u8]) {
    static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
        Library::new(&BUNDLE.catalogue().libraries(Provenance::User)).expect("the shared modules parse")
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The memory of one call of a built-in function is not bounded: docs/architecture.md.
    if ["range", "format_int", "sprintf", "repeat", "replace", "concat"].iter().any(|name| text.contains(name)) {
        return;
    }
    let source = Source::new("own/rule.rego", text);
    for backend in [Backend::Vm, Backend::Interpreter] {
        match rego::compile(&LIBRARY, &source, backend) {
            Ok(program) => _ = program.run(&mut Machines::default(), Value::new_object(), LIMITS),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A container image reference: its parts are the text again.
pub fn image(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(parts) = image::parse(text) else { return };
    let mut again = String::new();
    if let Some(registry) = parts.registry {
        again = format!("{registry}/");
    }
    again.push_str(parts.repository);
    for (sign, part) in [(':', parts.tag), ('@', parts.digest)] {
        if let Some(part) = part {
            again = format!("{again}{sign}{part}");
        }
    }
    assert_eq!(again, text);
}

/// The texts of an object that the shipped rules take apart: image, schedule, label, host, quantity, name, one a line.
pub fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (image, schedule, key, label, host, quantity, name) = (next(), next(), next(), next(), next(), next(), next());
    let metadata = serde_json::json!({"name": name, "namespace": host, "labels": {key: label}});
    let template = serde_json::json!({"metadata": metadata, "spec": {"containers": [
        {"name": name, "image": image, "resources": {"limits": {"cpu": quantity, "memory": quantity}}},
    ]}});
    let pods = serde_json::json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata,
        "spec": {"schedule": schedule, "timeZone": host, "jobTemplate": {"spec": {"template": template}}}});
    let ingress = serde_json::json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
        "spec": {"rules": [{"host": host}]}});
    let remaining = || ENOUGH;
    for object in [pods, ingress] {
        let review = Review::of_file(Value::from(object), None, Inventory::new());
        let input = Input::new(&review);
        let policy = BUNDLE.policy("strict").expect("ships");
        let checks = BUNDLE.matching(&review, input.has_template(), &[policy]);
        let budget = Budget { limits: LIMITS, remaining: &remaining };
        for judgement in evaluate(&input, &checks, &mut Machines::default(), &budget) {
            let rule = judgement.check.rule_id();
            assert!(!matches!(judgement.outcome, Outcome::Failed(_)), "{rule}: {:?}", judgement.outcome);
        }
    }
}
