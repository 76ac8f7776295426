//! What the labels of a namespace make of a violation.

use crate::support::objects::{CONTAINER, deployment, privileged, untagged};
use crate::support::{Gatepost, Options, apply, create, kubectl};

#[test]
fn warns_and_admits_by_default() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &[]);
    shop.accepts(apply(&untagged("web"))).warns_of("container-image-tag");
    shop.accepts(apply(&deployment("good"))).is_silent();
    shop.accepts(kubectl("get deployment web"));
}

#[test]
fn denies_while_the_label_is_there_and_warns_again_without_it() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &[]);
    let bad = privileged("web");
    shop.accepts(apply(&bad).dry_run()).warns_of("container-privileged");

    shop.set("enforce=baseline");
    shop.comes_to_reject(&bad);
    shop.rejects(apply(&bad)).denies_for("container-privileged");
    // Setting enforce leaves warn as it was.
    shop.accepts(apply(&untagged("web")).dry_run()).warns_of("container-image-tag");
    shop.accepts(apply(&deployment("web")).dry_run()).is_silent();

    shop.set("enforce-");
    shop.comes_to_accept(&bad);
    shop.accepts(apply(&bad)).warns_of("container-privileged");
}

#[test]
fn a_namespace_made_with_the_label_denies_from_its_first_request() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    shop.rejects(apply(&privileged("web"))).denies_for("container-privileged");
}

#[test]
fn warn_can_be_switched_off() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["warn=off"]);
    shop.accepts(apply(&untagged("web"))).is_silent();
}

#[test]
fn denies_at_or_above_the_severity_and_warns_below() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=recommended", "enforce-severity=high"]);
    // Medium: a container without a readiness probe.
    let unprobed = deployment("web").without(&format!("{CONTAINER}/readinessProbe"));
    shop.accepts(apply(&unprobed)).warns_of("container-readiness-probe (medium)");
    shop.rejects(apply(&untagged("other"))).denies_for("container-image-tag");

    shop.set("enforce-severity=medium");
    shop.comes_to_reject(&unprobed.clone().with("/metadata/name", "third"));
}

#[test]
fn warns_until_the_date_and_denies_from_it() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline", "enforce-from=2999-12-01"]);
    let bad = privileged("web");
    let answer = shop.accepts(apply(&bad).dry_run());
    answer.warns_of("container-privileged").warns_of("2999-12-01");

    shop.set("enforce-from=2020-12-01");
    shop.comes_to_reject(&bad);
}

#[test]
fn a_typo_in_a_label_is_denied_and_the_nearest_policy_named() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let answer = shop.rejects(shop.setting("enforce=basline"));
    answer.denies_for("basline").denies_for("baseline");
    shop.rejects(shop.setting("warn=recomended")).denies_for("recommended");

    let new = gatepost.namespace_object("new", &["enforce=strickt"]);
    gatepost.kubectl().rejects(create(&new)).denies_for("strict");

    // Nothing of it was written.
    shop.rejects(apply(&privileged("web")));
}

#[test]
fn a_namespace_and_a_deployment_in_one_apply_do_not_slip_through() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    for index in 0..50 {
        let namespace = gatepost.namespace_object(&format!("shop-{index}"), &["enforce=baseline"]);
        let name = namespace.text("/metadata/name");
        let bad = privileged("slipped-through").with("/metadata/namespace", name);
        let both = kubectl("apply -f -").reading([&namespace, &bad]);
        let answer = gatepost.kubectl().rejects(both);
        answer.denies_for("container-privileged");
        assert!(answer.stdout.contains(&format!("namespace/{name} created")), "{answer}");
    }
    let slipped =
        gatepost.kubectl().accepts(kubectl("get deployments --all-namespaces -l app=slipped-through -o name"));
    assert_eq!(slipped.stdout, "");
}
