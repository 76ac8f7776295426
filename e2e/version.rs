//! Rules see the release of the cluster that asks.

use serde_json::Value;

use crate::support::objects::config_map;
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, kubectl};

const CONFIG: &str = "defaults: {enforce: own, warn: off, audit: off}\n";
const OWN: (&str, &str) = (
    "own.yaml",
    "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: own}\nspec: {rules: [{id: release}]}\n",
);
/// A rule that says of every ConfigMap which release it was asked for.
const RULE: (&str, &str) = (
    "release.rego",
    "# METADATA\n# title: t\n# description: d\n# custom:\n#   id: release\n#   severity: high\n#   category: own\n\
     #   kinds: [core/ConfigMap]\n#   fix: f\npackage own.release\n\n\
     violation contains {\"message\": message, \"path\": [\"data\"]} if {\n\
     \tmessage := sprintf(\"release %d.%d\", [input.kubernetesVersion.major, input.kubernetesVersion.minor])\n}\n",
);

#[test]
fn admission_judges_by_the_release_that_the_api_server_says() {
    let Some(gatepost) = Gatepost::start(&Options { config: CONFIG, policies: &[RULE, OWN], ..Options::default() })
    else {
        return;
    };
    let said = gatepost.kubectl().accepts(kubectl("version -o json")).stdout;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let text = |key: &str| said["serverVersion"][key].as_str().expect("a number").trim_end_matches('+').to_owned();
    let expected = format!("release {}.{}", text("major"), text("minor"));
    let shop = gatepost.namespace("shop", &[]);
    let map = config_map("map", "key", "value");
    eventually(&expected, || shop.run(apply(&map).dry_run()).denial()?.contains(&expected).then_some(()));
}
