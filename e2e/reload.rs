//! Policies and configuration that change under a running Gatepost, as the kubelet exchanges a mounted ConfigMap.

use std::time::Instant;

use crate::support::load::Sender;
use crate::support::objects::{config_map, deployment};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply};

const OWN: (&str, &str) = (
    "own.yaml",
    "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: own}\nspec: {rules: [{id: map-version}]}\n",
);
const CONFIG: &str = "defaults: {enforce: own, warn: off, audit: off}\n";

/// A rule that no ConfigMap passes; it says which version of it was asked.
macro_rules! rule {
    ($version:literal) => {
        concat!(
            "# METADATA\n# title: t\n# description: d\n# custom:\n#   id: map-version\n#   severity: high\n",
            "#   category: own\n#   impact: i\n#   effort: easy\n#   kinds: [core/ConfigMap]\n#   fix: f\n",
            "package own.map_version\n\nviolation contains {\"message\": \"",
            $version,
            "\", \"path\": [\"data\"]} if input.object.data.key\n",
        )
    };
}

fn start() -> Option<Gatepost> {
    let policies = &[("map.rego", rule!("version one")), OWN];
    Gatepost::start(&Options { config: CONFIG, policies, ..Options::default() })
}

/// Returns the value of a metric.
fn metric(gatepost: &Gatepost, name: &str) -> String {
    let text = gatepost.health("/metrics");
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default().to_owned()
}

#[test]
fn a_change_holds_without_a_restart_and_a_broken_one_never() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &[]);
    let map = config_map("map", "key", "value");
    let denied_for = |version: &str| {
        eventually(version, || shop.rejects(apply(&map).dry_run()).denial()?.contains(version).then_some(()));
    };
    denied_for("version one");
    gatepost.mount_policies(&[("map.rego", rule!("version two")), OWN]);
    denied_for("version two");
    assert_eq!(metric(&gatepost, "gatepost_reloads_total{result=\"applied\"}"), "1");

    gatepost.mount_policies(&[("map.rego", &rule!("version three")[..250]), OWN]);
    let told = eventually("the refusal", || {
        let ready = gatepost.health("/readyz?verbose");
        ready.lines().find(|line| line.starts_with("[!]reload refused")).map(str::to_owned)
    });
    assert!(told.contains("policies/map.rego:"), "{told}");
    assert_eq!(metric(&gatepost, "gatepost_reload_failed"), "1");
    assert_eq!(metric(&gatepost, "gatepost_reloads_total{result=\"refused\"}"), "1");
    denied_for("version two");
    let refused: Vec<_> = gatepost.log_lines("reload refused, what was in force stays");
    assert!(refused.len() == 1 && refused[0]["file"].as_str().is_some_and(|file| file.ends_with("map.rego")));
    assert!(refused[0]["line"].is_u64() && refused[0]["cause"].is_string(), "{refused:?}");

    gatepost.mount_policies(&[("map.rego", rule!("version four")), OWN]);
    denied_for("version four");
    assert_eq!(metric(&gatepost, "gatepost_reload_failed"), "0");
    assert!(!gatepost.health("/readyz?verbose").contains("[!]"));

    gatepost.mount_config("defaults: {enforce: own, severity: critical, warn: off, audit: off}\n");
    shop.comes_to_accept(&map);
}

#[test]
fn a_policy_that_a_namespace_asks_for_stays_until_the_label_goes() {
    let Some(gatepost) = start() else { return };
    let extra = OWN.1.replace("own", "extra");
    gatepost.mount_policies(&[("map.rego", rule!("version one")), OWN, ("extra.yaml", &extra)]);
    let asking = gatepost.namespace_object("asking", &["audit=extra"]);
    eventually("the policy to be there", || gatepost.kubectl().run(apply(&asking).dry_run()).succeeded().then_some(()));
    let shop = gatepost.namespace("shop", &["audit=extra"]);
    let map = config_map("map", "key", "value");
    gatepost.mount_policies(&[("map.rego", rule!("version two")), OWN]);
    eventually("the refusal", || {
        let named = format!(
            "policy \"extra\" would be gone, but is in use by the namespaces {} (gatepost.dev/audit)",
            shop.name
        );
        gatepost.health("/readyz?verbose").contains(&named).then_some(())
    });
    assert!(shop.rejects(apply(&map).dry_run()).denial().is_some_and(|denial| denial.contains("version one")));
    shop.set("audit-");
    eventually("the change", || shop.rejects(apply(&map).dry_run()).denial()?.contains("version two").then_some(()));
}

#[test]
fn requests_are_answered_while_policies_change() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &[]);
    let started = Instant::now();
    let sender = Sender::new(gatepost.control_plane().kubeconfig()).expect("a client");
    let load = sender.send_steadily(&shop.name, &deployment("web"));
    let map = config_map("map", "key", "value");
    for (text, version) in [(rule!("version two"), "version two"), (rule!("version one"), "version one")].repeat(3) {
        gatepost.mount_policies(&[("map.rego", text), OWN]);
        eventually(version, || shop.rejects(apply(&map).dry_run()).denial()?.contains(version).then_some(()));
    }
    let sent = load.since(started);
    assert!(sent.len() > 50, "{}", sent.len());
    let failed: Vec<_> = sent.iter().filter_map(|sent| sent.failure.as_ref()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(metric(&gatepost, "gatepost_reloads_total{result=\"applied\"}"), "6");
}
