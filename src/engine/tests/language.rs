//! Versions of Rego, failing built-ins, and the shape of results.

use super::*;

#[test]
fn tells_the_versions_of_rego_apart_module_by_module() {
    let table = [
        ("violation[x] { x := {\"message\": \"m\"} }", RegoVersion::V0),
        (
            "import future.keywords\nviolation[x] { some y in [1]; x := {\"message\": sprintf(\"%d\", [y])} }",
            RegoVersion::V0,
        ),
        ("violation contains x if { x := {\"message\": \"m\"} }", RegoVersion::V1),
        ("import rego.v1\nviolation contains x if { x := {\"message\": \"m\"} }", RegoVersion::V1),
        ("import future.keywords\nviolation contains x if { x := {\"message\": \"m\"} }", RegoVersion::V1),
    ];
    for (text, expected) in table {
        assert_eq!(version_of(&module(text)), Ok(expected), "{text}");
        for backend in BACKENDS {
            let found = run(text, backend, json!({}), AMPLE).map(|found| found.as_array().map_or(0, Vec::len));
            assert_eq!(found, Ok(1), "{backend:?}: {text}");
        }
    }
}

#[test]
fn a_rule_of_one_version_uses_shared_modules_of_the_other() {
    let old = Source::new("lib/old.rego", "package gatepost.lib.old\n\nbad(x) { x == 1 }\n");
    let new = Source::new("lib/new.rego", "package gatepost.lib.new\n\nbad(x) if x == 1\n");
    let library = Library::new(&[old, new]).unwrap();
    for (import, body) in [
        ("new", "violation[v] { lib.bad(input.x); v := {\"message\": \"m\"} }"),
        ("old", "violation contains {\"message\": \"m\"} if lib.bad(input.x)"),
    ] {
        let module = module(&format!("import data.gatepost.lib.{import} as lib\n{body}"));
        for backend in BACKENDS {
            let program = rego::compile(&library, &module, backend).unwrap();
            for (x, expected) in [(1, json!([{"message": "m"}])), (2, json!([]))] {
                let found = program.run(&mut Machines::default(), Value::from(json!({"x": x})), AMPLE).unwrap();
                assert_eq!(serde_json::to_value(found.violations).unwrap(), expected, "{backend:?} {import} {x}");
            }
        }
    }
}

#[test]
fn what_neither_version_reads_is_refused_with_file_and_line() {
    for (text, line) in [
        ("violation contains x if {\n\tx := \n}", 4),
        ("violation[x] {\n\tx = {\n}", 6),
        ("import future.keywords\nviolation[x] {\n\tsome y in\n}", 6),
    ] {
        let error = version_of(&module(text)).unwrap_err();
        assert_eq!((&*error.file, error.line), ("own/module.rego", Some(line)), "{text}: {error}");
        assert!(error.to_string().starts_with(&format!("own/module.rego:{line}: ")), "{error}");
    }
}

#[test]
fn a_built_in_function_that_fails_is_undefined_on_both_backends_as_in_opa() {
    let fails = ["to_number(\"x\") == 1", "regex.match(\"[\", \"a\")", "startswith(5, \"a\")"];
    for failing in fails {
        for backend in BACKENDS {
            let found =
                run(&format!("violation contains {{\"message\": \"m\"}} if {failing}"), backend, json!({}), AMPLE);
            assert_eq!(found, Ok(json!([])), "{backend:?}: {failing}");
            let negated = format!("violation contains {{\"message\": \"m\"}} if not {failing}");
            assert_eq!(
                run(&negated, backend, json!({}), AMPLE),
                Ok(json!([{"message": "m"}])),
                "{backend:?}: not {failing}"
            );
        }
    }
}

#[test]
fn a_module_without_violation_is_refused() {
    for backend in BACKENDS {
        let library = Library::new(&[]).unwrap();
        let error = rego::compile(&library, &module("deny contains \"x\""), backend).unwrap_err();
        assert!(
            error.to_string().starts_with("own/module.rego: ") && error.cause.contains("does not define violation"),
            "{error}"
        );
    }
}

#[test]
fn a_result_of_another_shape_is_an_error_that_says_what_is_wrong() {
    let table = [
        ("no-message", "violation contains {\"path\": []}", "has no message"),
        ("text", "violation contains \"text\"", "has no message"),
        ("number-message", "violation contains {\"message\": 5}", "has no message"),
        ("text-path", "violation contains {\"message\": \"m\", \"path\": \"spec\"}", "has a path that is no list"),
        ("path-of-null", "violation contains {\"message\": \"m\", \"path\": [null]}", "has a path that is no list"),
        ("negative-path", "violation contains {\"message\": \"m\", \"path\": [-1]}", "has a path that is no list"),
        ("patch-of-text", "violation contains {\"message\": \"m\", \"patch\": [\"x\"]}", "has a patch that is no list"),
        ("text-patch", "violation contains {\"message\": \"m\", \"patch\": \"x\"}", "has a patch that is no list"),
        (
            "object-patch",
            "violation contains {\"message\": \"m\", \"patch\": {\"path\": [], \"value\": 1}}",
            "has a patch that is no list",
        ),
        (
            "patch-without-value",
            "violation contains {\"message\": \"m\", \"patch\": [{\"path\": []}]}",
            "has a patch that is no list",
        ),
        ("complete", "violation := true", "is not in a set"),
        ("object", "violation := {\"message\": \"m\"}", "is not in a set"),
    ];
    let own: Vec<Source> = table.iter().map(|(id, body, _)| Own::new(id, body).source()).collect();
    let catalogue = Catalogue::read(&[own]).unwrap();
    for backend in BACKENDS {
        let choice = BackendChoice::Always(backend);
        let bundle = Bundle::build(catalogue.clone(), &ProgramCache::default(), choice).unwrap();
        for (id, _, expected) in table {
            let judgement = judged(&bundle, &[id], json!({}), AMPLE).remove(0);
            let Outcome::Failed(EvalError::Shape(cause)) = judgement.outcome else {
                panic!("{backend:?} {id}: {:?}", judgement.outcome)
            };
            assert!(cause.contains(expected), "{backend:?} {id}: {cause}");
        }
    }
}

#[test]
fn one_rules_failure_never_hides_anothers_verdict() {
    let bundle = bundle_of(vec![
        Own::new("shapeless", "violation contains \"text\"").source(),
        Own::new("endless", ENDLESS).source(),
        Own::new("conflict", "violation contains {\"message\": f(1)}\nf(x) := \"a\" if x > 0\nf(x) := \"b\" if { x > 0; input.object.spec }").source(),
        Own::new("always", ALWAYS).source(),
    ]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "app", "securityContext": {"privileged": true}}]}});
    let ids = ["shapeless", "always", "endless", "container-privileged", "conflict", "always"];
    let found = judged(&bundle, &ids, pod, Limits { time: Duration::from_millis(100), ..AMPLE });
    let said: Vec<(&str, bool, usize)> = found
        .iter()
        .map(|one| (one.check.rule_id().as_str(), matches!(one.outcome, Outcome::Failed(_)), one.violations().len()))
        .collect();
    assert_eq!(
        said,
        [
            ("shapeless", true, 0),
            ("always", false, 1),
            ("endless", true, 0),
            ("container-privileged", false, 1),
            ("conflict", true, 0),
            ("always", false, 1),
        ]
    );
    assert_eq!(found[3].violations()[0].container.as_deref(), Some("app"));
}
