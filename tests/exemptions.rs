//! Exemptions: one table of cases, and every place that judges must say the same of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gatepost::audit::judge::{Answer, Desk, Seen};
use gatepost::audit::judges::{Items, Judges};
use gatepost::audit::scope::{Looked, Rules, World};
use gatepost::config::Config;
use gatepost::engine::{BackendChoice, Bundle, Catalogue, Limits, ProgramCache};
use gatepost::policy::{Exemptions, GroupVersionKind, NamespaceMeta, Source};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::support::server::{Server, creation};

/// One object in a namespace of its own, the exemptions that stand there, and what must become of it.
struct Case {
    name: &'static str,
    /// What the namespace enforces, or warns of.
    labels: &'static str,
    /// Exemptions, as `kind {namespace} spec`; `NS` is the case's own namespace.
    exemptions: &'static [&'static str],
    /// Each rule with what is made of it.
    expected: &'static [(&'static str, &'static str)],
    /// The same at admission, where that differs.
    at_admission: Option<&'static [(&'static str, &'static str)]>,
}

const PRIVILEGED: &str = "container-privileged";
const LIMIT: &str = "container-cpu-limit";
const RULES: [&str; 2] = [PRIVILEGED, LIMIT];
const BASELINE: &str = "{gatepost.dev/enforce: baseline, gatepost.dev/warn: 'off'}";
const RECOMMENDED: &str = "{gatepost.dev/enforce: recommended, gatepost.dev/warn: 'off'}";
const WARNED: &str = "{gatepost.dev/warn: recommended}";
const BOTH: &str = "{gatepost.dev/enforce: baseline, gatepost.dev/warn: recommended}";
const FLOOR: &str = "{gatepost.dev/warn: 'off', floor: 'yes'}";

macro_rules! case {
    ($name:literal, $labels:expr, [$($exemption:literal),*], $expected:expr $(, at admission $differs:expr)?) => {
        Case { name: $name, labels: $labels, exemptions: &[$($exemption),*], expected: &$expected, at_admission: case!(@ $($differs)?) }
    };
    (@) => { None };
    (@ $differs:expr) => { Some(&$differs) };
}

/// The object is a Deployment `web` with the labels `app: web` and the containers `app` (`nginx:1.27.3`) and `old`
/// (`registry.example.com/legacy/tool:1`), both privileged and without a CPU limit.
const CASES: &[Case] = &[
    case!("nothing is exempt", RECOMMENDED, [], [(PRIVILEGED, "deny"), (LIMIT, "deny")]),
    case!(
        "what the policy marks is excused under enforce",
        RECOMMENDED,
        ["Exemption NS {rules: [container-cpu-limit], expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "what it does not mark is not",
        BASELINE,
        ["Exemption NS {rules: [container-privileged], expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "record")],
        at admission [(PRIVILEGED, "deny")]
    ),
    case!(
        "a warning is excused, marked or not",
        WARNED,
        ["Exemption NS {rules: [container-privileged], expires: 2099-01-01}"],
        [(PRIVILEGED, "exempt"), (LIMIT, "warn")]
    ),
    case!(
        "what warn says is excused, what enforce says stays",
        BOTH,
        ["Exemption NS {rules: [container-privileged, container-cpu-limit], expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "one of the cluster excuses under enforce",
        RECOMMENDED,
        ["ClusterExemption {rules: [container-privileged], match: {namespaces: [NS]}, expires: 2099-01-01}"],
        [(PRIVILEGED, "exempt"), (LIMIT, "deny")]
    ),
    case!(
        "one of a namespace never lifts a floor",
        FLOOR,
        ["Exemption NS {rules: [container-cpu-limit], expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "deny")]
    ),
    case!(
        "one of the cluster does",
        FLOOR,
        ["ClusterExemption {rules: [container-cpu-limit], match: {namespaces: [NS]}, expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "one that has ended excuses nothing",
        RECOMMENDED,
        ["Exemption NS {rules: [container-cpu-limit], expires: 2020-01-01T10:00:00+02:00}"],
        [(PRIVILEGED, "deny"), (LIMIT, "deny")]
    ),
    case!(
        "one without an end does, where that is allowed",
        RECOMMENDED,
        ["Exemption NS {rules: [container-cpu-limit]}"],
        [(PRIVILEGED, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "another name for a rule",
        RECOMMENDED,
        ["Exemption NS {rules: [CONTAINERS_MISSING_CPU_LIMIT_KEY], expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "a family",
        WARNED,
        ["Exemption NS {families: [security], expires: 2099-01-01}"],
        [(PRIVILEGED, "exempt"), (LIMIT, "warn")]
    ),
    case!(
        "kind, name and labels that fit",
        WARNED,
        [
            "Exemption NS {rules: [container-cpu-limit], match: {kinds: [apps/Deployment], names: ['w*'], selector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: NotIn, values: [db]}]}}, expires: 2099-01-01}"
        ],
        [(PRIVILEGED, "warn"), (LIMIT, "exempt")]
    ),
    case!(
        "another kind",
        WARNED,
        ["Exemption NS {rules: [container-cpu-limit], match: {kinds: [apps/StatefulSet]}, expires: 2099-01-01}"],
        [(PRIVILEGED, "warn"), (LIMIT, "warn")]
    ),
    case!(
        "another name",
        WARNED,
        ["Exemption NS {rules: [container-cpu-limit], match: {names: ['web-*']}, expires: 2099-01-01}"],
        [(PRIVILEGED, "warn"), (LIMIT, "warn")]
    ),
    case!(
        "other labels",
        WARNED,
        [
            "Exemption NS {rules: [container-cpu-limit], match: {selector: {matchLabels: {app: api}}}, expires: 2099-01-01}"
        ],
        [(PRIVILEGED, "warn"), (LIMIT, "warn")]
    ),
    case!(
        "an image excuses its container only",
        RECOMMENDED,
        [
            "Exemption NS {rules: [container-cpu-limit], match: {images: ['registry.example.com/legacy/*']}, expires: 2099-01-01}"
        ],
        [(PRIVILEGED, "deny"), (LIMIT, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "two exemptions do not widen each other",
        RECOMMENDED,
        [
            "Exemption NS {rules: [container-cpu-limit], match: {names: [web], images: ['other/*']}, expires: 2099-01-01}",
            "Exemption NS {rules: [container-cpu-limit], match: {names: [api], images: ['**']}, expires: 2099-01-01}",
            "Exemption NS {rules: [container-cpu-limit], match: {names: [web]}, expires: 2020-01-01}"
        ],
        [(PRIVILEGED, "deny"), (LIMIT, "deny")]
    ),
    case!(
        "a trusted namespace's counts where it says",
        RECOMMENDED,
        ["Exemption platform {rules: [container-cpu-limit], match: {namespaces: [NS]}, expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "another namespace's does not",
        RECOMMENDED,
        ["Exemption team {rules: [container-cpu-limit], match: {namespaces: [NS]}, expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "deny")]
    ),
    case!(
        "users count at admission only",
        RECOMMENDED,
        ["Exemption NS {rules: [container-cpu-limit], match: {users: ['ja*']}, expires: 2099-01-01}"],
        [(PRIVILEGED, "deny"), (LIMIT, "deny")],
        at admission [(PRIVILEGED, "deny"), (LIMIT, "exempt")]
    ),
    case!(
        "another user",
        RECOMMENDED,
        [
            "Exemption NS {rules: [container-cpu-limit], match: {users: [system:serviceaccount:ci:deploy]}, expires: 2099-01-01}"
        ],
        [(PRIVILEGED, "deny"), (LIMIT, "deny")]
    ),
];

fn namespace(index: usize) -> String {
    format!("case-{index}")
}

/// Returns the policy file of all cases.
fn exemptions() -> String {
    let mut text = String::new();
    for (index, case) in CASES.iter().enumerate() {
        for (number, exemption) in case.exemptions.iter().enumerate() {
            let (kind, rest) = exemption.split_once(' ').expect("a kind");
            let (at, spec) = rest.split_once('{').expect("a spec");
            let at = match at.trim() {
                "" => String::new(),
                at => format!(", namespace: {}", at.replace("NS", &namespace(index))),
            };
            let spec = spec.replace("NS", &namespace(index));
            let _ = writeln!(
                text,
                "---\napiVersion: gatepost.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: case-{index}-{number}{at}}}\n\
                 spec: {{reason: for the test, owner: team-a, {spec}"
            );
        }
    }
    text
}

fn config() -> String {
    let mut text = "exemptions: {from: [platform], permanent: true}\n\
                    floors:\n- match: {labels: {floor: 'yes'}}\n  set: {enforce: recommended}\nstatic:\n"
        .to_owned();
    for (index, case) in CASES.iter().enumerate() {
        let _ = writeln!(text, "  {}: {{labels: {}}}", namespace(index), case.labels);
    }
    text
}

fn object(namespace: &str) -> Json {
    let container = |name: &str, image: &str| {
        json!({"name": name, "image": image, "securityContext": {"privileged": true},
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "livenessProbe": {"tcpSocket": {"port": 80}}, "readinessProbe": {"tcpSocket": {"port": 80}}})
    };
    let containers = [container("app", "nginx:1.27.3"), container("old", "registry.example.com/legacy/tool:1")];
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"app": "web"}, "uid": namespace, "annotations": {
            // They count only where the configuration says so.
            "datree.skip/CONTAINERS_INCORRECT_PRIVILEGED_VALUE_TRUE": "because",
            "gatepost.dev/skip": "container-memory-limit, CONTAINERS_MISSING_CPU_LIMIT_KEY",
            "gatepost.dev/skip-reason": "because",
        }},
        "spec": {"replicas": 2, "template": {"spec": {"containers": containers}}}})
}

type Made = BTreeSet<(String, String)>;

fn made<'a>(list: impl IntoIterator<Item = (&'a str, &'a str)>) -> Made {
    let ours = list.into_iter().filter(|(rule, _)| RULES.contains(rule));
    ours.map(|(rule, what)| (rule.to_owned(), what.to_owned())).collect()
}

/// Returns what a ScanResult makes of each case, by namespace.
fn of_scan(result: &Json) -> BTreeMap<String, Made> {
    let mut all: BTreeMap<String, Made> = BTreeMap::new();
    for result in result["results"].as_array().expect("results") {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let what = if result["result"] == "exempt" { "exempt".into() } else { text(&result["action"]) };
        if result["result"] == "exempt" {
            let note = &result["exemption"];
            assert_eq!((&note["reason"], &note["owner"]), (&json!("for the test"), &json!("team-a")), "{result}");
            assert!(note["expires"] == "2099-01-01T00:00:00Z" || note.get("expires").is_none(), "{result}");
        }
        let entry = all.entry(text(&result["resource"]["namespace"])).or_default();
        entry.extend(made([(text(&result["rule"]).as_str(), what.as_str())]));
    }
    all
}

fn check(place: &str, found: &BTreeMap<String, Made>) {
    for (index, case) in CASES.iter().enumerate() {
        let expected = case.at_admission.filter(|_| place == "admission").unwrap_or(case.expected);
        let found = found.get(&namespace(index)).cloned().unwrap_or_default();
        assert_eq!(found, made(expected.iter().copied()), "{}: {place}", case.name);
    }
}

fn documents() -> String {
    (0..CASES.len()).map(|index| object(&namespace(index)).to_string()).collect::<Vec<_>>().join("\n---\n")
}

#[test]
fn every_place_that_judges_excuses_the_same() {
    let files = [("config.yaml", config()), ("policies/exemptions.yaml", exemptions())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let server = Server::start(&files, &["--config", "config.yaml", "--policies", "policies"], &[]);

    let (status, body) = server.ask("POST", "/api/v1/scan?policy=recommended", "", &documents());
    assert_eq!(status, 200, "{body}");
    check("scan endpoint", &of_scan(&serde_json::from_str(&body).expect("JSON")));

    check("admission", &at_admission(&server));

    std::fs::write(server.path("objects.yaml"), documents()).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["scan", "objects.yaml", "-o", "json", "--config", "config.yaml", "--policies", "policies"]);
    let output = command.current_dir(server.path(".")).output().expect("it runs");
    let result: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    check("command line", &of_scan(&result));
    assert!(result["summary"]["exempt"].as_u64() > Some(5), "{}", result["summary"]);
    let exempted = "gatepost_rule_exempted_violations_total{rule=\"container-cpu-limit\"}";
    assert!(server.metric(exempted) > 5, "{}", server.metrics());

    check("audit", &in_the_audit("2026-06-01T00:00:00Z"));
}

fn at_admission(server: &Server) -> BTreeMap<String, Made> {
    let judge = |index: usize| {
        let response = server.review(&creation(&namespace(index), &object(&namespace(index))));
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let said = |text: &str| RULES.into_iter().filter(|rule| text.contains(rule)).collect::<Vec<_>>();
        let denied = text(&response["status"]["message"]);
        let exempted = text(&response["auditAnnotations"]["exempted"]);
        let warned: Vec<String> = response["warnings"].as_array().into_iter().flatten().map(text).collect();
        let list = [("deny", denied), ("exempt", exempted), ("warn", warned.join("\n"))];
        let made = list.iter().flat_map(|(what, text)| said(text).into_iter().map(move |rule| (rule, *what)));
        (namespace(index), self::made(made))
    };
    (0..CASES.len()).map(judge).collect()
}

static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::read(&[vec![Source::new("exemptions.yaml", exemptions())]]).expect("whole exemptions"));

fn in_the_audit(now: &str) -> BTreeMap<String, Made> {
    let config = Config::parse("config.yaml".as_ref(), &config()).expect("a configuration");
    let bundle = Bundle::build(CATALOGUE.clone(), &ProgramCache::default(), BackendChoice::Proven).expect("a bundle");
    let exemptions = Exemptions::new(bundle.catalogue().exemptions().iter().cloned(), &config.exemptions);
    let namespaces: HashMap<String, Arc<NamespaceMeta>> =
        config.static_namespaces.iter().map(|(name, meta)| (name.clone(), Arc::new(meta.clone()))).collect();
    let rules = Rules {
        kubernetes_version: None,
        bundle: Arc::new(bundle),
        config: Arc::new(config),
        exemptions: Arc::new(exemptions),
        policies: vec!["strict".into()],
        limits: Limits { time: Duration::from_secs(5), instructions: 10_000_000 },
        judge_owned: false,
    };
    let now: Timestamp = now.parse().expect("an instant");
    let desk = Desk {
        world: Arc::new(World::new(rules, Some(namespaces), Looked::new(), now)),
        cluster: String::new(),
        owners: Arc::default(),
        known: Arc::default(),
        kind: GroupVersionKind::of("apps/v1", "Deployment"),
        namespaced: true,
        makes_others: false,
    };
    let items: Vec<Json> = (0..CASES.len()).map(|index| object(&namespace(index))).collect();
    let (items, _) = Items::read(json!({"items": items}).to_string()).expect("a page");
    let mut slices = Judges::new(1).judge(desk, items);
    let mut seen = Vec::new();
    while let Some(slice) = slices.blocking_recv() {
        seen.extend(slice.into_iter().map(|seen| seen.expect("it can be read")));
    }
    let of = |seen: Seen| {
        let Answer::Now(said) = seen.answer else { panic!("it is not judged") };
        let made = said.entries.iter().filter_map(|entry| {
            let exempt = entry.exemption.is_some().then_some("exempt");
            let action = entry.action.filter(|_| entry.message.is_some()).map(gatepost::admission::Action::as_str);
            Some((entry.rule.as_str(), exempt.or(action)?))
        });
        (seen.namespace, self::made(made))
    };
    seen.into_iter().map(of).collect()
}

#[test]
fn what_ends_counts_again_from_that_instant() {
    let before = in_the_audit("2098-12-31T23:59:59.999Z");
    check("audit", &before);
    let after = in_the_audit("2099-01-01T00:00:00Z");
    let exempt = |all: &BTreeMap<String, Made>| all.values().flatten().filter(|(_, what)| what == "exempt").count();
    assert!(exempt(&before) > 5);
    assert_eq!(exempt(&after), 1, "only the one without an end");
}

#[test]
fn the_api_lists_how_each_stands() {
    let one = |name: &str, namespace: &str, end: &str| {
        format!(
            "---\napiVersion: gatepost.dev/v1alpha1\nkind: Exemption\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{rules: [container-cpu-limit], reason: because of {name}, owner: team-{namespace}, expires: {end}}}\n"
        )
    };
    let soon = (Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string();
    let text =
        [one("old", "shop", "2020-01-01"), one("soon", "shop", &soon), one("late", "bank", "2099-01-01")].concat();
    let config = "static: {shop: {labels: {gatepost.dev/enforce: recommended}}}\n";
    let files = [("config.yaml", config), ("policies/exemptions.yaml", &*text)];
    let server = Server::start(&files, &["--config", "config.yaml", "--policies", "policies"], &[]);
    let ask = |query: &str| {
        let (status, body) = server.ask("GET", &format!("/api/v1/exemptions{query}"), "", "");
        assert_eq!(status, 200, "{query}: {body}");
        serde_json::from_str::<Json>(&body).expect("JSON")
    };
    let names = |query: &str| {
        let list = ask(query);
        let name = |item: &Json| item["name"].as_str().expect("a name").to_owned();
        list["items"].as_array().expect("items").iter().map(name).collect::<Vec<_>>().join(" ")
    };
    server.review(&creation("shop", &object("shop")));
    for (query, expected) in [
        ("", "late old soon"),
        ("?state=active", "late soon"),
        ("?state=ending", "soon"),
        ("?state=expired", "old"),
        ("?state=unused", "late"),
        ("?state=refused", ""),
        ("?namespace=shop", "old soon"),
        ("?owner=team-bank", "late"),
        ("?rule=CONTAINERS_MISSING_CPU_LIMIT_KEY&text=late", "late"),
        ("?rule=container-privileged", ""),
        ("?limit=2", "late old"),
    ] {
        assert_eq!(names(query), expected, "{query}");
    }
    let next = ask("?limit=2")["next"].as_str().expect("another page").to_owned();
    assert_eq!(names(&format!("?limit=2&cursor={next}")), "soon");
    assert_eq!(server.ask("GET", "/api/v1/exemptions?cursor=x", "", "").0, 400);
    let used = &ask("?state=ending")["items"][0];
    assert!(used["lastUsed"].is_string() && used["ends"] == soon, "{used}");
    assert_eq!(used["excuses"], json!(["container-cpu-limit"]));
    check_command_line(&server, &soon);
}

/// The command line prints what the API lists.
fn check_command_line(server: &Server, soon: &str) {
    let list = |url: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        let output = command.args(["exemptions", "list", "--url", url]).args(arguments).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let url = format!("http://{}", server.http());
    let (code, text, error) = list(&url, &["--state", "unused,expired"]);
    let expected = "active, unused  until 2099-01-01T00:00:00Z  Exemption bank/late  container-cpu-limit  team-bank: because of late\n\
        expired  until 2020-01-01T00:00:00Z  Exemption shop/old  container-cpu-limit  team-shop: because of old\n";
    assert_eq!((code, text.as_str()), (Some(0), expected), "{error}");
    let (_, text, _) = list(&url, &["--state", "ending", "-o", "json"]);
    let told: Json = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&told["items"][0]["ends"], &told["next"]), (&json!(soon), &Json::Null), "{text}");
    let (code, text, _) = list(&url, &["--namespace", "nowhere"]);
    assert_eq!((code, text.as_str()), (Some(0), "There are no such exemptions.\n"));
    let (code, _, error) = list(&url, &["--state", "endign"]);
    assert!(code == Some(2) && error.contains("did you mean \"ending\"?"), "{error}");
    let (code, _, error) = list("http://127.0.0.1:1", &[]);
    assert!(code == Some(5) && error.contains("127.0.0.1:1"), "{error}");
}

#[test]
fn annotations_excuse_what_only_warns_where_they_are_heeded() {
    let modes = [
        ("warned", WARNED, "exempt", "exempt"),
        ("enforced", RECOMMENDED, "deny", "deny"),
        ("both", BOTH, "deny", "exempt"),
        ("floor", FLOOR, "deny", "deny"),
    ];
    let mut config = "exemptions: {skipAnnotations: true}\nfloors:\n- match: {labels: {floor: 'yes'}}\n  \
                      set: {enforce: recommended}\nstatic:\n"
        .to_owned();
    for (name, labels, ..) in modes {
        let _ = writeln!(config, "  {name}: {{labels: {labels}}}");
    }
    let server = Server::start(&[("config.yaml", &config)], &["--config", "config.yaml"], &[]);
    for (name, _, privileged, limit) in modes {
        let expected = made([(PRIVILEGED, privileged), (LIMIT, limit)]);
        let (_, body) = server.ask("POST", "/api/v1/scan", "", &object(name).to_string());
        let result: Json = serde_json::from_str(&body).expect("JSON");
        let found = result["results"].as_array().expect("results").iter().map(|result| {
            let is_exempt = result["result"] == "exempt";
            (
                result["rule"].as_str().unwrap_or_default(),
                if is_exempt { "exempt" } else { result["action"].as_str().unwrap_or_default() },
            )
        });
        assert_eq!(made(found), expected, "{name}: {body}");
        let response = server.review(&creation(name, &object(name)));
        let exempted = response["auditAnnotations"]["exempted"].as_str().unwrap_or_default();
        assert_eq!(exempted.contains(LIMIT), limit == "exempt", "{name}: {response}");
        assert_eq!(response["allowed"], privileged == "exempt", "{name}: {response}");
    }
    let (_, body) = server.ask("POST", "/api/v1/scan", "", &object("warned").to_string().replace("because", " "));
    assert!(!body.contains("\"exempt\",\"action\""), "without a reason they say nothing: {body}");
}
