//! The API of `gatepost serve`, asked as a client does, and held to its description.

use std::process::Command;

use serde_json::{Value as Json, json};

use crate::support::generated::check_generated;
use crate::support::seed::{Seeded, fill};
use crate::support::server::Server;

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: app, image: nginx}\n";
const REPORT: &str = "{\"apiVersion\":\"gatepost.dev/v1\",\"kind\":\"Report\",\"key\":\"k\",\"source\":\"ci/shop\"}";
const TAG: &str = "/api/v1/scan?rule=CONTAINERS_MISSING_IMAGE_VALUE_VERSION&policy=recommended";
const CONFIG: &str = "defaults: {warn: baseline}\nstatic:\n  shop: {labels: {gatepost.dev/enforce: recommended}}\n";

fn server() -> Server {
    Server::start(&[("config.yaml", CONFIG)], &["--config", "config.yaml", "--max-scan-bytes", "4096"], &[])
}

fn read(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn documents_are_judged_as_on_the_command_line() {
    let server = server();
    let (status, body) = server.ask("POST", TAG, "Content-Type: application/yaml\r\n", POD);
    let answer = read(&body);
    assert_eq!((status, &answer["kind"], &answer["summary"]["fail"]), (200, &json!("ScanResult"), &json!(1)), "{body}");
    let result = &answer["results"][0];
    assert_eq!(result["path"], "/spec/containers/0/image");
    assert_eq!((&result["source"]["line"], &result["action"]), (&json!(6), &json!("record")), "{body}");
    let (_, body) = server.ask("POST", &format!("{TAG}&namespace=shop"), "", POD);
    assert_eq!(read(&body)["results"][0]["action"], "deny", "{body}");
    let (status, body) = server.ask("POST", TAG, "", &format!("{POD}---\na: [\n"));
    assert_eq!((status, read(&body)["faults"].as_array().map(Vec::len)), (200, Some(1)), "{body}");
    let (status, body) = server.ask("POST", TAG, "", "a: [\n");
    assert_eq!((status, read(&body)["summary"]["objects"].clone()), (422, json!(0)), "{body}");
}

#[test]
fn a_scan_is_kept_as_a_check_only_where_that_is_asked_for() {
    let server = server();
    let checks =
        || read(&server.ask("GET", "/api/v1/checks", "", "").1)["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(server.ask("POST", TAG, "", POD).0, 200);
    assert_eq!(checks(), Vec::<Json>::new(), "nobody asked for it");
    let kept = |more: &str| {
        let (status, body) = server.ask("POST", &format!("{TAG}&record=true&source=ci/shop{more}"), "", POD);
        assert_eq!((status, &read(&body)["summary"]["fail"]), (200, &json!(1)), "{body}");
        let (_, told) = server.ask("GET", &format!("/api/v1/checks/{}", checks()[0]["id"]), "", "");
        read(&told)
    };
    let check = kept("&commit=0f5cc2e");
    assert_eq!((&check["source"], &check["commit"]), (&json!("ci/shop"), &json!("0f5cc2e")), "{check}");
    assert_eq!((&check["passed"], &check["violations"]), (&json!(false), &json!({"high": 1})), "{check}");
    assert_eq!(check["results"][0]["rule"], "container-image-tag", "{check}");
    assert!(check["policies"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{check}");
    assert_eq!(kept("&failOn=critical")["passed"], true);
    assert_eq!(checks().len(), 2);
    for (query, header, said) in [
        ("record=true", "", "record=true needs a source"),
        ("source=ci/shop", "", "source means nothing without record=true"),
        ("record=false&commit=0f5", "", "commit means nothing without record=true"),
        ("failOn=low", "", "failOn means nothing without record=true"),
        ("record=true&source=a%0Ab", "", "source holds control characters"),
        ("record=true&source=ci&failOn=hgih", "", "did you mean \\\"high\\\"?"),
        ("record=true&source=ci", "Accept: application/x-ndjson\r\n", "a stream of lines is not kept"),
    ] {
        let (status, answer) = server.ask("POST", &format!("/api/v1/scan?{query}"), header, POD);
        assert_eq!(status, 400, "{query}: {answer}");
        assert!(answer.contains(said), "{query}: {answer}");
    }
    let (_, text) = tokens(&server, &["create", "--label", "a job", "--scope", "read", "-o", "json"]);
    let header = format!("Authorization: Bearer {}\r\n", read(&text)["token"].as_str().expect("a token"));
    let (status, answer) = server.ask("POST", &format!("{TAG}&record=true&source=ci/shop"), &header, POD);
    assert_eq!(status, 403, "{answer}");
    assert!(answer.contains("scope report"), "{answer}");
    assert_eq!(checks().len(), 2);
}

#[test]
fn a_stream_is_answered_line_by_line() {
    let server = server();
    let pod = |name: usize| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name.to_string()},
        "spec": {"containers": [{"name": "app", "image": "nginx"}]}})
    };
    let body = (0..500).map(|name| pod(name).to_string()).collect::<Vec<_>>().join("\n");
    let header = "Content-Type: application/x-ndjson\r\nAccept: application/x-ndjson\r\n";
    let (status, answer) = server.ask("POST", TAG, header, &body);
    let lines: Vec<Json> = answer.lines().map(read).collect();
    assert_eq!((status, lines.len()), (200, 501));
    let last = &lines[500];
    assert_eq!((&last["complete"], &last["summary"]["fail"]), (&json!(true), &json!(500)), "{last}");
    let (_, answer) = server.ask("POST", TAG, header, &format!("{}\n{}", pod(1), "x".repeat(40_000)));
    let last = answer.lines().last().map(read).expect("a last line");
    assert_eq!((&last["complete"], &last["faults"]), (&json!(false), &json!(1)), "{answer}");
}

#[test]
fn removed_api_versions_follow_the_release_that_is_asked_for() {
    let server = server();
    let role =
        "apiVersion: rbac.authorization.k8s.io/v1beta1\nkind: Role\nmetadata: {name: r, namespace: shop}\nrules: []\n";
    let said = |query: &str| {
        let path = format!("/api/v1/scan?rule=deprecated-api-1-17&showPassed=true{query}");
        let (status, answer) = server.ask("POST", &path, "", role);
        assert_eq!(status, 200, "{answer}");
        let result = read(&answer)["results"][0].clone();
        (result["result"].as_str().map(str::to_owned), result["message"].as_str().unwrap_or_default().to_owned())
    };
    for (query, result, message) in [
        ("", "fail", "use rbac.authorization.k8s.io/v1, Kubernetes 1.22 removed v1beta1"),
        ("&kubernetesVersion=1.22", "fail", "use rbac.authorization.k8s.io/v1, Kubernetes 1.22 removed v1beta1"),
        (
            "&kubernetesVersion=v1.31.4-gke.100",
            "fail",
            "use rbac.authorization.k8s.io/v1, Kubernetes 1.22 removed v1beta1",
        ),
        (
            "&kubernetesVersion=1.21.3",
            "skip",
            "use rbac.authorization.k8s.io/v1: it is deprecated, Kubernetes 1.22 removes v1beta1",
        ),
        ("&kubernetesVersion=1.16", "pass", ""),
    ] {
        assert_eq!(said(query), (Some(result.to_owned()), message.to_owned()), "{query}");
    }
}

#[test]
fn errors_are_problems() {
    let server = server();
    for (method, path, header, body, expected, said) in [
        ("POST", "/api/v1/scan?polcy=x", "", POD, 400, "did you mean \\\"policy\\\"?"),
        ("POST", "/api/v1/scan?policy=recomended", "", POD, 400, "did you mean \\\"recommended\\\"?"),
        ("POST", "/api/v1/scan?kubernetesVersion=latest", "", POD, 400, "write one from 1.16 to 1.37"),
        ("POST", "/api/v1/scan?kubernetesVersion=1.99", "", POD, 400, "no release of Kubernetes that is known"),
        ("POST", "/api/v1/scan?namespace=nowhere", "", POD, 200, "ScanResult"),
        ("POST", "/api/v1/scan", "Content-Type: image/png\r\n", POD, 415, "application/yaml"),
        ("POST", "/api/v1/scan", "", &"#".repeat(5000), 413, "4096"),
        ("GET", "/api/v1/scan", "", "", 405, "openapi"),
        ("GET", "/api/v1/nothing", "", "", 404, "openapi"),
        ("GET", "/api/v1/openapi.json", "Authorization: Bearer gp_a_b\r\n", "", 200, "openapi"),
        ("POST", "/api/v1/scan", "Authorization: Bearer gp_a_b\r\n", POD, 401, "token"),
        ("POST", "/api/v1/scan", "Origin: https://evil.example\r\n", POD, 403, "Origin"),
    ] {
        let (status, answer) = server.ask(method, path, &format!("X-Request-Id: abc\r\n{header}"), body);
        assert_eq!(status, expected, "{path}: {answer}");
        assert!(answer.contains(said), "{path}: {answer}");
        if status != 200 {
            let problem = read(&answer);
            assert_eq!((&problem["status"], &problem["instance"]), (&json!(status), &json!("abc")), "{answer}");
        }
    }
    let series = "gatepost_api_requests_total{method=\"post\",route=\"/api/v1/scan\",status=\"415\"}";
    assert_eq!(server.metric(series), 1);
}

/// Runs `gatepost tokens` on the store of a server.
fn tokens(server: &Server, arguments: &[&str]) -> (bool, String) {
    let data = server.path("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let output = command.arg("tokens").args(arguments).arg("--data-dir").arg(data).output().expect("gatepost runs");
    (output.status.success(), String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn a_token_opens_what_it_is_good_for_until_it_is_revoked() {
    let server = server();
    let make = |scope: &str| {
        let (made, text) = tokens(&server, &["create", "--label", "a job", "--scope", scope, "-o", "json"]);
        assert!(made, "{text}");
        read(&text)
    };
    let (reader, reporter) = (make("read"), make("report"));
    let status = |token: &Json, path: &str| {
        let header = format!("Authorization: Bearer {}\r\n", token["token"].as_str().expect("a token"));
        server.ask("GET", path, &header, "").0
    };
    assert_eq!((status(&reader, "/api/v1/findings"), status(&reporter, "/api/v1/findings")), (200, 403));
    let (_, listed) = tokens(&server, &["list"]);
    for token in [&reader, &reporter] {
        let (id, secret) = (token["id"].as_str().expect("an id"), token["token"].as_str().expect("a token"));
        assert!(listed.contains(id) && !listed.contains(secret), "{listed}");
    }
    let id = reader["id"].as_str().expect("an id");
    assert!(tokens(&server, &["revoke", id]).0);
    assert!(!tokens(&server, &["revoke", id]).0, "there is none of that id any more");
    assert_eq!((status(&reader, "/api/v1/findings"), status(&reporter, "/api/v1/findings")), (401, 403));
    for wrong in [&["create", "--label", " ", "--scope", "read"][..], &["create", "--label", "x", "--scope", "reed"]] {
        assert!(!tokens(&server, wrong).0, "{wrong:?}");
    }
}

#[test]
fn every_path_of_the_description_answers_and_knows_its_parameters() {
    let settings = ["--config", "config.yaml", "--max-scan-bytes", "4096", "--api-requests-per-second", "0"];
    // Nobody listens there, so that nothing arrives: 502.
    let target = "notifications:\n- {name: chat, kind: webhook, url: 'http://127.0.0.1:1/'}\n";
    let server = Server::start(&[("config.yaml", &format!("{CONFIG}{target}"))], &settings, &[]);
    let seeded = fill(&server.path("data"));
    let (status, text) = server.ask("GET", "/api/v1/openapi.json", "", "");
    assert_eq!(status, 200);
    check_generated("docs/openapi.json", &text);
    let described = Described::new(&read(&text));
    for (path, methods) in read(&text)["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let (method, there) = (method.to_uppercase(), named(path, &seeded));
            if operation["responses"]["200"]["content"].get("text/event-stream").is_some() {
                // It has no end; tests/outbox.rs reads it.
                assert_eq!(server.ask(&method, &format!("{there}?nonsense=1"), "", "").0, 400, "{there}");
                continue;
            }
            let is_json = operation.pointer("/requestBody/content/application~1json").is_some();
            let is_yaml = operation.pointer("/requestBody/content/application~1yaml").is_some();
            let body = if is_json && !is_yaml { REPORT } else { POD };
            let (status, answer) = server.ask(&method, &there, "", body);
            let is_described = operation["responses"].get(status.to_string()).is_some();
            assert!(is_described && status != 404, "{method} {there}: {status} {answer}");
            described.check(&format!("{method} {there}"), &operation["responses"][status.to_string()], &answer);
            let (status, answer) = server.ask(&method, &format!("{there}?nonsense=1"), "", POD);
            assert_eq!(status, 400, "{method} {there}: {answer}");
            if path.contains('{') {
                let (status, answer) = server.ask(&method, path, "", POD);
                assert_eq!(status, 404, "{method} {path}: {answer}");
                assert!(!answer.contains("openapi.json"), "{method} {path}: {answer}");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" {
                    takes(&server, &method, &there, parameter);
                }
            }
        }
    }
}

/// The schemas of the description, with nothing left open: what it does not tell must not be answered.
struct Described(Json);

impl Described {
    fn new(description: &Json) -> Self {
        fn close(schema: &mut Json) {
            if let Some(fields) = schema.as_object_mut() {
                if fields.contains_key("properties") {
                    fields.insert("additionalProperties".into(), false.into());
                }
                fields.values_mut().for_each(close);
            }
            schema.as_array_mut().into_iter().flatten().for_each(close);
        }
        let mut components = description["components"].clone();
        close(&mut components);
        Self(components)
    }

    /// Holds an answer to the schema that its status is described with.
    fn check(&self, asked: &str, response: &Json, answer: &str) {
        let content = response["content"].as_object().expect("a content");
        let Some(schema) = content.get("application/json").or_else(|| content.get("application/problem+json")) else {
            return;
        };
        let schema = schema["schema"].as_object().expect("a schema");
        assert!(!schema.is_empty() || asked.ends_with("openapi.json"), "{asked} is described by a schema");
        let root = json!({"allOf": [schema], "components": self.0});
        let validator = jsonschema::validator_for(&root).expect("a schema");
        let faults: Vec<String> =
            validator.iter_errors(&read(answer)).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(faults.is_empty(), "{asked}: {faults:#?}\n{answer}");
    }
}

/// Returns a path with names of what is there in place of the braces.
fn named(path: &str, seeded: &Seeded) -> String {
    let names = [
        ("/findings/{id}", seeded.finding.clone()),
        ("/findings/{id}/fix", format!("{}/fix", seeded.mended)),
        ("/decisions/{uid}", seeded.decision.clone()),
        ("/checks/{id}", seeded.check.to_string()),
        ("/audits/{id}", seeded.audit.to_string()),
        ("/audits/{id}/cancel", format!("{}/cancel", seeded.audit)),
        ("/rules/{id}", "container-image-tag".to_owned()),
        ("/policies/{name}", "recommended".to_owned()),
        ("/{target}/test", "chat/test".to_owned()),
    ];
    names.iter().find(|(end, _)| path.ends_with(end)).map_or_else(
        || path.to_owned(),
        |(end, name)| {
            let (folder, _) = end.split_once("/{").expect("a folder");
            format!("{}{folder}/{name}", path.strip_suffix(end).expect("the end"))
        },
    )
}

/// Asks with a value that a parameter takes, and with one that it does not, as the description has it.
fn takes(server: &Server, method: &str, path: &str, parameter: &Json) {
    let name = parameter["name"].as_str().expect("a name");
    let schema = &parameter["schema"];
    let of = if schema["type"] == "array" { &schema["items"] } else { schema };
    let (right, wrong) = match (of["enum"].get(0), of["type"].as_str()) {
        (Some(word), _) => (word.as_str().expect("a word").to_owned(), Some("nonsense")),
        (None, Some("integer")) => ("1".to_owned(), Some("0")),
        (None, Some("boolean")) => ("false".to_owned(), Some("perhaps")),
        _ => (if name == "since" { "1d" } else { "" }.to_owned(), None),
    };
    // What says how a scan is kept means nothing where none is.
    let with = if name == "failOn" { "&record=true&source=ci" } else { "" };
    if name != "cursor" && !right.is_empty() {
        let (status, answer) = server.ask(method, &format!("{path}?{name}={right}{with}"), "", POD);
        assert!((200..300).contains(&status) || status == 409, "{method} {path}?{name}={right}: {status} {answer}");
    }
    if let Some(wrong) = wrong {
        let (status, answer) = server.ask(method, &format!("{path}?{name}={wrong}"), "", POD);
        assert_eq!(status, 400, "{method} {path}?{name}={wrong}: {answer}");
        assert!(answer.contains(name), "{answer}");
    }
}
