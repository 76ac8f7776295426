//! From warn to enforce: the policy of what nothing breaks, and what it denies once it is enforced.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::objects::{Object, deployment, privileged, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, create, http, kubectl};

const OWN: (&str, &str) = (
    "own.yaml",
    "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: own}\nspec: {rules: [{id: container-image-tag}]}\n",
);

/// Runs gatepost, and returns its exit code and what it printed.
fn gatepost_prints(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let output = command.args(arguments).output().expect("gatepost runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() || text.is_empty(), "{text}");
    (output.status.code(), text)
}

#[test]
fn the_policy_of_what_nothing_breaks_is_loaded_and_denies_only_what_is_new() {
    let (arguments, policies) = (&["--audit-interval", "2s"], &[OWN]);
    let Some(gatepost) = Gatepost::start(&Options { policies, arguments, ..Options::default() }) else { return };
    let shop = gatepost.namespace("suggested", &[]);
    shop.accepts(apply(&untagged("web")));
    let (data, globs) = (gatepost.serving().directory().join("data"), format!("{}*", shop.name));
    let suggest = ["policies", "suggest", "--from-audit", "--namespace", &globs, "--data-dir"];
    let has = |yaml: &str, rule: &str| yaml.contains(&format!("\n  - id: {rule} #"));
    let left = format!("# - id: container-image-tag # high, 1 finding, 0 objects pass: {} Deployment/web", shop.name);
    let yaml = eventually("an audit that found it", || {
        let (_, yaml) = gatepost_prints(&[&suggest[..], &[data.to_str().expect("a path")]].concat());
        (yaml.contains(&left) && has(&yaml, "container-privileged")).then_some(yaml)
    });
    assert!(!has(&yaml, "container-image-tag"), "{yaml}");
    let path = format!("/api/v1/suggestions?format=yaml&namespace={globs}");
    let told = http::body_of(&gatepost.serving().http().expect("an address"), &path).expect("an answer");
    assert_eq!(told.lines().filter(|line| line.contains(" id: ")).count(), yaml.matches(" id: ").count(), "{told}");

    let directory = gatepost.serving().directory().join("suggested");
    fs::create_dir_all(&directory).expect("a directory");
    let config = gatepost.serving().directory().join("audited.yaml");
    fs::write(&config, "audit: {policies: [baseline]}\n").expect("a file");
    let [data, config] = [&data, &config].map(|path| path.to_str().expect("a path"));
    let (_, audited) = gatepost_prints(&[&suggest[..], &[data, "--config", config]].concat());
    assert!(has(&audited, "container-privileged"), "{audited}");
    assert!(!audited.contains("container-image-tag"), "the audit's first policy does not have it: {audited}");
    fs::write(directory.join("ready.yaml"), &yaml).expect("a file");
    let (code, listed) = gatepost_prints(&["policies", "list", "--policies", directory.to_str().expect("a path")]);
    assert!(code == Some(0) && listed.contains("\nready ("), "{listed}");

    gatepost.mount_policies(&[OWN, ("ready.yaml", &yaml)]);
    let label = format!("label namespace {} gatepost.dev/enforce=ready", shop.name);
    eventually("the policy to be in force", || gatepost.kubectl().run(kubectl(&label)).succeeded().then_some(()));
    eventually("it to be enforced", || {
        let answer = shop.run(create(&privileged("root")).dry_run());
        answer.denial().is_some_and(|denial| denial.contains("container-privileged")).then_some(())
    });
    shop.accepts(apply(&untagged("other")));
}

/// Asks for a preview of the namespace.
fn preview(gatepost: &Gatepost, query: &str) -> Option<Value> {
    let body = http::body_of(&gatepost.serving().http()?, &format!("/api/v1/preview?{query}"))?;
    serde_json::from_str(&body).ok()
}

#[test]
fn what_a_preview_says_is_what_the_api_server_denies_at_the_next_change() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("previewed", &[]);
    for object in [untagged("web"), privileged("root"), deployment("good")] {
        shop.accepts(apply(&object));
    }
    let query = format!("namespace={}&enforce=recommended&severity=critical&scope=all", shop.name);
    let told = eventually("the request to be known", || {
        let told = preview(&gatepost, &query)?;
        (told["requests"]["denied"].as_u64() > Some(0)).then_some(told)
    });
    let items = told["objects"]["items"].as_array().expect("objects");
    let named: Vec<&str> = items.iter().map(|item| item["name"].as_str().expect("a name")).collect();
    assert_eq!(named, ["root"], "{told:#}");
    assert_eq!((&items[0]["kind"], &items[0]["onUpdate"]), (&"Deployment".into(), &true.into()));
    assert_eq!(items[0]["denials"][0]["rule"], "container-privileged");
    assert_eq!(told["objects"]["rules"], json!([["container-privileged", 1]]));
    assert!(told["objects"]["unread"].as_object().is_some_and(serde_json::Map::is_empty), "{told:#}");
    let mild = preview(&gatepost, &query.replace("all", "new")).expect("an answer");
    assert_eq!((&mild["objects"]["onUpdate"], &mild["objects"]["onCreate"]), (&0.into(), &1.into()));

    for setting in ["enforce=recommended", "enforce-severity=critical", "enforce-scope=all"] {
        shop.set(setting);
    }
    let touch = |name: &str| kubectl(&format!("annotate --overwrite deployment/{name} touched=yes"));
    eventually("it to be enforced", || shop.run(touch("root").dry_run()).denial().map(drop));
    shop.rejects(touch("root")).denies_for("container-privileged");
    shop.accepts(touch("web"));
    shop.accepts(touch("good"));
}

#[test]
fn what_is_accepted_goes_through_and_what_is_new_does_not() {
    let (arguments, policies) = (&["--audit-interval", "2s"], &[OWN]);
    let Some(gatepost) = Gatepost::start(&Options { policies, arguments, ..Options::default() }) else { return };
    let address = gatepost.serving().http().expect("an address");
    let shop = gatepost.namespace("accepted", &[]);
    shop.accepts(apply(&untagged("web")));
    let terms = "enforce=own&expires=2099-01-01&accountable=team-shop&reason=as%20found";
    let path = format!("/api/v1/findings/acceptance?namespace={}&rule=container-image-tag&{terms}", shop.name);
    let yaml = eventually("an audit that found it", || {
        // An audit that began before the Deployment was there may tell of its ReplicaSet.
        let yaml = http::body_of(&address, &path).filter(|yaml| yaml.contains("kind: ClusterExemption"))?;
        yaml.contains("[apps/Deployment]").then_some(yaml)
    });
    for setting in ["enforce=own", "enforce-scope=all"] {
        shop.set(setting);
    }
    let touch = || kubectl("annotate --overwrite deployment/web touched=yes").dry_run();
    eventually("it to be enforced", || shop.run(touch()).denial().map(drop));

    gatepost.mount_policies(&[OWN, ("accepted.yaml", &yaml)]);
    eventually("the exemption to be in force", || {
        let refused = gatepost.log_lines("reload refused, what was in force stays");
        assert!(refused.is_empty(), "{refused:?}\n{yaml}");
        shop.run(touch()).succeeded().then_some(())
    });
    shop.rejects(create(&untagged("other")).dry_run()).denies_for("container-image-tag");
    let sidecar = json!([{
        "op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "sidecar", "image": "busybox"},
    }]);
    let adds = kubectl(&format!("patch deployment/web --type=json -p={sidecar}")).dry_run();
    shop.rejects(adds).denies_for("container-image-tag");
}

#[test]
fn modes_are_written_by_the_viewers_own_token_and_taken_back() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let address = gatepost.serving().http().expect("an address");
    let shop = gatepost.namespace("written", &[]);
    for object in [privileged("root"), deployment("good")] {
        shop.accepts(apply(&object));
    }
    shop.accepts(kubectl("create serviceaccount writer"));
    let token =
        |audiences: &str| shop.accepts(kubectl(&format!("create token writer {audiences}"))).stdout.trim().to_owned();
    let role = |name: &str, rules: Value| {
        let name = format!("{name}-{}", shop.name);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": rules,
        });
        gatepost.kubectl().accepts(apply(&Object(role)));
        let account = format!("--serviceaccount={}:writer", shop.name);
        gatepost
            .kubectl()
            .accepts(kubectl(&format!("create clusterrolebinding {name} --clusterrole={name} {account}")));
    };
    role(
        "reads",
        json!([
            {"apiGroups": ["gatepost.dev"], "resources": ["findings"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["patch", "get"]},
        ]),
    );
    let of_us = token("--audience=gatepost");
    let both = token("--audience=gatepost --audience=https://kubernetes.default.svc");
    let asked = json!({
        "namespace": shop.name, "enforce": "recommended", "severity": "critical", "scope": "all", "reason": "it is clean",
    });
    let post = |path: &str, token: &str, kind: &str, body: &str| {
        http::posted_to(&address, path, token, (kind, body)).expect("an answer")
    };
    let write = |token: &str, body: &Value| post("/api/v1/mode-changes", token, "application/json", &body.to_string());
    eventually("its role to count", || (write(&of_us, &json!({"reason": ""})).0 != 403).then_some(()));
    let (status, told) = write(&of_us, &asked);
    assert!(status == 403 && told.contains("both audiences"), "{status} {told}");
    let (status, told) = write(&both, &asked);
    assert_eq!(status, 201, "{told}");
    let touch = |name: &str| kubectl(&format!("annotate --overwrite deployment/{name} touched=yes"));
    eventually("it to be enforced", || shop.run(touch("root").dry_run()).denial().map(drop));
    shop.accepts(touch("good"));

    // Taking it back weakens, which takes a role of its own; then one click does it.
    let history = || -> Value {
        let path = format!("/api/v1/mode-changes?namespace={}", shop.name);
        serde_json::from_str(&http::body_of(&address, &path).expect("an answer")).expect("JSON")
    };
    let made = history()["items"][0].clone();
    assert_eq!(
        (&made["reason"], &made["after"]["labels"]["gatepost.dev/enforce"]),
        (&"it is clean".into(), &"recommended".into())
    );
    assert_eq!(made["user"], format!("system:serviceaccount:{}:writer", shop.name));
    let form = ("application/x-www-form-urlencoded", format!("id={}", made["id"]));
    let (status, told) = post("/modes/back", &both, form.0, &form.1);
    assert!(status == 403 && told.contains("weakens enforce"), "{status} {told}");
    role("weakens", json!([{"apiGroups": ["gatepost.dev"], "resources": ["modes"], "verbs": ["weaken"]}]));
    eventually("it to be taken back", || (post("/modes/back", &both, form.0, &form.1).0 == 303).then_some(()));
    eventually("it to be enforced no more", || shop.run(touch("root").dry_run()).succeeded().then_some(()));
    let last = history()["items"][0].clone();
    assert_eq!((&last["takesBack"], &last["after"]), (&made["id"], &made["before"]));
    assert_eq!(post("/modes/back", &both, form.0, &form.1).0, 409, "it has been changed since");
}

/// Asks the API.
fn ask(gatepost: &Gatepost, path: &str) -> Option<Value> {
    serde_json::from_str(&http::body_of(&gatepost.serving().http()?, path)?).ok()
}

/// Returns the finding of a rule in a namespace, by itself.
fn finding(gatepost: &Gatepost, namespace: &str, rule: &str) -> Option<Value> {
    let found = ask(gatepost, &format!("/api/v1/findings?namespace={namespace}&rule={rule}"))?;
    ask(gatepost, &format!("/api/v1/findings/{}", found["items"][0]["id"].as_str()?))
}

#[test]
fn what_no_decision_explains_says_how_it_came_in() {
    let (arguments, failure_policy) = (&["--audit-interval", "2s"], "Ignore");
    let options = Options { failure_policy, arguments, ..Options::default() };
    let Some(mut gatepost) = Gatepost::start(&options) else { return };
    let shop = gatepost.namespace("explained", &["warn=off", "audit=off"]);
    shop.accepts(apply(&untagged("web")));
    let recorded = eventually("it to be found by the namespace's labels", || {
        finding(&gatepost, &shop.name, "container-image-tag").filter(|found| found["action"] == "record")
    });
    assert_eq!(recorded["wayIn"], Value::Null, "{recorded:#}");
    gatepost.serving().audited_once_more();
    shop.set("enforce=recommended");
    let told = eventually("how it came in", || {
        let found = finding(&gatepost, &shop.name, "container-image-tag")?;
        (found["action"] == "deny" && found["wayIn"]["way"] != "unknown").then_some(found)
    });
    assert_eq!(told["wayIn"]["way"], "beforeEnforcement", "{told:#}");
    assert!(told["wayIn"]["why"].as_str().is_some_and(|why| why.contains("still saw that it was not denied")));

    gatepost.serving().audited_once_more();
    gatepost.kill();
    shop.accepts(apply(&privileged("root")));
    gatepost.launch();
    let told = eventually("what came while it was away", || {
        finding(&gatepost, &shop.name, "container-privileged").filter(|found| found["action"] == "deny")
    });
    assert_eq!((&told["wayIn"]["way"], &told["broughtIn"]), (&"whileAway".into(), &Value::Null), "{told:#}");
}
