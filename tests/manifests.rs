//! What `manifests/` ships: one file made of the base, least rights, and nothing that its own policies would say a
//! word about.
//!
//! `GATEPOST_UPDATE=1` writes `manifests/install.yaml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatepost::cluster::exemptions::definitions::definitions;
use gatepost::cluster::registration::{Configuration as _, Wanted};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use crate::support::generated::check_generated;

const HEADER: &str = "\
# Gatepost, all of manifests/base in one file: kubectl apply --server-side -f install.yaml
# Generated; change manifests/base, then: GATEPOST_UPDATE=1 cargo test --test integration manifests::
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("manifests/{file}: {error}"))
}

/// Returns the objects of a file.
fn objects(file: &str) -> Vec<Value> {
    let text = read(file);
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{file}: {error}")))
        .collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    objects("install.yaml").into_iter().filter(|object| object["kind"] == kind).collect()
}

/// Returns the files that the base is made of, in order.
fn resources() -> Vec<String> {
    let base = objects("base/kustomization.yaml").remove(0);
    serde_json::from_value(base["resources"].clone()).expect("a list of files")
}

#[test]
fn definitions_are_those_that_gatepost_knows() {
    let header = "# Who may break which rule. Generated: GATEPOST_UPDATE=1 cargo test --test integration manifests::\n";
    let definitions = definitions().map(|definition| serde_saphyr::to_string(&definition).expect("YAML"));
    check_generated("manifests/base/crds.yaml", &format!("{header}{}", definitions.join("---\n")));
}

#[test]
fn install_yaml_is_the_base_in_one_file() {
    let files: Vec<String> = resources().iter().map(|file| read(&format!("base/{file}"))).collect();
    check_generated("manifests/install.yaml", &format!("{HEADER}{}", files.join("---\n")));
}

#[test]
fn the_base_leaves_no_file_of_its_folder_out() {
    let there = fs::read_dir(root().join("base")).expect("the base");
    let there: BTreeSet<String> =
        there.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    let named: BTreeSet<String> = resources().into_iter().chain(["kustomization.yaml".to_owned()]).collect();
    assert_eq!(named, there);
}

#[test]
fn its_own_policies_find_nothing() {
    for policy in ["recommended", "strict"] {
        let run = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["scan", "--fail-on", "info", "--policy", policy, "-o", "json"])
            .arg(root().join("install.yaml"))
            .env_remove("GATEPOST_CONFIG")
            .env_remove("GATEPOST_POLICIES")
            .output()
            .expect("gatepost runs");
        let result: Value = serde_json::from_slice(&run.stdout).expect("a report in JSON");
        assert_eq!(result["results"], json!([]), "{policy}");
        assert_eq!(result["summary"]["objects"], objects("install.yaml").len(), "{policy}");
        assert!(run.status.success(), "{policy}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn every_object_says_where_it_goes_and_whose_it_is() {
    let cluster_scoped = [
        "Namespace",
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "ValidatingWebhookConfiguration",
    ]
    .map(Value::from);
    for object in objects("install.yaml") {
        let is_cluster_scoped = cluster_scoped.contains(&object["kind"]);
        let namespace = object["metadata"].get("namespace");
        assert_eq!(namespace, (!is_cluster_scoped).then_some(&json!("gatepost")), "{object}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/name"], "gatepost", "{object}");
    }
}

#[test]
fn rights_name_what_they_are_for() {
    for role in of_kind("ClusterRole").into_iter().chain(of_kind("Role")) {
        for rule in role["rules"].as_array().expect("rules") {
            let of = |field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap_or_default() };
            let all: Vec<String> = ["apiGroups", "resources", "verbs"].into_iter().flat_map(of).collect();
            assert!(!all.iter().any(|word| word.contains('*')), "{rule}");
            // RBAC cannot limit create to a name, what is looked up has none, and a status is told to whatever is there.
            let is_of_status = of("resources").iter().all(|resource| resource.ends_with("/status"));
            let needs_no_name =
                is_of_status || ["create", "list"].iter().any(|verb| of("verbs").contains(&(*verb).to_owned()));
            assert!(needs_no_name || !of("resourceNames").is_empty(), "{rule}");
            // An audit looks at ConfigMaps, and at no Secret.
            let is_audit = role["metadata"]["name"] == "gatepost-audit" && of("verbs") == ["get", "list", "watch"];
            for (secret, is_audited) in [("secrets", false), ("configmaps", is_audit)] {
                let is_limited = is_audited || of("verbs") == ["create"] || !of("resourceNames").is_empty();
                assert!(!of("resources").contains(&secret.to_owned()) || is_limited, "{rule}");
            }
        }
    }
}

#[test]
fn the_registration_is_the_one_that_gatepost_expects_and_holds_no_certificate() {
    let [registration]: [Value; 1] = of_kind("ValidatingWebhookConfiguration").try_into().expect("one registration");
    assert_eq!(registration["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"], "1");
    let built = ValidatingWebhookConfiguration::new(ObjectMeta::default(), Wanted::shipped("gatepost").validating());
    let built = serde_json::to_value(built).expect("JSON");
    assert_eq!(registration["webhooks"], built["webhooks"], "`gatepost doctor` would find fault with what is shipped");
    let webhooks = registration["webhooks"].as_array().expect("webhooks");
    let scopes: Vec<&Value> = webhooks.iter().map(|webhook| &webhook["rules"][0]["scope"]).collect();
    assert_eq!(scopes, ["Namespaced", "Cluster"]);
    let services = of_kind("Service");
    let service = services.iter().find(|service| service["metadata"]["name"] == "gatepost").expect("the webhook's");
    for webhook in webhooks {
        let client = &webhook["clientConfig"];
        assert!(client.get("caBundle").is_none(), "Argo CD would undo what Gatepost writes: {webhook}");
        assert_eq!(client["service"]["name"], service["metadata"]["name"]);
        assert_eq!(client["service"]["namespace"], service["metadata"]["namespace"]);
        assert_eq!(client["service"]["port"], service["spec"]["ports"][0]["port"]);
    }
}

#[test]
fn the_mutating_registration_is_the_one_that_gatepost_expects_and_goes_with_the_base() {
    let [registration]: [Value; 1] = objects("components/mutation/webhook.yaml").try_into().expect("one registration");
    let base = &of_kind("ValidatingWebhookConfiguration")[0];
    assert_eq!(registration["metadata"], base["metadata"]);
    let built = MutatingWebhookConfiguration::new(ObjectMeta::default(), Wanted::shipped("gatepost").mutating());
    let built = serde_json::to_value(built).expect("JSON");
    assert_eq!(registration["webhooks"], built["webhooks"], "`gatepost doctor` would find fault with what is shipped");
    assert_eq!(registration["webhooks"][0]["matchConditions"], base["webhooks"][0]["matchConditions"]);
}
