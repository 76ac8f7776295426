//! Beside a real Argo CD, which installs Gatepost and then everything else through it.

use serde_json::{Value, json};

use crate::events;
use crate::support::argocd::{application, is_synced, syncs};
use crate::support::decisions::Decision;
use crate::support::delivered::{Delivered, runs_pods};
use crate::support::objects::{Object, config_map, cron_job, deployment, privileged, untagged};
use crate::support::wait::eventually;
use crate::support::{create, http, kubectl, patch};

/// A policy that every Application with a certain label breaks.
const APPLICATIONS: [(&str, &str); 2] = [
    (
        "application-marked.rego",
        r#"# METADATA
# title: Application is not marked
# custom:
#   id: application-marked
#   severity: high
#   category: test
#   kinds: [argoproj.io/Application]
#   fix: Take the label away.
package gatepost.rules.application_marked

violation contains {"message": "it is marked", "path": ["metadata", "labels", "marked"]} if {
	input.object.metadata.labels.marked
}
"#,
    ),
    (
        "applications.yaml",
        "apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: applications}
spec: {rules: [{id: application-marked}]}
",
    ),
];

fn delivered() -> Option<&'static Delivered> {
    Delivered::shared(&APPLICATIONS)
}

/// Who edits Applications, in these tests.
const US: &str = "mallory";

/// Returns what was decided about the updates of an Application that are not our own.
fn updates(delivered: &Delivered, name: &str) -> Vec<Decision> {
    let is_theirs =
        |decision: &Decision| decision.operation == "UPDATE" && decision.kind == "Application" && decision.user != US;
    delivered.decisions().into_iter().filter(is_theirs).filter(|decision| decision.name == name).collect()
}

/// Returns the registration as it stands.
fn registration(delivered: &Delivered) -> Object {
    let live = delivered.kubectl().accepts(kubectl("get validatingwebhookconfiguration gatepost -o json"));
    live.objects().remove(0)
}

/// Refreshes Gatepost's own Application again and again: nothing differs from Git, and nothing is healed.
fn does_not_drift(delivered: &Delivered, refreshes: usize) {
    let argocd = &delivered.argocd;
    let (before, installed) = (registration(delivered), argocd.comes_to_be_synced("gatepost"));
    for refresh in 0..refreshes {
        let application = argocd.refresh("gatepost", if refresh % 2 == 0 { "hard" } else { "normal" });
        assert!(is_synced(&application), "after refresh {refresh}: {}", application.0["status"]);
    }
    assert_eq!(syncs(&argocd.get("gatepost")), syncs(&installed), "it was healed, though nobody had changed anything");
    assert_eq!(registration(delivered), before);
}

/// Changes the registration by hand: Argo CD puts it right, and leaves alone what Gatepost wrote.
fn is_healed(delivered: &Delivered) {
    let bundle = |live: &Object| live.text("/webhooks/1/clientConfig/caBundle").to_owned();
    let before = bundle(&registration(delivered));
    assert_ne!(before, "");
    let change = json!([{"op": "replace", "path": "/webhooks/1/timeoutSeconds", "value": 29}]);
    delivered.kubectl().accepts(patch("validatingwebhookconfiguration/gatepost", &change));
    let healed = eventually("Argo CD to heal it", || {
        delivered.argocd.refresh("gatepost", "normal");
        let live = registration(delivered);
        (live.0["webhooks"][1]["timeoutSeconds"] == 3).then_some(live)
    });
    assert_eq!(bundle(&healed), before);
}

#[test]
fn its_own_application_stays_as_in_git() {
    let Some(delivered) = delivered() else { return };
    does_not_drift(delivered, 12);
    is_healed(delivered);
    let server_side = json!({
        "metadata": {"annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}},
        "spec": {"syncPolicy": {"syncOptions": ["ServerSideApply=true"]}},
    });
    delivered.argocd.kubectl().accepts(patch("application/gatepost", &server_side).acting_as(US));
    does_not_drift(delivered, 8);
    is_healed(delivered);
    does_not_drift(delivered, 2);

    let judged: Vec<_> =
        updates(delivered, "gatepost").into_iter().filter(|update| update.reason != "unchanged").collect();
    assert!(judged.is_empty(), "{judged:?}");
}

#[test]
fn status_refreshes_and_finalizers_of_a_bad_application_pass() {
    let Some(delivered) = delivered() else { return };
    let argocd = &delivered.argocd;
    delivered.repository.commit("idle", [&config_map("idle", "key", "one")]);
    let marked = application(&delivered.repository, "idle").with("/metadata/labels/marked", "yes");
    let marked = marked.with("/spec/syncPolicy/syncOptions", json!(["CreateNamespace=true"]));
    argocd.kubectl().accepts(create(&marked));
    argocd.comes_to_be_synced("idle");
    for setting in [
        "annotate namespace argocd gatepost.dev/enforce-scope=all",
        "label namespace argocd gatepost.dev/enforce=applications",
    ] {
        delivered.kubectl().accepts(kubectl(setting));
    }
    let edit = patch("application/idle", &json!({"spec": {"project": "other"}})).acting_as(US).dry_run();
    eventually("edits to be denied", || argocd.kubectl().run(&edit).denial().map(drop));

    let before = updates(delivered, "idle").len();
    for _ in 0..5 {
        argocd.refresh("idle", "normal");
    }
    delivered.repository.commit("idle", [&config_map("idle", "key", "two")]);
    argocd.refresh("idle", "normal");
    argocd.comes_to("idle", "sync the next commit", |application| is_synced(application) && syncs(application) == 2);
    argocd.kubectl().accepts(kubectl("delete application idle --timeout=60s"));
    let there = delivered.kubectl().in_namespace("idle");
    assert_eq!(
        there.accepts(kubectl("get configmap idle --ignore-not-found")).stdout,
        "",
        "the finalizer did its work"
    );

    let since = updates(delivered, "idle").split_off(before);
    assert!(since.len() > 12, "refreshes, status, operation and finalizer are updates: {since:#?}");
    assert!(since.iter().all(|update| update.allowed && update.reason == "unchanged"), "{since:#?}");
}

/// Asks a scanner for Applications that are stuck, and has one synced again as it says.
fn is_listed_with_what_syncs_again(delivered: &Delivered, name: &str) {
    let mut scanner = delivered.scanner("gitops-scanner");
    scanner.launch();
    let listed = || -> Option<Value> {
        let answer: Value =
            serde_json::from_str(&http::body_of(&scanner.http()?, "/api/v1/applications?denied=true")?).ok()?;
        assert_eq!(answer["unread"], Value::Null);
        answer["items"].as_array()?.iter().find(|application| application["name"] == name).cloned()
    };
    let stuck = eventually("the Application that is stuck", || {
        listed().filter(|application| application["failedSync"]["retrying"] == false)
    });
    assert_eq!((&stuck["namespace"], &stuck["project"]), (&"argocd".into(), &"default".into()));
    let denied = &stuck["failedSync"]["denied"][0];
    let expected = json!(["apps", "Deployment", "shop", "web", "container-privileged"]);
    let told: Vec<&Value> = ["group", "kind", "namespace", "name", "rule"].iter().map(|part| &denied[*part]).collect();
    assert_eq!(json!(told), expected, "{stuck}");
    assert_eq!(stuck["failedSync"]["commands"]["argocd"], format!("argocd app sync argocd/{name}"));

    let command = stuck["failedSync"]["commands"]["kubectl"].as_str().expect("a command");
    let (words, operation) = command.split_once(" -p ").expect("a patch");
    let words = words.strip_prefix("kubectl -n argocd ").expect("where Argo CD is");
    delivered.argocd.kubectl().accepts(kubectl(words).with("-p").with(operation.trim_matches('\'')));
    eventually("Argo CD to try again", || {
        let again = listed()?;
        (again["failedSync"]["since"] != stuck["failedSync"]["since"]).then_some(())
    });
}

#[test]
fn a_denied_sync_says_why_and_goes_on_after_the_fix() {
    let Some(delivered) = delivered() else { return };
    let argocd = &delivered.argocd;
    delivered.repository.commit("shop", [&privileged("web")]);
    let shop = application(&delivered.repository, "shop");
    let shop = shop
        .with("/spec/syncPolicy/syncOptions", json!(["CreateNamespace=true"]))
        .with("/spec/syncPolicy/managedNamespaceMetadata", json!({"labels": {"gatepost.dev/enforce": "baseline"}}));
    argocd.kubectl().accepts(create(&shop));

    let denied = argocd
        .comes_to("shop", "be denied", |application| application.text("/status/operationState/phase") == "Failed");
    let first = |message: &str| -> String { message.chars().take(200).collect() };
    let message = first(denied.text("/status/operationState/message"));
    for said in ["Deployment/web", "container-privileged (critical)", "container app", "set"] {
        assert!(message.contains(said), "{said:?} should be in {message:?}");
    }
    let results = denied.0.pointer("/status/operationState/syncResult/resources").and_then(Value::as_array);
    let result = results.and_then(|results| results.iter().find(|result| result["kind"] == "Deployment"));
    let result = first(result.and_then(|result| result["message"].as_str()).expect("a result for the Deployment"));
    for said in ["Deployment/web", "container app", "set securityContext.privileged to false"] {
        assert!(result.contains(said), "{said:?} should be in {result:?}");
    }
    let there = delivered.kubectl().in_namespace("shop");
    assert_eq!(there.accepts(kubectl("get deployments -o name")).stdout, "");

    is_listed_with_what_syncs_again(delivered, "shop");

    delivered.repository.commit("shop", [&deployment("web")]);
    argocd.refresh("shop", "normal");
    runs_pods(&there, 2);
    argocd.comes_to_be_synced("shop");
}

#[test]
fn a_new_violation_is_an_event_at_its_application_and_knows_its_sync() {
    let Some(delivered) = delivered() else { return };
    let argocd = &delivered.argocd;
    delivered.repository.commit("told", [&deployment("web")]);
    let told = application(&delivered.repository, "told");
    argocd.kubectl().accepts(create(&told.with("/spec/syncPolicy/syncOptions", json!(["CreateNamespace=true"]))));
    argocd.comes_to("told", "be synced", |application| syncs(application) == 1);
    let mut scanner = delivered.told_scanner("told-scanner");
    scanner.with(["--audit-interval", "2s", "--events"]);
    scanner.launch();
    eventually("the first audit", || scanner.logged("what stands was audited").first().map(drop));
    delivered.repository.commit("told", [&untagged("web")]);
    argocd.refresh("told", "normal");
    let expected =
        "Application/told: 1 new violation in what it delivers: told Deployment/web: container-image-tag (high)";
    eventually("an Event at the Application", || {
        events::notes(argocd.kubectl()).into_iter().find(|note| note == expected)
    });
    let is_at_object = |note: &String| note.starts_with("Deployment/web: 1 new violation: ");
    eventually("another one at the object", || {
        events::notes(&delivered.kubectl().in_namespace("told")).into_iter().find(is_at_object)
    });
    let ask = |path: &str| -> Option<Value> {
        serde_json::from_str(&http::body_of(&scanner.http()?, &format!("/api/v1/findings{path}"))?).ok()
    };
    let brought = eventually("the sync that brought it in", || {
        let found = ask("?namespace=told&rule=container-image-tag")?;
        let brought = ask(&format!("/{}", found["items"][0]["id"].as_str()?))?["broughtIn"].clone();
        brought["revision"].is_string().then_some(brought)
    });
    assert_eq!(brought["application"], json!({"kind": "Application", "namespace": "argocd", "name": "told"}));
    let history = argocd.get("told").0["status"]["history"].clone();
    let revisions: Vec<&Value> = history.as_array().expect("a history").iter().map(|sync| &sync["revision"]).collect();
    assert!(revisions.contains(&&brought["revision"]), "{brought} is none of {revisions:?}");
}

#[test]
fn an_object_that_was_mended_does_not_drift() {
    const SCHEDULES: [&str; 4] = ["0 0 31 2 *", "1 0 31 2 *", "2 0 31 2 *", "3 0 31 2 *"];
    let Some(delivered) = delivered() else { return };
    let argocd = &delivered.argocd;
    delivered.mends();
    let commit = |schedule: usize| {
        let job = cron_job("nightly").with("/spec/schedule", SCHEDULES[schedule]);
        delivered.repository.commit("nightly", [&job]);
    };
    commit(0);
    let nightly = application(&delivered.repository, "nightly")
        .with("/spec/syncPolicy/syncOptions", json!(["CreateNamespace=true"]))
        .with("/spec/syncPolicy/managedNamespaceMetadata", json!({"labels": {"gatepost.dev/mutate": "recommended"}}));
    argocd.kubectl().accepts(create(&nightly));
    argocd.comes_to_be_synced("nightly");
    let there = delivered.kubectl().in_namespace("nightly");
    let live = || there.accepts(kubectl("get cronjob nightly -o json")).objects().remove(0).0["spec"].clone();
    let is_mended = || live()["startingDeadlineSeconds"] == 600;
    let stays = || {
        let before = syncs(&argocd.get("nightly"));
        for how in ["normal", "hard", "normal", "hard"] {
            let application = argocd.refresh("nightly", how);
            assert!(is_synced(&application), "{}", application.0["status"]["sync"]);
        }
        assert_eq!(syncs(&argocd.get("nightly")), before, "it was healed, though nobody had changed anything");
    };
    let set = |settings: Value| argocd.kubectl().accepts(patch("application/nightly", &settings).acting_as(US));
    let synced = |schedule: usize| {
        commit(schedule);
        argocd.refresh("nightly", "normal");
        eventually("the next commit", || (live()["schedule"] == SCHEDULES[schedule]).then_some(()));
        argocd.comes_to_be_synced("nightly");
    };
    assert!(is_mended());
    stays();

    set(json!({
        "metadata": {"annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}},
        "spec": {"syncPolicy": {"syncOptions": ["CreateNamespace=true", "ServerSideApply=true"]}},
    }));
    stays();
    synced(1);
    assert!(is_mended(), "{}", live());
    stays();

    set(json!({
        "metadata": {"annotations": {"argocd.argoproj.io/compare-options": null}},
        "spec": {"syncPolicy": {"syncOptions": ["CreateNamespace=true", "Replace=true"]}},
    }));
    stays();
    synced(2);
    assert!(!is_mended(), "docs/mutation.md says that Replace=true takes it out");

    there.accepts(kubectl("delete cronjob nightly"));
    eventually("Argo CD to make it again", || there.run(kubectl("get cronjob nightly")).succeeded().then_some(()));
    assert!(is_mended());
    let ignored = json!({"group": "batch", "kind": "CronJob", "jqPathExpressions": [".spec.startingDeadlineSeconds"]});
    set(json!({"spec": {
        "ignoreDifferences": [ignored],
        "syncPolicy": {"syncOptions": ["CreateNamespace=true", "Replace=true", "RespectIgnoreDifferences=true"]},
    }}));
    // Argo CD has seen the new settings before there is anything to sync.
    argocd.refresh("nightly", "hard");
    argocd.comes_to_be_synced("nightly");
    synced(3);
    assert!(is_mended(), "docs/mutation.md says that ignoreDifferences keeps it");
    stays();
}
