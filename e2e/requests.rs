//! The ways in which a write arrives, and what the person at kubectl reads.

use serde_json::json;

use crate::support::http::body_of;
use crate::support::objects::{CONTAINER, container, deployment, pod, privileged, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, create, kubectl};

#[test]
fn kubectl_shows_object_rule_severity_container_and_fix() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &[]);
    let answer = shop.accepts(apply(&untagged("web")));
    let [warning] = answer.warnings()[..] else { panic!("one warning: {answer}") };
    let fix = warning.strip_prefix("gatepost: Deployment/web: container-image-tag (high): app: ");
    assert!(fix.is_some_and(|fix| !fix.is_empty()), "{answer}");
}

#[test]
fn one_warning_joins_the_containers_that_break_a_rule() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &[]);
    let mut sidecar = container("sidecar");
    sidecar["image"] = json!("envoy");
    let answer = shop.accepts(apply(&untagged("web").with("/spec/template/spec/containers/1", sidecar)));
    answer.warns_of("gatepost: Deployment/web: container-image-tag (high): app, sidecar: ");
    assert_eq!(answer.warnings().len(), 1, "{answer}");
}

#[test]
fn five_warnings_are_told_and_the_rest_counted() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &[]);
    // Eight rules: the tag, four of resources, two of probes, and one replica.
    let bare = deployment("web").with(CONTAINER, json!({"name": "app", "image": "nginx"})).with("/spec/replicas", 1);
    let answer = shop.accepts(apply(&bare));
    let warnings = answer.warnings();
    assert_eq!(warnings.len(), 6, "{answer}");
    assert!(warnings[5].contains('3'), "the rest should be counted: {answer}");
    assert!(warnings.iter().all(|warning| warning.len() <= 256), "{answer}");
}

#[test]
fn a_warning_and_a_denial_end_in_the_page_that_says_what_to_change() {
    const PEOPLE_REACH: &str = "https://gatepost.example.com";
    let arguments = &["--external-url", PEOPLE_REACH];
    let Some(gatepost) = Gatepost::start(&Options { arguments, ..Options::default() }) else { return };
    let shop = gatepost.namespace("linked", &["enforce=baseline"]);
    let link = |text: &str| {
        let (_, link) = text.split_once(&format!("what to change: {PEOPLE_REACH}"))?;
        link.split_whitespace().next().map(str::to_owned)
    };
    let warned = shop.accepts(apply(&untagged("web")));
    let [first, last] = warned.warnings()[..] else { panic!("a warning and where to read on: {warned}") };
    assert!(first.contains("container-image-tag") && link(first).is_none(), "{warned}");
    let bare = deployment("bare").with(CONTAINER, json!({"name": "app", "image": "nginx"})).with("/spec/replicas", 1);
    let counted = shop.accepts(apply(&bare));
    let rest = counted.warnings().last().copied().unwrap_or_default().to_owned();
    assert!(rest.contains("3 more; what to change: ") && rest.len() <= 256, "{counted}");
    let denied = shop.rejects(create(&privileged("root")));
    let denial = denied.denial().expect("a denial");
    let address = gatepost.serving().http().expect("an address");
    let links = [(last, "container-image-tag"), (&*rest, "container-cpu-limit"), (denial, "container-privileged")];
    for (text, rule) in links {
        let path = link(text).unwrap_or_else(|| panic!("a link: {text}"));
        eventually("the page of the decision", || body_of(&address, &path).filter(|page| page.contains(rule)));
    }
    let tried = shop.rejects(create(&privileged("tried")).dry_run());
    assert_eq!(tried.denial().and_then(link), None, "of a trial nothing is kept: {tried}");
}

#[test]
fn a_denial_is_forbidden_and_names_object_rule_and_container() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let answer = shop.rejects(create(&privileged("web").with(&format!("{CONTAINER}/image"), "nginx")));
    assert!(answer.stderr.contains("(Forbidden)"), "{answer}");
    let denial: String = answer.denial().unwrap_or_default().chars().take(200).collect();
    for part in ["Deployment/web", "container-privileged", "app"] {
        assert!(denial.contains(part), "should name {part}: {denial}");
    }
    // A denial carries the warnings too.
    answer.warns_of("container-image-tag");
}

#[test]
fn a_dry_run_gets_the_true_verdict_and_leaves_nothing() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    shop.rejects(apply(&privileged("web")).dry_run()).denies_for("container-privileged");
    shop.accepts(apply(&untagged("web")).dry_run()).warns_of("container-image-tag");
    assert_eq!(shop.accepts(kubectl("get deployments -o name")).stdout, "");
}

#[test]
fn server_side_apply_is_judged_when_it_creates_and_when_it_changes() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    shop.rejects(apply(&privileged("web")).with("--server-side")).denies_for("container-privileged");
    shop.accepts(apply(&deployment("web")).with("--server-side")).is_silent();
    shop.rejects(apply(&privileged("web")).with("--server-side")).denies_for("container-privileged");
    shop.accepts(apply(&untagged("web")).with("--server-side")).warns_of("container-image-tag");
}

#[test]
fn a_generated_name_is_the_one_that_is_told() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let nameless = |object: crate::support::objects::Object| {
        object.without("/metadata/name").with("/metadata/generateName", "job-")
    };

    let answer = shop.accepts(create(&nameless(pod("any").with("/spec/containers/0/image", "nginx"))).with("-o=name"));
    let name = answer.stdout.trim().trim_start_matches("pod/");
    assert!(name.len() > "job-".len(), "{answer}");
    answer.warns_of(&format!("gatepost: Pod/{name}: container-image-tag"));

    let bad = pod("any").with("/spec/containers/0/securityContext/privileged", true);
    shop.rejects(create(&nameless(bad))).denies_for("Pod/job-");
}
