//! The audit on a real cluster: what stands is found, and what was mended or deleted is told apart.

use std::process::Command;

use serde_json::Value;

use crate::support::control_plane::ControlPlane;
use crate::support::kubectl::create;
use crate::support::objects::{deployment, exemption, namespace, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, http, kubectl, manifests};

/// Asks the API, and returns the items of a list.
fn items(gatepost: &Gatepost, path: &str) -> Option<Vec<Value>> {
    let answer: Value = serde_json::from_str(&http::body_of(&gatepost.serving().http()?, path)?).ok()?;
    answer["items"].as_array().cloned()
}

#[test]
fn an_audit_finds_what_stands_and_tells_mended_from_deleted() {
    let arguments = &["--audit-interval", "2s"];
    let Some(gatepost) = Gatepost::start(&Options { arguments, ..Options::default() }) else { return };
    let shop = gatepost.namespace("audited", &["audit=strict"]);
    for name in ["gone", "web"] {
        shop.accepts(apply(&untagged(name)));
    }
    let named = |state: &str| -> Option<Vec<String>> {
        let found = items(
            &gatepost,
            &format!(
                "/api/v1/findings?namespace={}&kind=Deployment&rule=container-image-tag&sort=object&state={state}",
                shop.name
            ),
        )?;
        Some(found.iter().map(|finding| finding["resource"]["name"].as_str().unwrap_or_default().to_owned()).collect())
    };
    eventually("both are found", || (named("open")? == ["gone", "web"]).then_some(()));
    shop.accepts(apply(&deployment("web")));
    shop.accepts(kubectl("delete deployment/gone"));
    eventually("what was mended is closed as fixed", || (named("fixed")? == ["web"]).then_some(()));
    eventually("what is gone is closed as deleted", || (named("deleted")? == ["gone"]).then_some(()));
    assert_eq!(named("open"), Some(Vec::new()));
    eventually("an audit that does not judge again what is as it was", || {
        let audits = items(&gatepost, "/api/v1/audits")?;
        let complete = audits.iter().find(|audit| audit["state"] == "complete")?;
        (complete["objects"].as_u64() > complete["evaluated"].as_u64()).then_some(())
    });
}

const OWN: (&str, &str) = (
    "own.yaml",
    "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: own}\nspec: {rules: [{id: container-image-tag}]}\n",
);

#[test]
fn the_audit_judges_by_the_policies_that_the_configuration_names() {
    let (arguments, policies) = (&["--audit-interval", "2s"], &[OWN]);
    let config = "audit: {policies: [own]}\n";
    let Some(gatepost) = Gatepost::start(&Options { config, policies, arguments, ..Options::default() }) else {
        return;
    };
    let quiet = gatepost.namespace("unasked", &["warn=off", "audit=off"]);
    quiet.accepts(apply(&untagged("web")));
    let rules = |state: &str| -> Option<Vec<String>> {
        let found = items(&gatepost, &format!("/api/v1/findings?namespace={}&state={state}", quiet.name))?;
        Some(found.iter().map(|finding| finding["rule"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let reach = |policy: &str| -> Option<Value> {
        let found = items(&gatepost, &format!("/api/v1/suggestions?namespace={}{policy}", quiet.name))?;
        found.into_iter().find(|rule| rule["rule"] == "container-privileged" || rule["rule"] == "container-image-tag")
    };
    eventually("what the named policy finds, and nothing else", || {
        (rules("open")? == ["container-image-tag"]).then_some(())
    });
    // What an audit counted is there when it has ended.
    for (policy, rule, expected) in
        [("", "container-image-tag", "nearly"), ("&policy=strict", "container-privileged", "unjudged")]
    {
        eventually(expected, || {
            let told = reach(policy)?;
            (told["rule"] == rule && told["reach"] == expected).then_some(())
        });
    }

    gatepost.mount_config("audit: {policies: [ownn]}\n");
    let told = eventually("the refusal", || {
        let ready = gatepost.health("/readyz?verbose");
        ready.lines().find(|line| line.starts_with("[!]reload refused")).map(str::to_owned)
    });
    assert!(
        told.contains("config.yaml:1: audit.policies[0]: there is no policy \"ownn\", did you mean \"own\"?"),
        "{told}"
    );
    gatepost.mount_config("audit: {policies: []}\n");
    eventually("what nothing asks for any more to be out of scope", || {
        // A Pod may have been listed before its Deployment, and is out of scope too.
        (rules("outOfScope")?.contains(&"container-image-tag".to_owned()) && rules("open")?.is_empty()).then_some(())
    });
    gatepost.mount_config("audit: {policies: [strict]}\n");
    eventually("it to be found again", || rules("open")?.contains(&"container-image-tag".to_owned()).then_some(()));
}

#[test]
fn an_audit_is_cancelled_and_the_next_one_runs_as_usual() {
    let arguments = &["--audit-interval", "1h", "--audit-qps", "2"];
    let Some(gatepost) = Gatepost::start(&Options { arguments, ..Options::default() }) else { return };
    let state = |id: &Value| -> Option<Value> {
        let audits = items(&gatepost, "/api/v1/audits")?;
        audits.into_iter().find(|audit| audit["id"] == *id).map(|audit| audit["state"].clone())
    };
    let first = eventually("the first audit", || {
        let audits = items(&gatepost, "/api/v1/audits")?;
        audits.iter().find(|audit| audit["state"] == "running").map(|audit| audit["id"].clone())
    });
    let server = format!("http://{}", gatepost.serving().http().expect("an address"));
    let cancel = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        let output = command.args(["audit", "cancel", "--server", &server]).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    assert_eq!(cancel(&["9999"]), (Some(2), "error: there is no audit \"9999\"\n".to_owned()));
    assert_eq!(cancel(&[]).0, Some(0));
    eventually("it to be cancelled", || (state(&first)? == "cancelled").then_some(()));
    let (code, told) = cancel(&[&first.to_string()]);
    assert_eq!((code, told.contains("is not under way")), (Some(2), true), "{told}");
    eventually("another one to be taken on", || {
        (http::status_of_post(&gatepost.serving().http()?, "/api/v1/audits")? == 202).then_some(())
    });
    eventually("the next one", || {
        let audits = items(&gatepost, "/api/v1/audits?state=running")?;
        audits.iter().find(|audit| audit["id"].as_i64() > first.as_i64()).map(drop)
    });
    assert_eq!(cancel(&[]).0, Some(0));
}

#[test]
fn a_cluster_is_audited_once_from_a_laptop() {
    let Some(control_plane) = ControlPlane::own("laptop") else { return };
    let there = control_plane.kubectl();
    there.accepts(create(&namespace("looked-at").with("/metadata/labels/gatepost.dev~1enforce", "recommended")));
    there.in_namespace("looked-at").accepts(apply(&untagged("web")));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(["audit", "run"]).args(arguments).env("KUBECONFIG", control_plane.kubeconfig());
        let output = command.output().expect("gatepost runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, text) = run(&["-o", "json"]);
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let is_it =
        |result: &&Value| result["rule"] == "container-image-tag" && result["resource"]["namespace"] == "looked-at";
    let found: Vec<&Value> = answer["results"].as_array().expect("results").iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{text}");
    assert_eq!((&found[0]["action"], &found[0]["resource"]["kind"]), (&"deny".into(), &"Deployment".into()));
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = run(&["--fail-on", "none"]);
    assert!(text.contains("namespace looked-at") && text.contains("Deployment/web"), "{text}");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(run(&["--policy", "recomended"]).0, Some(2));
    assert_eq!(run(&["--kubeconfig", "/dev/null"]).0, Some(5));
}

#[test]
fn what_the_cluster_exempts_is_exempt_from_a_laptop_too() {
    let Some(control_plane) = ControlPlane::own("laptop-exempt") else { return };
    let there = control_plane.kubectl();
    let definitions = manifests::objects().into_iter().filter(|it| it.text("/kind") == "CustomResourceDefinition");
    for definition in definitions {
        there.accepts(apply(&definition));
    }
    for (namespace_of, kind) in [("own", "Exemption"), ("whole", "ClusterExemption")] {
        there.accepts(create(&namespace(namespace_of)));
        let inside = there.in_namespace(namespace_of);
        inside.accepts(apply(&untagged("web")));
        let excuse = exemption(kind, "legacy", namespace_of, "2099-01-01");
        eventually("the definitions to be served", || inside.run(apply(&excuse)).succeeded().then_some(()));
    }
    let refused = exemption("ClusterExemption", "refused", "refused", "2099-01-01").without("/spec/expires");
    there.accepts(create(&namespace("refused")));
    there.in_namespace("refused").accepts(apply(&untagged("web")));
    there.accepts(apply(&refused));
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(["audit", "run", "-o", "json", "--kubeconfig"]).arg(control_plane.kubeconfig());
        let output = command.output().expect("gatepost runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), answer)
    };
    let (code, answer) = run();
    let of = |namespace: &str| {
        let is_it = |result: &&Value| {
            result["rule"] == "container-image-tag" && result["resource"]["namespace"].as_str() == Some(namespace)
        };
        let found: Vec<&Value> = answer["results"].as_array().expect("results").iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{namespace}: {answer}");
        (found[0]["result"].clone(), found[0]["exemption"]["kind"].clone(), found[0]["exemption"]["name"].clone())
    };
    assert_eq!(of("own"), ("exempt".into(), "Exemption".into(), "legacy".into()));
    assert_eq!(of("whole"), ("exempt".into(), "ClusterExemption".into(), "legacy".into()));
    assert_eq!(of("refused"), ("fail".into(), Value::Null, Value::Null), "the configuration does not allow it");
    assert_eq!(code, Some(1), "{answer}");
    there.accepts(kubectl("delete namespace refused --wait=false"));
    there.in_namespace("refused").accepts(kubectl("delete deployment web"));
    eventually("what is exempt to fail no audit", || (run().0 == Some(0)).then_some(()));
}
