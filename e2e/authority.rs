//! Who may change what: a namespace's editor, those who may weaken, those who never may, and broken glass.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::installed::Installed;
use crate::support::kubectl::Request;
use crate::support::objects::{Object, deployment, privileged, untagged};
use crate::support::wait::{eventually, wait_for};
use crate::support::{Gatepost, Namespace, Options, apply, create, kubectl, patch, replace};

/// May write Namespaces, and nothing else.
const EDITOR: &str = "editor";
const ARGO_CD: &str = "system:serviceaccount:argocd:argocd-application-controller";

const CONFIG: &str = "
floors:
- match: {labels: {env: prod}}
  set: {enforce: baseline}
modes:
  admins: {users: [named-admin]}
  mayNotWeaken: ['system:serviceaccount:argocd:*']
";

/// Starts a Gatepost beside a user `editor` who may write every Namespace.
fn start() -> Option<Gatepost> {
    let gatepost = Gatepost::start(&Options { config: CONFIG, ..Options::default() })?;
    grant(
        &gatepost,
        "namespace-editor",
        &["editor", "named-admin", "weakener", "responder", "local"],
        &json!([
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "create", "update", "patch"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "create", "update", "patch"]},
        ]),
    );
    Some(gatepost)
}

/// Gives users a ClusterRole.
fn grant(gatepost: &Gatepost, name: &str, users: &[&str], rules: &Value) {
    let admin = gatepost.kubectl();
    let object = |kind: &str, rest: Value| {
        let mut object =
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        object.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        gatepost.cluster_scoped(Object(object))
    };
    let role = object("ClusterRole", json!({"rules": rules}));
    let role_ref =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.text("/metadata/name")});
    admin.accepts(create(&role));
    admin.accepts(create(&object("ClusterRoleBinding", json!({"roleRef": role_ref, "subjects": subjects(users)}))));
}

fn subjects(users: &[&str]) -> Value {
    let subject = |user: &&str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
    users.iter().map(subject).collect()
}

fn verbs(verbs: &[&str]) -> Value {
    json!([{"apiGroups": ["gatepost.dev"], "resources": ["modes"], "verbs": verbs}])
}

impl Namespace {
    fn label(&self, text: &str) -> Request {
        kubectl(&format!("label --overwrite namespace {} {text}", self.name))
    }

    fn patch(&self, change: &Value) -> Request {
        patch(&format!("namespace/{}", self.name), change)
    }

    /// Waits until a request is admitted, such as one whose role the API server is yet to see.
    #[track_caller]
    fn comes_to_allow(&self, request: &Request) {
        let mut last = None;
        let allowed = wait_for("a request to be allowed", Duration::from_secs(30), || {
            let answer = self.run(request);
            let succeeded = answer.succeeded();
            last = Some(answer);
            succeeded.then_some(())
        });
        assert!(allowed.is_ok(), "{}", last.map(|answer| answer.to_string()).unwrap_or_default());
    }
}

/// Returns an RFC 3339 instant so far from now.
fn instant(ahead: jiff::SignedDuration) -> String {
    let now = jiff::Timestamp::now().checked_add(ahead).expect("an instant");
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn glass(incident: &str, until: &str) -> Value {
    let annotations = json!({"gatepost.dev/break-glass": incident, "gatepost.dev/break-glass-until": until});
    json!({"metadata": {"annotations": annotations}})
}

#[test]
fn a_namespace_editor_cannot_leave_a_floor() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &[]);
    shop.accepts(shop.label("env=prod"));
    let object = gatepost.namespace_object("shop", &[]).with("/metadata/labels/env", "prod");
    let without_env = object.clone().without("/metadata/labels/env");
    let without_labels = object.clone().without("/metadata/labels");
    shop.comes_to_allow(&shop.label("team=a").by(EDITOR));
    for way_out in [
        shop.label("env=dev"),
        shop.label("env-"),
        shop.label("env=dev gatepost.dev/enforce=baseline"),
        shop.patch(&json!({"metadata": {"labels": {"env": null}}})),
        shop.patch(&json!({"metadata": {"labels": null}})),
        shop.patch(&json!([{"op": "remove", "path": "/metadata/labels/env"}])),
        replace(&without_env),
        replace(&without_labels),
        kubectl("apply --server-side --force-conflicts -f -")
            .reading([&object.clone().with("/metadata/labels/env", "dev")]),
        shop.label("env=dev").dry_run(),
    ] {
        let answer = shop.rejects(way_out.by(EDITOR));
        answer.denies_for("weakens floors from enforce baseline to none").denies_for("keep label env=prod");
        let denial: String = answer.denial().unwrap_or_default().chars().take(200).collect();
        let name = format!("Namespace/{}", shop.name);
        for part in [name.as_str(), "the verb weaken on modes.gatepost.dev", "modes.admins"] {
            assert!(denial.contains(part), "{part}: {denial}");
        }
    }
    // The floor needs no label of Gatepost's, and none switches it off.
    shop.accepts(shop.label("gatepost.dev/enforce=off").by(EDITOR));
    shop.comes_to_reject(&privileged("web"));
    shop.accepts(shop.label("team=b").by(EDITOR));
}

#[test]
fn only_one_who_may_drops_or_weakens_enforce() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &["enforce=recommended"]);
    let other = gatepost.namespace("other", &["enforce=recommended"]);
    shop.comes_to_allow(&shop.label("team=a").by(EDITOR));
    for setting in
        ["enforce-", "enforce=off", "enforce=baseline", "enforce-severity=critical", "enforce-from=2999-12-01"]
    {
        shop.rejects(shop.setting(setting).by(EDITOR)).denies_for("weakens enforce from recommended to");
    }
    for setting in ["enforce-scope=all", "enforce-severity=info", "enforce=strict", "warn=off"] {
        shop.accepts(shop.setting(setting).by(EDITOR));
    }
    shop.rejects(shop.setting("enforce-scope-").by(EDITOR))
        .denies_for("keep annotation gatepost.dev/enforce-scope=all");

    grant(&gatepost, "mode-admin", &["weakener", ARGO_CD], &verbs(&["weaken", "breakglass"]));
    shop.comes_to_allow(&shop.setting("enforce-scope-").by("weakener"));
    shop.accepts(shop.setting("enforce=baseline").by("named-admin"));

    // A role in one namespace is a right for that namespace.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "weaken"}, "rules": verbs(&["weaken"])});
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "weaken"});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "weaken"}, "roleRef": role_ref, "subjects": subjects(&["local"])});
    shop.accepts(create(&Object(role)));
    shop.accepts(create(&Object(binding)));
    shop.comes_to_allow(&shop.setting("enforce-").by("local"));
    other.rejects(other.setting("enforce-").by("local"));

    // Whatever rights it has.
    let barred = other.rejects(other.setting("enforce-").acting_as(ARGO_CD));
    barred.denies_for("modes.mayNotWeaken forbids").denies_for(ARGO_CD);
    other.accepts(other.setting("enforce=strict").acting_as(ARGO_CD));
}

#[test]
fn every_change_is_recorded_with_who_from_and_to() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    shop.comes_to_allow(&shop.label("team=a").by(EDITOR));
    shop.rejects(shop.setting("enforce-").by(EDITOR));
    shop.accepts(shop.setting("enforce=strict").by(EDITOR).dry_run());
    shop.accepts(shop.setting("enforce=off").acting_as("ann"));
    shop.accepts(shop.setting("enforce=recommended").by("named-admin"));
    let recorded = eventually("the last change", || {
        let lines = gatepost.serving().logged("mode changed");
        let lines: Vec<Value> = lines.into_iter().filter(|line| line["namespace"] == shop.name.as_str()).collect();
        (lines.len() >= 5).then_some(lines)
    });
    let told: Vec<String> = recorded
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().map_or_else(|| line[key].to_string(), str::to_owned);
            ["user", "slot", "from", "to", "authority", "allowed", "dry_run"].map(text).join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "admin enforce off baseline not-needed true false",
            "editor enforce baseline off refused false false",
            "editor enforce baseline strict not-needed true true",
            "ann enforce baseline off roles true false",
            "named-admin enforce off recommended not-needed true false",
        ]
    );
    let metric = |name: &str| gatepost.serving().metric(name);
    assert_eq!(metric("gatepost_mode_changes_total{from=\"enforce\",to=\"warn\"}"), Some(1.0));
    assert_eq!(metric("gatepost_mode_changes_refused_total"), Some(1.0));
    assert_eq!(metric("gatepost_access_reviews_total{result=\"denied\"}"), Some(1.0));
    assert_eq!(metric("gatepost_access_reviews_total{result=\"allowed\"}"), Some(1.0));
}

#[test]
fn broken_glass_lets_in_for_an_incident_what_is_listed_afterwards() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    grant(&gatepost, "break-glass", &["responder"], &verbs(&["breakglass"]));
    let (bad, hour) = (privileged("web"), instant(jiff::SignedDuration::from_hours(1)));
    let open = shop.patch(&glass("INC-123", &hour));

    shop.comes_to_allow(&shop.label("team=a").by(EDITOR));
    shop.rejects(open.clone().by(EDITOR)).denies_for("breaks glass for INC-123").denies_for("the verb breakglass");
    shop.rejects(open.clone().acting_as(ARGO_CD)).denies_for("modes.mayNotWeaken");
    shop.comes_to_allow(&open.by("responder"));
    shop.rejects(shop.setting("enforce-").by("responder")).denies_for("the verb weaken");

    shop.comes_to_accept(&bad);
    let answer = shop.accepts(apply(&bad).acting_as("ann"));
    answer.warns_of("container-privileged").warns_of(&format!("(break-glass INC-123 until {hour})"));
    shop.accepts(apply(&deployment("fine"))).is_silent();
    assert_eq!(gatepost.serving().metric("gatepost_break_glass_admissions_total"), Some(1.0));
    assert_eq!(gatepost.serving().metric("gatepost_break_glass_namespaces"), Some(1.0));
    let line = eventually("the log line", || {
        let lines = gatepost.serving().logged("admitted under break-glass");
        lines.into_iter().find(|line| line["dry_run"] == false)
    });
    assert_eq!(
        (&line["incident"], &line["user"], &line["rules"]),
        (&json!("INC-123"), &json!("ann"), &json!("container-privileged"))
    );

    eventually("the audit annotation", || {
        let annotation = format!("break-glass INC-123 until {hour}: container-privileged");
        gatepost.control_plane().audit_log().contains(&annotation).then_some(())
    });
    let items =
        eventually("one line of the list", || Some(listed(&gatepost, "INC-123")).filter(|items| !items.is_empty()));
    assert_eq!(items.len(), 1, "dry runs are left out: {items:?}");
    let of = |key: &str| items[0][key].as_str().unwrap_or_default();
    assert_eq!(
        [of("incident"), of("until"), of("operation"), of("kind"), of("namespace"), of("name"), of("user")],
        ["INC-123", hour.as_str(), "CREATE", "Deployment", shop.name.as_str(), "web", "ann"]
    );
    assert_eq!(items[0]["rules"], json!(["container-privileged"]));
    assert!(listed(&gatepost, "INC-9").is_empty());

    // Anybody who may write the namespace may end it.
    shop.accepts(shop.patch(&json!({"metadata": {"annotations": {"gatepost.dev/break-glass": null, "gatepost.dev/break-glass-until": null}}})).by(EDITOR));
    shop.comes_to_reject(&privileged("again"));
}

/// Returns what `gatepost decisions` lists of an incident.
fn listed(gatepost: &Gatepost, incident: &str) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["decisions", "--break-glass", incident, "-o", "json", "--data-dir"]);
    let output = command.arg(gatepost.serving().directory().join("data")).output().expect("it runs");
    let listing: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    listing["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn glass_is_whole_again_when_its_time_is_over() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let bad = privileged("web");
    shop.accepts(shop.patch(&glass("INC-1", &instant(jiff::SignedDuration::from_secs(15)))));
    shop.comes_to_accept(&bad);
    shop.comes_to_reject(&bad);
    shop.run(apply(&bad)).warns_of("is over, enforce denies again");
    // What is over is extended only by one who may break glass.
    let hour = instant(jiff::SignedDuration::from_hours(1));
    shop.comes_to_allow(&shop.label("team=a").by(EDITOR));
    shop.rejects(shop.patch(&glass("INC-1", &hour)).by(EDITOR)).denies_for("breaks glass");
}

#[test]
fn glass_that_would_do_nothing_is_refused_and_a_floor_stays_whole() {
    let Some(gatepost) = start() else { return };
    let shop = gatepost.namespace("shop", &["enforce=recommended"]);
    let hours = |hours| instant(jiff::SignedDuration::from_hours(hours));
    for (change, cause) in [
        (glass("INC-1", &hours(5)), "more than 4 hours ahead"),
        (glass("INC-1", &hours(-1)), "is over"),
        (glass("INC-1", "2999-12-01"), "not an RFC 3339 instant"),
        (json!({"metadata": {"annotations": {"gatepost.dev/break-glass": "INC-1"}}}), "break-glass-until"),
    ] {
        shop.rejects(shop.patch(&change)).denies_for(cause);
    }
    let mut generated =
        gatepost.namespace_object("made", &[]).with("/metadata/generateName", "made-").without("/metadata/name");
    generated.0["metadata"]["annotations"] = glass("INC-1", &hours(1))["metadata"]["annotations"].clone();
    shop.comes_to_allow(&shop.label("team=a").by(EDITOR));
    shop.rejects(create(&generated).by(EDITOR)).denies_for("breaks glass for INC-1");

    shop.accepts(shop.label("env=prod"));
    shop.accepts(shop.patch(&glass("INC-1", &hours(1))));
    // Only the label asks for a tag; the floor asks that nothing is privileged.
    shop.comes_to_accept(&untagged("web"));
    shop.rejects(apply(&privileged("bad"))).denies_for("a floor denies this, and holds under break-glass INC-1");
}

#[test]
fn the_rights_of_the_manifests_are_enough_to_ask() {
    let Some(installed) = Installed::shared() else { return };
    let admin = installed.kubectl();
    installed.namespace("guarded", &["enforce=baseline"]);
    let drop_it = || kubectl("label --overwrite namespace guarded gatepost.dev/enforce-");
    admin.accepts(kubectl("create clusterrole namespace-editor --verb=get,patch,update --resource=namespaces"));
    admin.accepts(kubectl(
        "create clusterrolebinding namespace-editor --clusterrole=namespace-editor --user=guarded-editor",
    ));
    let denial = eventually("the editor's own rights", || {
        let answer = admin.run(drop_it().by("guarded-editor"));
        answer.denial().map(str::to_owned)
    });
    assert!(denial.contains("the verb weaken on modes.gatepost.dev"), "{denial}");
    admin.accepts(drop_it());
}
