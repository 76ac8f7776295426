//! Exemptions as custom resources: what the API server lets in, and what they do to the next request.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::installed::Installed;
use crate::support::kubectl::Kubectl;
use crate::support::objects::{Object, exemption, privileged};
use crate::support::wait::eventually;
use crate::support::{apply, create, kubectl};

const TARGET: &str = "exemptions.gatepost.dev";

/// Waits until a request that is only tried out is admitted, or is denied.
#[track_caller]
fn eventually_admits(there: &Kubectl, what: &str, object: &Object, admits: bool) {
    eventually(what, || {
        let answer = there.run(create(object).dry_run());
        assert!(answer.succeeded() || answer.denial().is_some(), "{answer}");
        (answer.succeeded() == admits).then_some(())
    });
}

fn status(kubectl_there: &Kubectl, target: &str) -> Value {
    let object = kubectl_there.accepts(kubectl(&format!("get {target} -o json"))).objects().remove(0);
    object.0["status"].clone()
}

fn condition(kubectl_there: &Kubectl, target: &str) -> (String, String) {
    let condition = &status(kubectl_there, target)["conditions"][0];
    let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

#[test]
fn an_exemption_of_the_cluster_admits_until_it_ends() {
    let Some(installed) = Installed::shared() else { return };
    let there = installed.namespace("exempted", &["enforce=baseline", "warn=off"]);
    let web = privileged("web");
    there.rejects(create(&web).dry_run()).denies_for("container-privileged");

    let end = Timestamp::try_from(SystemTime::now() + Duration::from_secs(20)).expect("a time");
    let cluster_wide = exemption("ClusterExemption", "exempted", "exempted", &end.to_string());
    installed.kubectl().accepts(apply(&cluster_wide)).is_silent();
    eventually_admits(&there, "the exemption to be in force", &web, true);
    there.accepts(create(&web).dry_run()).is_silent();
    let target = "clusterexemption exempted";
    eventually("its status", || (condition(installed.kubectl(), target).0 == "Accepted").then_some(()));

    eventually_admits(&there, "the exemption to end", &web, false);
    assert!(Timestamp::try_from(SystemTime::now()).expect("a time") >= end, "it ended before its time");
    there.rejects(create(&web).dry_run()).denies_for("container-privileged");
    eventually("its status to say so", || (condition(installed.kubectl(), target).0 == "Expired").then_some(()));
    assert!(status(installed.kubectl(), target)["lastUsed"].is_string(), "it was used");
}

#[test]
fn one_of_a_namespace_excuses_what_the_policy_marks_and_goes_when_it_is_deleted() {
    let Some(installed) = Installed::shared() else { return };
    let there = installed.namespace("excused", &["enforce=recommended", "warn=off"]);
    let mut web = privileged("web").without("/spec/template/spec/containers/0/securityContext");
    web = web.without("/spec/template/spec/containers/0/resources/limits/cpu");
    there.rejects(create(&web).dry_run()).denies_for("container-cpu-limit");
    let own =
        exemption("Exemption", "own", "excused", "2099-01-01").with("/spec/rules", json!(["container-cpu-limit"]));
    there.accepts(apply(&own));
    eventually_admits(&there, "the exemption to be in force", &web, true);
    there.rejects(create(&privileged("root")).dry_run()).denies_for("container-privileged");
    there.accepts(kubectl(&format!("delete {TARGET} own")));
    eventually_admits(&there, "the exemption to be gone", &web, false);
}

#[test]
fn the_api_server_refuses_what_can_be_seen_and_the_status_says_the_rest() {
    let Some(installed) = Installed::shared() else { return };
    let there = installed.namespace("at-fault", &[]);
    let own = || exemption("Exemption", "own", "at-fault", "2099-01-01");
    for (object, said) in [
        (own().without("/spec/reason"), "spec.reason: Required value"),
        (own().without("/spec/owner"), "spec.owner: Required value"),
        (own().with("/spec/reason", " "), "spec.reason"),
        (own().without("/spec/rules"), "spec names neither rules nor families"),
        (own().with("/spec/match/names", json!([])), "spec.match.names"),
        (own().with("/spec/expires", "tomorrow"), "spec.expires"),
        (own().with("/spec/rule", json!(["a"])), "unknown field \"spec.rule\""),
    ] {
        let answer = there.run(apply(&object));
        assert!(!answer.succeeded() && answer.stderr.contains(said), "{said}: {answer}");
    }
    let whole = exemption("ClusterExemption", "whole", "at-fault", "2099-01-01");
    for object in [whole.clone().without("/spec/match"), whole.with("/spec/match", json!({}))] {
        let answer = installed.kubectl().run(apply(&object));
        assert!(!answer.succeeded() && answer.stderr.contains("spec.match"), "{answer}");
    }
    for (object, reason, said) in [
        (
            own().with("/spec/rules", json!(["container-privilegd"])),
            "Refused",
            "did you mean \"container-privileged\"?",
        ),
        (own().without("/spec/expires"), "Refused", "exemptions.permanent"),
        (own().with("/spec/expires", "2020-01-01"), "Expired", "2020-01-01T00:00:00Z"),
        (own(), "Accepted", "in force"),
    ] {
        there.run(kubectl(&format!("delete {TARGET} own")));
        there.accepts(create(&object));
        eventually(said, || {
            let (told, message) = condition(&there, &format!("{TARGET} own"));
            (told == reason && message.contains(said)).then_some(())
        });
    }
}
