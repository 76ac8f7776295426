//! Values of Secrets: rules of a user's see them and say them in every way, and nothing that leaves the process has them.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::alone::{Alone, request};
use crate::support::wait::eventually;

/// A rule that sees what Secrets hold and does its worst with it.
const RULE: &str = r#"# METADATA
# title: Tells all
# description: It tells what it sees.
# custom:
#   id: tells-all
#   severity: critical
#   category: own
#   impact: None.
#   effort: easy
#   kinds: [core/Secret]
#   operations: [CREATE, UPDATE, DELETE]
#   reads: secret-data
#   fix: Nothing.
package own.tells_all

objects := {input.object, input.oldObject} - {null}

violation contains {"message": sprintf("%v", [object]), "path": ["data"]} if some object in objects

violation contains {"message": value, "path": ["data", value]} if {
	some object in objects
	some value in object.data
}

violation contains {"message": trim_space(plain), "path": ["data", plain, line]} if {
	some object in objects
	some value in object.data
	plain := base64.decode(value)
	some line in split(plain, "\n")
}

violation contains {"message": concat(" ", ["again", base64.encode(value)]), "path": [value]} if {
	some object in objects
	some value in object.stringData
}

violation contains {"message": json.marshal(object.metadata.annotations), "path": ["metadata"]} if some object in objects

violation contains {"message": message, "path": ["strings"]} if {
	message := concat(", ", [text | some entry in input.strings; text := sprintf("%v", [entry])])
}
"#;

/// One that fails, and one whose shape is wrong: what the engine says of them.
const BROKEN: &str = r#"# METADATA
# title: Breaks
# description: It breaks on what it sees.
# custom:
#   id: breaks
#   severity: critical
#   category: own
#   impact: None.
#   effort: easy
#   kinds: [core/Secret]
#   reads: secret-data
#   fix: Nothing.
package own.breaks

violation contains {"message": {"is": input.object.data}, "path": [input.object.data]}
"#;

const POLICY: &str = "
apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: own}
spec:
  title: Own
  description: Own.
  rules: [{id: tells-all}, {id: breaks, onError: deny}]
";

fn random() -> String {
    format!("s3cr3t{:016x}", RandomState::new().build_hasher().finish())
}

/// A Secret in whose every place that is secret stands a random text, and these texts.
fn secret(kind: &str) -> (Value, Vec<String>) {
    let words: Vec<String> = (0..8).map(|_| random()).collect();
    let docker =
        json!({"auths": {"registry": {"password": words[3], "auth": STANDARD.encode(format!("jane:{}", words[4]))}}});
    let applied = json!({"data": {"a": STANDARD.encode(&words[5])}, "stringData": {"b": words[6]}});
    let release = STANDARD.encode(STANDARD.encode(format!("H4sI{}", words[7])));
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {
            "name": "sh.helm.release.v1.shop.v1", "namespace": "shop",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": format!("{applied}\n")},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:data": {"f:plain": {}}}}],
        },
        "data": {
            "plain": STANDARD.encode(format!("{}\n", words[0])),
            "env": STANDARD.encode(format!("USER=jane\nPASSWORD=\"{}\"\n", words[1])),
            ".dockerconfigjson": STANDARD.encode(docker.to_string()),
            "release": release,
        },
        "stringData": {"text": words[2]},
    });
    (object, words)
}

/// Fails if one of the words stands in a text, plain or encoded, anywhere in a line of base64 as well.
#[track_caller]
fn assert_silent(what: &str, text: &str, words: &[String]) {
    for word in words {
        assert!(!text.contains(word.as_str()), "{what} tells {word}: {text}");
        // At each of three offsets a text has another encoding; what surrounds it changes the first and last signs.
        for offset in 0..3 {
            let encoded = STANDARD.encode(format!("{}{word}", &"xx"[..offset]));
            let core = &encoded[4..encoded.len() - 4];
            assert!(!text.contains(core), "{what} tells {word} in base64: {text}");
        }
    }
}

fn policies(folder: &Path) {
    fs::write(folder.join("tells-all.rego"), RULE).expect("a rule");
    fs::write(folder.join("breaks.rego"), BROKEN).expect("a rule");
    fs::write(folder.join("own.yaml"), POLICY).expect("a policy");
}

#[test]
fn nothing_that_leaves_the_process_tells_what_a_secret_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    policies(folder.path());
    let config = folder.path().join("config");
    fs::create_dir(&config).expect("a folder");
    for mode in ["enforce", "warn", "audit"] {
        let file = config.join(format!("{mode}.txt"));
        fs::write(&file, format!("defaults: {{{mode}: own}}\n")).expect("a file");
        let gatepost = Alone::start(&[
            "--policies",
            &folder.path().to_string_lossy(),
            "--config",
            &file.to_string_lossy(),
            "--log-level",
            "debug",
        ]);
        for operation in ["CREATE", "UPDATE", "DELETE"] {
            let (object, mut words) = secret("helm.sh/release.v1");
            let (old, old_words) = secret("Opaque");
            words.extend(old_words);
            let mut review = request("told", ("", "v1", "Secret"), &object);
            review["request"]["operation"] = operation.into();
            review["request"]["oldObject"] = if operation == "CREATE" { Value::Null } else { old };
            if operation == "DELETE" {
                review["request"]["object"] = Value::Null;
            }
            let (status, answer) = gatepost.judge(&review).expect("an answer");
            assert_eq!(status, 200, "{answer}");
            assert_eq!(mode != "audit", answer.contains("tells-all"), "{mode} {operation}: {answer}");
            if mode == "audit" {
                let recorded =
                    "gatepost_rule_violations_total{rule=\"tells-all\",severity=\"critical\",action=\"record\"}";
                eventually("the record", || gatepost.page("/metrics")?.contains(recorded).then_some(()));
            }
            assert_silent("the answer", &answer, &words);
            assert_silent("the log", &gatepost.log(), &words);
            assert_silent("a metric", &gatepost.page("/metrics").expect("metrics"), &words);
            for entry in fs::read_dir(gatepost.data()).expect("the data").flatten() {
                let text = fs::read(entry.path()).unwrap_or_default();
                assert_silent(&entry.path().to_string_lossy(), &String::from_utf8_lossy(&text), &words);
            }
        }
    }
}

#[test]
fn no_scan_tells_what_a_secret_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    policies(folder.path());
    let (object, words) = secret("Opaque");
    let manifest = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    // Broken in the middle of a value, and twice the same key: what cannot be read is told of without its text.
    let broken = format!("---\napiVersion: v1\nkind: Secret\nstringData:\n  a: \"{}\n", words[0]);
    let twice = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: b}}\nstringData:\n  {0}: a\n  b: {1}\n  b: {1}\n",
        "k", words[1]
    );
    for text in
        [object.to_string(), format!("---\n{object}\n{twice}"), broken, "{\"kind\": ".to_owned() + &object.to_string()]
    {
        fs::write(manifest.path(), text).expect("a manifest");
        for output in ["json", "text"] {
            let scan = Command::new(env!("CARGO_BIN_EXE_gatepost"))
                .args(["scan", "--policy", "own", "--show-passed", "-o", output, "--policies"])
                .args([folder.path(), manifest.path()])
                .output()
                .expect("gatepost scan");
            for said in [scan.stdout, scan.stderr] {
                assert_silent(output, &String::from_utf8_lossy(&said), &words);
            }
        }
    }
}
