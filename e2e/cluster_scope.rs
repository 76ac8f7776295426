//! Objects that belong to no namespace.

use serde_json::json;

use crate::support::objects::Object;
use crate::support::{Gatepost, Options, create, kubectl, patch};

#[test]
fn a_cluster_role_that_comes_to_allow_everything_is_denied() {
    let options = Options { config: "clusterScoped: {enforce: own}\n", policies: OWN, ..Options::default() };
    let Some(gatepost) = Gatepost::start(&options) else { return };
    let role = |name: &str, resource: &str| {
        gatepost.cluster_scoped(Object(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}],
        })))
    };
    let (narrow, wide) = (role("reader", "pods"), role("everything", "*"));
    let admin = gatepost.kubectl();
    admin.accepts(create(&narrow)).is_silent();
    admin.rejects(create(&wide)).denies_for("role-wildcard");
    let target = format!("clusterrole/{}", narrow.text("/metadata/name"));
    admin.rejects(patch(&target, &json!({"rules": wide.0["rules"]}))).denies_for("role-wildcard");
    admin.accepts(kubectl(&format!("annotate {target} team=a"))).is_silent();
}

const OWN: &[(&str, &str)] = &[("role-wildcard.rego", ROLE_WILDCARD), ("own.yaml", OWN_POLICY)];

const ROLE_WILDCARD: &str = r#"# METADATA
# title: Roles name what they allow
# custom:
#   id: role-wildcard
#   severity: high
#   category: security
#   kinds: [rbac]
#   fix: Name the resources.
package gatepost.rules.role_wildcard

violation contains {"message": "name the resources", "path": ["rules", i, "resources"]} if {
	some i, rule in input.object.rules
	"*" in rule.resources
}
"#;

const OWN_POLICY: &str = "apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: own}
spec: {rules: [{id: role-wildcard}]}
";
