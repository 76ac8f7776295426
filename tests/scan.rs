//! `gatepost scan` and its companions, as a user runs them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const BAD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  containers:
  - name: app
    image: nginx
";
const GOOD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: app
    image: nginx:1.27.3
";
const TAG: [&str; 2] = ["--rule", "container-image-tag"];

struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    fn results(&self) -> Vec<Value> {
        self.json()["results"].as_array().cloned().unwrap_or_default()
    }
}

fn files(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

fn gatepost(root: &Path, arguments: &[&str], input: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.current_dir(root).args(arguments).env_remove("GATEPOST_CONFIG").env_remove("GATEPOST_POLICIES");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A run that ends before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

fn scan(root: &TempDir, arguments: &[&str]) -> Run {
    gatepost(root.path(), &[&["scan"], arguments].concat(), "")
}

#[test]
fn the_exit_code_says_how_it_went() {
    let broken_rule = "# METADATA\n# title: Never answers\n# custom:\n#   id: never-answers\n#   severity: low\n\
                       #   category: test\n#   kinds: [core/Pod]\n#   fix: Nothing.\npackage gatepost.rules.never_answers\n\
                       violation contains {\"message\": 1, \"path\": []} if input.object.metadata.name\n";
    let root = files(&[
        ("bad.yaml", BAD),
        ("good.yaml", GOOD),
        ("broken.yaml", "a: [\n"),
        ("twice.yaml", &GOOD.replace("  name: web\n", "  name: web\n  name: other\n")),
        ("policies/rules/own/never-answers/rule.rego", broken_rule),
        ("wrong.rego", "package x\n"),
        ("modes.yaml", "defaults: {warn: recomended}\n"),
    ]);
    let table: &[(&[&str], i32)] = &[
        (&["good.yaml"], 0),
        (&["bad.yaml"], 1),
        (&["bad.yaml", "--fail-on", "critical"], 0),
        (&["bad.yaml", "--fail-on", "none"], 0),
        (&["good.yaml", "broken.yaml"], 3),
        (&["bad.yaml", "broken.yaml"], 3),
        (&["good.yaml", "missing.yaml"], 3),
        (&["good.yaml", "nothing/*.yaml"], 3),
        (&["twice.yaml"], 3),
        (&["good.yaml", "broken.yaml", "--policies", "policies", "--rule", "never-answers"], 4),
        (&["good.yaml", "--config", "missing.yaml"], 2),
        (&["good.yaml", "--config", "modes.yaml"], 2),
        (&["good.yaml", "--policies", "nowhere"], 2),
        (&["good.yaml", "--policies", "wrong.rego"], 2),
        (&["good.yaml", "--policy", "recomended"], 2),
        (&["good.yaml", "--fail-on", "hihg"], 2),
        (&["good.yaml", "--policy", "baseline"], 2),
        (&[], 2),
    ];
    for (arguments, code) in table {
        let rule: &[&str] = if arguments.contains(&"never-answers") { &[] } else { &TAG };
        let run = scan(&root, &[*arguments, rule].concat());
        assert_eq!(run.code, *code, "{arguments:?}\n{}{}", run.out, run.err);
    }
}

#[test]
fn the_json_has_the_promised_shape() {
    let root = files(&[("web.yaml", &format!("{GOOD}---\n{BAD}"))]);
    let run = scan(&root, &[&["web.yaml", "-o", "json", "--policy", "recommended"][..], &TAG].concat());
    let json = run.json();
    assert_eq!(json["apiVersion"], "gatepost.dev/v1");
    assert_eq!(json["kind"], "ScanResult");
    assert_eq!(json["engine"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["engine"]["policies"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    let summary = serde_json::json!({"objects": 2, "pass": 1, "fail": 1, "error": 0, "skip": 0, "exempt": 0});
    assert_eq!(json["summary"], summary);
    assert!(json.get("faults").is_none());
    let expected = serde_json::json!([{
        "policies": ["recommended"], "rule": "container-image-tag", "severity": "high", "category": "workload",
        "result": "fail", "action": "warn",
        "resource": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web"},
        "source": {"file": "web.yaml", "document": 1, "line": 18},
        "path": "/spec/containers/0/image", "message": "write a fixed tag, for example nginx:1.27.3",
    }]);
    assert_eq!(json["results"], expected);
}

#[test]
fn passes_are_shown_where_asked() {
    let root = files(&[("good.yaml", GOOD)]);
    let run = scan(&root, &[&["good.yaml", "-o", "json", "--show-passed"][..], &TAG].concat());
    let results = run.results();
    assert_eq!((results.len(), &results[0]["result"]), (1, &Value::from("pass")));
    assert!(scan(&root, &[&["good.yaml", "-o", "json"][..], &TAG].concat()).results().is_empty());
}

#[test]
fn what_is_broken_does_not_hide_the_rest() {
    let stream = format!("{BAD}---\nname: {{{{ .Values.name }}}}\n---\n{BAD}");
    let root = files(&[("mixed.yaml", &stream), ("values.yaml", "replicas: 3\n"), ("after.yaml", BAD)]);
    let run = scan(&root, &[&[".", "-o", "json"][..], &TAG].concat());
    let places: Vec<String> = run.results().iter().map(|result| result["source"].to_string()).collect();
    assert_eq!(
        places,
        [
            r#"{"document":0,"file":"after.yaml","line":9}"#,
            r#"{"document":0,"file":"mixed.yaml","line":9}"#,
            r#"{"document":2,"file":"mixed.yaml","line":21}"#,
        ]
    );
    let faults = &run.json()["faults"];
    assert_eq!((&faults[0]["file"], &faults[0]["line"]), (&Value::from("mixed.yaml"), &Value::from(11)));
    assert!(run.err.contains("mixed.yaml:11:"), "{}", run.err);
    assert_eq!(run.code, 3);
    let text = scan(&root, &[&["."][..], &TAG].concat());
    assert!(text.out.contains("1 document not of Kubernetes"), "{}", text.out);
}

#[test]
fn a_list_gives_the_lines_of_its_items() {
    let item = BAD.replace('\n', "\n  ");
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}\n- {}\n", item.trim_end(), item.trim_end());
    let json = serde_json::json!({"apiVersion": "v1", "kind": "PodList", "items": [
        {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "nginx"}]}},
    ]});
    let root = files(&[("list.yaml", &list), ("pods.json", &serde_json::to_string_pretty(&json).unwrap())]);
    let run = scan(&root, &[&["list.yaml", "pods.json", "-o", "json"][..], &TAG].concat());
    let lines: Vec<u64> = run.results().iter().filter_map(|result| result["source"]["line"].as_u64()).collect();
    let image = serde_json::to_string_pretty(&json).unwrap().lines().position(|line| line.contains("image")).unwrap();
    assert_eq!(lines, [12, 21, u64::try_from(image).unwrap() + 1]);
    assert!(run.results().iter().all(|result| result["path"] == "/spec/containers/0/image"));
}

#[test]
fn the_standard_input_is_read() {
    let root = files(&[]);
    let run = gatepost(root.path(), &[&["scan", "-", "-o", "json"][..], &TAG].concat(), &format!("{BAD}---\n{BAD}"));
    assert_eq!(run.results().len(), 2);
    assert_eq!(run.results()[0]["source"]["file"], "-");
}

#[test]
fn modes_decide_what_would_happen() {
    let namespace = |labels: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, {labels}}}\n");
    let enforced = "labels: {gatepost.dev/enforce: datree-default}";
    let static_enforced = "static:\n  shop: {labels: {gatepost.dev/enforce: datree-default}}\n";
    let off = "static:\n  shop: {labels: {gatepost.dev/warn: \"off\", gatepost.dev/audit: \"off\"}}\n";
    let table = [
        (namespace("labels: {}"), "", "warn"),
        (namespace(enforced), "", "deny"),
        (namespace("labels: {gatepost.dev/warn: \"off\"}"), "", "record"),
        (
            namespace(
                "labels: {gatepost.dev/enforce: datree-default}, annotations: {gatepost.dev/enforce-severity: critical}",
            ),
            "",
            "warn",
        ),
        (
            namespace(
                "labels: {gatepost.dev/enforce: datree-default}, annotations: {gatepost.dev/enforce-from: 2999-01-01}",
            ),
            "",
            "warn",
        ),
        (namespace("labels: {gatepost.dev/enforce: datree-defualt}"), "", "warn"),
        (namespace("labels: {}"), static_enforced, "deny"),
        (namespace(enforced), off, "record"),
        (String::new(), "defaults: {enforce: datree-default}\n", "deny"),
    ];
    for (namespace, config, action) in table {
        // The namespace stands in a later file: what is judged first must know it nevertheless.
        let root = files(&[("a.yaml", BAD), ("z/namespace.yaml", &namespace), ("modes", config)]);
        let run = scan(&root, &[&[".", "-o", "json", "--config", "modes"][..], &TAG].concat());
        assert_eq!(run.results()[0]["action"], action, "{namespace}{config}\n{}", run.err);
        assert_eq!(run.err.contains("did you mean \"datree-default\"?"), namespace.contains("defualt"), "{}", run.err);
    }
}

#[test]
fn an_autoscaler_in_another_file_excuses_absent_replicas() {
    let deployment =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: []}}}\n";
    let autoscaler = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\n\
                      spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n";
    let rule = ["-o", "json", "--show-passed", "--rule", "deployment-replicas"];
    let result = |files: &TempDir| scan(files, &[&["."][..], &rule].concat()).results()[0]["result"].clone();
    assert_eq!(result(&files(&[("a.yaml", deployment)])), "skip");
    assert_eq!(result(&files(&[("a.yaml", deployment), ("b.yaml", autoscaler)])), "pass");
}

#[test]
fn a_policy_sets_message_and_severity() {
    let policy = "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: own}\nspec:\n  rules:\n  \
                  - {id: container-image-tag, severity: info, message: \"{{kind}}/{{name}} in {{namespace}}: {{container}} at {{path}}\"}\n";
    let root = files(&[("bad.yaml", BAD), ("policies/own.yaml", policy)]);
    let run = scan(&root, &["bad.yaml", "--policies", "policies", "--policy", "own", "-o", "json"]);
    let result = &run.results()[0];
    assert_eq!(result["message"], "Pod/web in shop: app at /spec/containers/0/image");
    assert_eq!((&result["severity"], run.code), (&Value::from("info"), 0));
    let both = scan(
        &root,
        &[
            "bad.yaml",
            "--policies",
            "policies",
            "--policy",
            "own",
            "--policy",
            "datree-default",
            "-o",
            "json",
            TAG[0],
            TAG[1],
        ],
    );
    let result = &both.results()[0];
    assert_eq!((both.results().len(), &result["severity"]), (1, &Value::from("high")));
    assert_eq!(result["policies"], serde_json::json!(["own", "datree-default"]));
}

#[test]
fn a_secret_is_never_told() {
    let rule = "# METADATA\n# title: Tells\n# custom:\n#   id: tells\n#   severity: high\n#   category: test\n\
                #   kinds: [core/Secret]\n#   fix: Nothing.\n#   reads: secret-data\npackage gatepost.rules.tells\n\
                violation contains {\"message\": sprintf(\"found %v\", [input.object.stringData.password]), \"path\": [\"stringData\"]}\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n";
    let broken = "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2\nx: y\n";
    let root = files(&[("s.yaml", secret), ("t.yaml", broken), ("policies/tells.rego", rule)]);
    for format in ["text", "json"] {
        let run = scan(&root, &["s.yaml", "t.yaml", "--policies", "policies", "--rule", "tells", "-o", format]);
        assert!(run.out.contains("found ***"), "{}{}", run.out, run.err);
        assert!(!run.out.contains("hunter2") && !run.err.contains("hunter2"), "{}{}", run.out, run.err);
    }
}

#[test]
fn the_text_report_is_for_people() {
    let root = files(&[("deploy/bad.yaml", BAD), ("good.yaml", GOOD)]);
    let run = scan(&root, &[&["."][..], &TAG].concat());
    let expected = "\
deploy/bad.yaml
  Pod/web in shop
       9  high      container-image-tag  app: write a fixed tag, for example nginx:1.27.3

How to fix
  container-image-tag: Write a tag that names a version, or a digest, after the image name.

1 violation (1 high) in 1 of 2 objects, 2 files; 1 check passed
";
    assert_eq!(run.out, expected);
    let below = scan(&root, &[&[".", "--fail-on", "critical"][..], &TAG].concat());
    assert!(below.out.contains("1 below --fail-on critical"), "{}", below.out);
    assert!(!run.out.contains('\u{1b}'));
    assert!(scan(&root, &[".", "--color", "always"]).out.contains('\u{1b}'));
}

#[test]
fn unknown_names_get_the_nearest_one() {
    let root = files(&[("good.yaml", GOOD)]);
    let table: &[(&[&str], &str)] = &[
        (&["scan", "."], ""),
        (&["scan", ".", "--rule", "container-image-tags"], "did you mean \"container-image-tag\"?"),
        (&["scan", ".", "--policy", "stricd"], "did you mean \"strict\"?"),
        (&["explain", "container-privilged"], "did you mean \"container-privileged\"?"),
        (&["policies", "show", "basline"], "did you mean \"baseline\"?"),
        (&["scan", ".", "--kubernetes-version", "1.31"], ""),
        (&["scan", ".", "--kubernetes-version", "1.x"], "write one from 1.16 to 1.37"),
        (&["scan"], "gatepost scan ."),
        (&["test", "x.yaml"], "gatepost scan x.yaml"),
    ];
    for (arguments, expected) in table {
        let run = gatepost(root.path(), arguments, "");
        assert!(run.err.contains(expected), "{arguments:?}: {}", run.err);
        assert_eq!(run.code == 2, !expected.is_empty(), "{arguments:?}: {}", run.err);
    }
}

#[test]
fn what_a_release_still_serves_does_not_fail() {
    let hooks = "apiVersion: admissionregistration.k8s.io/v1beta1\nkind: ValidatingWebhookConfiguration\n\
                 metadata: {name: hooks}\nwebhooks: []\n";
    let root = files(&[("hooks.yaml", hooks)]);
    for (release, code, result) in [("1.21", 0, "skip"), ("1.22", 1, "fail")] {
        let arguments = ["hooks.yaml", "--rule", "deprecated-api-1-16", "-o", "json", "--kubernetes-version", release];
        let run = scan(&root, &arguments);
        assert_eq!((run.code, run.results()[0]["result"].as_str()), (code, Some(result)), "{release}: {}", run.out);
    }
}

#[test]
fn a_rule_is_accepted_by_its_other_names() {
    let root = files(&[("bad.yaml", BAD)]);
    let run = scan(&root, &["bad.yaml", "--rule", "CONTAINERS_MISSING_IMAGE_VALUE_VERSION", "-o", "json"]);
    assert_eq!(run.results()[0]["rule"], "container-image-tag");
    let explained = gatepost(root.path(), &["explain", "CONTAINERS_MISSING_IMAGE_VALUE_VERSION"], "");
    for part in ["container-image-tag", "Why", "Impact", "Effort", "How to fix", "Bad", "Good", "image: nginx:latest"] {
        assert!(explained.out.contains(part), "{part}: {}", explained.out);
    }
}

#[test]
fn every_explanation_fits_a_terminal() {
    let root = files(&[]);
    let list = gatepost(root.path(), &["explain"], "").out;
    for rule in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let explained = gatepost(root.path(), &["explain", rule], "").out;
        let long: Vec<&str> =
            explained.lines().filter(|line| line.chars().count() > 100 && !line.contains("https://")).collect();
        assert!(long.is_empty(), "{rule}: {long:?}");
    }
}

#[test]
fn policies_are_listed() {
    let root = files(&[]);
    let list = gatepost(root.path(), &["policies", "list", "-o", "json"], "");
    let names: Vec<Value> =
        list.json()["items"].as_array().unwrap().iter().map(|policy| policy["name"].clone()).collect();
    assert_eq!(names, ["baseline", "datree-default", "recommended", "strict"]);
    assert_eq!(list.json()["items"][1]["rules"].as_array().unwrap().len(), 21);
    let text = gatepost(root.path(), &["policies", "list"], "");
    assert!(text.out.contains("datree-default (21 rules)"), "{}", text.out);
    assert_eq!(gatepost(root.path(), &["policies", "show", "baseline"], "").code, 0);
    assert_eq!(gatepost(root.path(), &["explain"], "").code, 0);
    assert!(gatepost(root.path(), &["version"], "").out.starts_with("gatepost "));
    assert!(gatepost(root.path(), &["completion", "bash"], "").out.contains("gatepost"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let many = format!("{BAD}---\n").repeat(5000);
    let root = files(&[("many.yaml", &many)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let command = command.current_dir(root.path()).args(["scan", "many.yaml"]).args(TAG);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.code().is_some());
}
