//! The scanner as the manifests run it, with the rights of its ServiceAccount and no others.

use std::fs;

use serde_json::{Value, json};

use crate::support::control_plane::ControlPlane;
use crate::support::kubectl::{apply, create, kubectl};
use crate::support::objects::{exemption, namespace, privileged, untagged};
use crate::support::rights::{self, Asked, Right, granted};
use crate::support::wait::eventually;
use crate::support::{http, manifests};

#[test]
fn it_may_read_all_that_a_cluster_serves_but_secrets() {
    let Some(control_plane) = ControlPlane::own("scanner") else { return };
    let there = control_plane.kubectl();
    there.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
    there.accepts(create(&namespace("scanned")));
    there.in_namespace("scanned").accepts(apply(&untagged("web")));
    let mut scanner = manifests::scanner("installed-scanner", &control_plane);
    scanner.with(["--audit-interval", "10m"]);
    scanner.launch();
    let address = scanner.http().expect("an address");
    let items = |path: &str| -> Option<Vec<Value>> {
        let answer: Value = serde_json::from_str(&http::body_of(&address, path)?).ok()?;
        answer["items"].as_array().cloned()
    };
    let audit = eventually("the first audit", || {
        items("/api/v1/audits")?.into_iter().find(|audit| audit["state"] != "running")
    });
    assert_eq!((&audit["state"], &audit["unread"]), (&"complete".into(), &serde_json::json!({})), "{audit}");
    let found = items("/api/v1/findings?namespace=scanned&rule=container-image-tag").expect("findings");
    assert_eq!(found.len(), 1, "{found:?}");

    let asked = Asked::read(&control_plane.audit_log(), rights::SCANNER);
    assert_eq!(asked.forbidden, Vec::<String>::new());
    assert!(asked.allowed.iter().all(|right| right.resource != "secrets" || right.name.is_some()));
    let audit_role =
        manifests::roles("scanner").into_iter().find(|role| role.text("/metadata/name") == "gatepost-audit");
    let served = there.accepts(kubectl("api-resources --verbs=list -o name"));
    let served: Vec<&str> = served.stdout.lines().map(str::trim).collect();
    // What has no object is listed again and not watched, and what did not change is not read again: rights to watch and
    // to get go with the one to list.
    let used = |right: &Right| asked.has_used(&Right { verb: "list".to_owned(), ..right.clone() });
    assert!(asked.allowed.iter().any(|right| right.verb == "watch" && right.resource == "deployments.apps"));
    let unused: Vec<String> = granted(&audit_role)
        .iter()
        .filter(|right| served.contains(&right.resource.as_str()) && !used(right))
        .map(ToString::to_string)
        .collect();
    assert_eq!(unused, Vec::<String>::new(), "rights that no audit uses");
}

#[test]
fn what_comes_in_while_no_webhook_answers_is_told_so() {
    let Some(control_plane) = ControlPlane::own("unheard") else { return };
    let there = control_plane.kubectl();
    there.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
    let mut scanner = manifests::scanner("unheard-scanner", &control_plane);
    scanner.with(["--audit-interval", "2s"]);
    scanner.launch();
    let address = scanner.http().expect("an address");
    let mut webhook = manifests::registered(&address, "unheard-webhook", &control_plane);
    there.accepts(create(&namespace("unheard")));
    there.accepts(kubectl("label namespace unheard gatepost.dev/enforce=recommended"));
    let inside = there.in_namespace("unheard");
    eventually("it to be enforced", || inside.run(create(&privileged("root")).dry_run()).denial().map(drop));
    // One that sees it enforced, and one after it.
    scanner.audited_once_more();
    scanner.audited_once_more();
    webhook.kill();
    inside.accepts(create(&privileged("root")));
    let ask = |path: &str| -> Option<Value> { serde_json::from_str(&http::body_of(&address, path)?).ok() };
    let told = eventually("it to be silent for long enough", || {
        let found = ask("/api/v1/findings?namespace=unheard&rule=container-privileged")?;
        let told = ask(&format!("/api/v1/findings/{}", found["items"][0]["id"].as_str()?))?;
        (told["wayIn"]["way"] == "whileAway").then_some(told)
    });
    let why = told["wayIn"]["why"].as_str().expect("words");
    assert!(why.contains("no webhook was heard of between") && told["broughtIn"] == Value::Null, "{told:#}");
}

#[test]
fn the_webhook_reports_to_it_with_a_token_of_its_service_account() {
    let Some(control_plane) = ControlPlane::own("reported") else { return };
    let there = control_plane.kubectl();
    there.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
    let mut scanner = manifests::scanner("reported-scanner", &control_plane);
    scanner.launch();
    let address = scanner.http().expect("an address");
    let webhook = manifests::registered(&address, "reported-webhook", &control_plane);
    there.accepts(create(&namespace("reported")));
    let reported = "gatepost_api_requests_total{method=\"post\",route=\"/api/v1/reports\",status=\"201\"}";
    let mut names = (0..).map(|number| untagged(&format!("web-{number}")));
    eventually("a decision with a violation to be reported", || {
        there.in_namespace("reported").accepts(create(&names.next()?));
        (scanner.metric(reported)? > 0.0).then_some(())
    });
    // One by users counts at admission only: that it is used the scanner reads in its status.
    let inside = there.in_namespace("reported");
    let by_user =
        exemption("Exemption", "by-user", "reported", "2099-01-01").with("/spec/match", json!({"users": ["*"]}));
    inside.accepts(apply(&by_user));
    let exemptions = |query: &str| -> Option<Vec<Value>> {
        let answer: Value =
            serde_json::from_str(&http::body_of(&address, &format!("/api/v1/exemptions{query}"))?).ok()?;
        answer["items"].as_array().cloned()
    };
    eventually("it to be in force", || inside.accepts(create(&names.next()?)).warnings().is_empty().then_some(()));
    eventually("the scanner to know of its use", || exemptions("")?.first()?["lastUsed"].as_str().map(drop));
    assert_eq!(exemptions("?state=unused"), Some(Vec::new()));
    let told = eventually("a decision that tells what was exempt", || {
        let answer = http::body_of(&address, "/api/v1/decisions?namespace=reported&rule=container-image-tag&limit=1")?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let result = answer["items"][0]["results"].as_array()?.iter().find(|result| result["result"] == "exempt")?;
        Some((result["exemption"].clone(), result["action"].clone()))
    });
    assert_eq!(told, ("Exemption reported/by-user".into(), "record".into()));
    // A token that is shown counts, on loopback too: the API server said whose it is, and that it may report, no more.
    let token = fs::read_to_string(webhook.directory().join("token")).expect("a token");
    assert_eq!(http::shown_to(&address, "/api/v1/findings", &token).map(|answer| answer.0), Some(403));
}
