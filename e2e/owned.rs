//! What controllers make of an object that was judged, what only looks like it, and what is added to a running Pod.

use serde_json::json;

use crate::support::objects::{deployment, pod, privileged, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Namespace, Options, apply, create, kubectl};
use crate::updates::enforced_too_late;

const CONTROLLERS: &str = "system:serviceaccount:kube-system:";

/// Returns the names of the Pods once there are as many as asked for, and none that goes.
fn pods(shop: &Namespace, count: usize) -> Vec<String> {
    eventually("the Pods", || {
        let pods = shop.accepts(kubectl("get pods -o json")).objects().remove(0);
        let pods: Vec<String> = pods.0["items"]
            .as_array()?
            .iter()
            .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        (pods.len() == count).then_some(pods)
    })
}

#[test]
fn a_deployment_is_told_once_and_not_again_for_each_of_its_pods() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &[]);
    shop.accepts(apply(&untagged("web"))).warns_of("container-image-tag");
    pods(&shop, 2);

    let decisions = || gatepost.decisions().into_iter().filter(|decision| decision.namespace == shop.name);
    eventually("decisions about a ReplicaSet and two Pods", || {
        let made: Vec<_> =
            decisions().filter(|decision| decision.operation == "CREATE").map(|decision| decision.kind).collect();
        let count = |kind: &str| made.iter().filter(|made| *made == kind).count();
        (count("ReplicaSet") == 1 && count("Pod") == 2).then_some(())
    });
    let told: Vec<_> =
        decisions().filter(|decision| decision.warnings > 0).map(|decision| (decision.kind, decision.name)).collect();
    assert_eq!(told, [("Deployment".to_owned(), "web".to_owned())]);
}

#[test]
fn nothing_that_controllers_make_of_a_bad_deployment_is_denied() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = enforced_too_late(&gatepost, &[]);
    let before = pods(&shop, 2);
    shop.accepts(kubectl("delete pods --all"));
    let after = pods(&shop, 2);
    assert!(before.iter().all(|name| !after.contains(name)), "{before:?} {after:?}");
    shop.accepts(kubectl("scale deployment/web --replicas=4"));
    pods(&shop, 4);
    shop.accepts(kubectl("rollout restart deployment/web"));
    eventually("a second ReplicaSet with a Pod", || {
        let sets = shop.accepts(kubectl("get replicasets -o jsonpath={.items[*].status.replicas}"));
        let replicas: Vec<u32> = sets.stdout.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        (replicas.len() == 2 && replicas.iter().all(|&count| count > 0)).then_some(())
    });

    let made: Vec<_> =
        gatepost.decisions().into_iter().filter(|decision| decision.user.starts_with(CONTROLLERS)).collect();
    assert!(made.iter().any(|decision| decision.kind == "Pod" && decision.namespace == shop.name), "{made:?}");
    assert!(made.iter().all(|decision| decision.allowed), "{made:?}");
    assert_eq!(shop.accepts(kubectl("get events --field-selector=reason=FailedCreate -o name")).stdout, "");
}

#[test]
fn a_forged_owner_excuses_nothing() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    shop.accepts(apply(&deployment("web")));
    pods(&shop, 2);
    let set = shop.accepts(kubectl("get replicasets -o json")).objects().remove(0);
    let set = &set.0["items"][0]["metadata"];
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set["name"], "uid": set["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let forged = pod("forged").with("/metadata/ownerReferences", owner);
    let bad = forged.clone().with("/spec/containers/0/securityContext/privileged", true);
    shop.rejects(create(&bad)).denies_for("container-privileged");
    shop.rejects(create(&bad).acting_as("mallory")).denies_for("container-privileged");
    // Another controller's rights are not those of this owner's.
    shop.rejects(create(&bad).acting_as("system:serviceaccount:kube-system:job-controller"))
        .denies_for("container-privileged");
}

#[test]
fn a_bad_replica_set_of_ones_own_is_denied_like_any_object() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let set = privileged("web").with("/kind", "ReplicaSet");
    shop.rejects(create(&set)).denies_for("container-privileged");
}

#[test]
fn an_ephemeral_container_is_judged() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=recommended"]);
    shop.accepts(create(&pod("web"))).is_silent();
    let debug = |container: &str, more: &str| kubectl(&format!("debug pod/web --container={container} {more}"));
    shop.rejects(debug("first", "--image=busybox --profile=general")).denies_for("container-image-tag");
    shop.rejects(debug("second", "--image=busybox:1.37.0 --profile=sysadmin")).denies_for("container-privileged");
    shop.accepts(debug("third", "--image=busybox:1.37.0 --profile=restricted")).is_silent();
}
