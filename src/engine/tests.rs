//! The engine: budgets, versions of Rego, the catalogue's faults, the index, and the input that rules share.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::image;
use super::rego::{self, Library, RegoVersion, version_of};
use super::review::{Needs, masked};
use super::template::templates;
use super::{
    Backend, BackendChoice, Budget, Bundle, Catalogue, Check, EvalError, Fields as _, Input, Judgement, Limits,
    Machines, Outcome, Path, ProgramCache, ResolvedPolicy, Review, Value, judge,
};
use crate::admission::request::{Means, NamespaceState};
use crate::admission::{Controllers, Envelope, Reason, Reviewer};
use crate::policy::set::Entry;
use crate::policy::{
    GroupVersionKind, KindSelector, Modes, NamespaceMeta, OnError, Operation, Origin, Rule, Severity, Source,
};

const BACKENDS: [Backend; 2] = [Backend::Vm, Backend::Interpreter];
/// Far more than any rule of these tests needs.
const AMPLE: Limits = Limits { time: Duration::from_mins(1), instructions: 10_000_000 };
/// Ten thousand million rounds: hours, if nothing stops it.
const ENDLESS: &str = "violation contains {\"message\": \"never\"} if {\n\tr := numbers.range(1, 100000)\n\t\
                       some x in r\n\tsome y in r\n\tx + y < 0\n}";
const ALWAYS: &str = "violation contains {\"message\": \"always\"}";

/// A rule of the tests: its METADATA, and its Rego below the package.
struct Own {
    id: &'static str,
    kinds: &'static str,
    more: &'static str,
    body: &'static str,
}

impl Own {
    const fn new(id: &'static str, body: &'static str) -> Self {
        Self { id, kinds: "'*'", more: "", body }
    }

    const fn of_kinds(id: &'static str, kinds: &'static str) -> Self {
        Self { id, kinds, more: "", body: ALWAYS }
    }

    /// Adds a line to `custom`.
    const fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    fn source(&self) -> Source {
        let Self { id, kinds, more, body } = self;
        let more = if more.is_empty() { String::new() } else { format!("#   {more}\n") };
        let package = id.replace('-', "_");
        Source::new(
            format!("own/{id}.rego"),
            format!(
                "# METADATA\n# title: t\n# custom:\n#   id: {id}\n#   severity: high\n#   category: test\n\
                 #   kinds: [{kinds}]\n#   fix: mend it\n{more}package gatepost.rules.{package}\n\n{body}\n"
            ),
        )
    }
}

fn policy(name: &str, spec: &str) -> Source {
    let text = format!("apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata:\n  name: {name}\nspec:\n{spec}\n");
    Source::new(format!("own/{name}.yaml"), text)
}

fn module(text: &str) -> Source {
    Source::new("own/module.rego", format!("package own\n\n{text}\n"))
}

fn bundle_of(files: Vec<Source>) -> Bundle {
    let catalogue = Catalogue::read(&[files]).expect("the test's policies are whole");
    Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("the test's policies compile")
}

fn faults(files: Vec<Source>) -> Vec<String> {
    let built = Catalogue::read(&[files])
        .and_then(|catalogue| Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven));
    let faults = built.err().map(|error| error.faults).unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

fn run(text: &str, backend: Backend, input: Json, limits: Limits) -> Result<Json, EvalError> {
    let library = Library::new(&[]).expect("no modules");
    let program = rego::compile(&library, &module(text), backend).expect("the test's module compiles");
    let found = program.run(&mut Machines::default(), Value::from(input), limits)?;
    Ok(serde_json::to_value(found.violations).expect("JSON"))
}

fn review_of(object: Json) -> Review {
    Review::of_file(Value::from(object), None, BTreeMap::new())
}

fn checks_of(bundle: &Bundle, ids: &[&str]) -> Vec<Arc<Check>> {
    let one =
        |id: &&str| bundle.checks().iter().find(|check| check.rule_id().as_str() == *id).expect("a check").clone();
    ids.iter().map(one).collect()
}

fn judged(bundle: &Bundle, ids: &[&str], object: Json, limits: Limits) -> Vec<Judgement> {
    let remaining = || Duration::from_mins(1);
    let budget = Budget { limits, remaining: &remaining };
    judge(&Input::new(&review_of(object)), &checks_of(bundle, ids), &mut Machines::default(), &budget)
}

fn messages(judgement: &Judgement) -> Vec<&str> {
    judgement.violations().iter().map(|violation| violation.message.as_str()).collect()
}

mod budgets {
    use super::*;

    #[test]
    fn stop_what_would_never_end() {
        let time = Duration::from_millis(20);
        let table = [
            (Backend::Vm, Limits { instructions: 10_000, ..AMPLE }, EvalError::OutOfInstructions { limit: 10_000 }),
            (Backend::Vm, Limits { time, instructions: usize::MAX }, EvalError::OutOfTime { limit: time }),
            (Backend::Interpreter, Limits { time, ..AMPLE }, EvalError::OutOfTime { limit: time }),
            (Backend::Interpreter, Limits { time, instructions: 1 }, EvalError::OutOfTime { limit: time }),
        ];
        for (backend, limits, expected) in table {
            let start = Instant::now();
            assert_eq!(run(ENDLESS, backend, json!({}), limits), Err(expected), "{backend:?} {limits:?}");
            assert!(start.elapsed() < Duration::from_secs(20), "{backend:?} took {:?}", start.elapsed());
        }
    }

    #[test]
    fn leave_the_machine_fit_for_the_next_object() {
        let bounded = "violation contains {\"message\": m} if {\n\tr := numbers.range(1, input.size)\n\tsome x in r\n\t\
                       some y in r\n\tx + y == 2\n\tm := input.name\n}";
        let library = Library::new(&[]).unwrap();
        for backend in BACKENDS {
            let program = rego::compile(&library, &module(bounded), backend).unwrap();
            let mut machines = Machines::default();
            let limits = Limits { time: Duration::from_millis(50), instructions: 5_000 };
            let large = Value::from(json!({"size": 100_000, "name": "large"}));
            assert!(program.run(&mut machines, large, limits).is_err(), "{backend:?}");
            let small = Value::from(json!({"size": 2, "name": "small"}));
            let found = program.run(&mut machines, small, AMPLE).unwrap().violations;
            assert_eq!(serde_json::to_value(found).unwrap(), json!([{"message": "small"}]), "{backend:?}");
        }
    }

    #[test]
    fn are_of_one_engine_and_not_of_the_process() {
        let long = "violation contains {\"message\": \"done\"} if {\n\tr := numbers.range(1, 300)\n\t\
                    count([1 | some x in r; some y in r; x + y > 0]) == 90000\n}";
        std::thread::scope(|threads| {
            let short = Limits { time: Duration::from_millis(1), ..AMPLE };
            let impatient = threads.spawn(move || run(ENDLESS, Backend::Interpreter, json!({}), short));
            let patient = run(long, Backend::Interpreter, json!({}), AMPLE);
            assert_eq!(patient, Ok(json!([{"message": "done"}])));
            assert!(matches!(impatient.join().unwrap(), Err(EvalError::OutOfTime { .. })));
        });
    }

    #[test]
    fn suffice_for_a_pod_of_five_hundred_containers() {
        let containers: Vec<Json> =
            (0..500).map(|index| json!({"name": format!("c{index}"), "image": "nginx"})).collect();
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": containers}});
        let bundle = bundle_of(Vec::new());
        let limits = Limits { instructions: 1_000_000, ..AMPLE };
        let found = judged(&bundle, &["container-image-tag", "container-memory-limit"], pod, limits);
        let counts: Vec<usize> = found.iter().map(|judgement| judgement.violations().len()).collect();
        assert_eq!(counts, [500, 500]);
    }

    #[test]
    fn end_with_the_request() {
        let bundle = bundle_of(vec![Own::new("first", ALWAYS).source(), Own::new("second", ALWAYS).source()]);
        let asked = Cell::new(0);
        let remaining = || {
            asked.set(asked.get() + 1);
            if asked.get() == 1 { Duration::from_secs(1) } else { Duration::ZERO }
        };
        let budget = Budget { limits: AMPLE, remaining: &remaining };
        let checks = checks_of(&bundle, &["first", "second", "first"]);
        let judgements = judge(&Input::new(&review_of(json!({}))), &checks, &mut Machines::default(), &budget);
        assert_eq!(messages(&judgements[0]), ["always"]);
        for late in &judgements[1..] {
            assert_eq!(late.outcome, Outcome::Failed(EvalError::NotReached));
        }
    }

    #[test]
    fn a_rule_that_the_deadline_cuts_short_is_not_called_too_slow() {
        let bundle = bundle_of(vec![Own::new("endless", ENDLESS).source()]);
        let remaining = || Duration::from_millis(20);
        let judge = |time| {
            let budget = Budget { limits: Limits { time, ..AMPLE }, remaining: &remaining };
            let input = Input::new(&review_of(json!({})));
            let mut judgements = judge(&input, &checks_of(&bundle, &["endless"]), &mut Machines::default(), &budget);
            judgements.remove(0).outcome
        };
        assert_eq!(judge(Duration::from_mins(1)), Outcome::Failed(EvalError::NotReached));
        let limit = Duration::from_millis(10);
        assert_eq!(judge(limit), Outcome::Failed(EvalError::OutOfTime { limit }));
    }
}

mod language {
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
            (
                "patch-of-text",
                "violation contains {\"message\": \"m\", \"patch\": [\"x\"]}",
                "has a patch that is no list",
            ),
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
            .map(|one| {
                (one.check.rule_id().as_str(), matches!(one.outcome, Outcome::Failed(_)), one.violations().len())
            })
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
}

mod backends {
    use super::*;

    fn backend(bundle: &Bundle, id: &str) -> Backend {
        checks_of(bundle, &[id])[0].rule.program.backend()
    }

    #[test]
    fn a_proven_built_in_runs_on_the_vm_and_a_users_rule_on_the_interpreter() {
        let replaced = Own::new("container-privileged", ALWAYS).source();
        let bundle = bundle_of(vec![Own::new("own", ALWAYS).source(), replaced]);
        assert_eq!(backend(&bundle, "own"), Backend::Interpreter);
        assert_eq!(backend(&bundle, "container-privileged"), Backend::Interpreter);
        assert_eq!(backend(&bundle, "container-image-tag"), Backend::Vm);
    }

    #[test]
    fn a_built_in_that_changed_since_it_was_proven_runs_on_the_interpreter() {
        let catalogue = Catalogue::read(&[]).unwrap();
        let rule = catalogue.rule("container-privileged").unwrap();
        assert!(catalogue.is_proven_on_vm(rule));
        let source = Source::new(rule.source.file.clone(), format!("{}\n# changed", rule.source.text));
        assert!(!catalogue.is_proven_on_vm(&Rule { source, ..Rule::clone(rule) }));
    }

    #[test]
    fn a_user_cannot_pass_a_copy_of_a_built_in_for_proven() {
        let catalogue = Catalogue::read(&[]).unwrap();
        let copy = catalogue.rule("container-privileged").unwrap().source.clone();
        assert_eq!(backend(&bundle_of(vec![copy]), "container-privileged"), Backend::Interpreter);
    }
}

mod catalogue {
    use super::*;

    const TYPED: Own = Own::new("typed", ALWAYS).with(
        "parameters: {type: object, properties: {limit: {type: integer, minimum: 1, default: 3}, tags: {type: array, items: {type: string}}}}",
    );

    fn broken_metadata(from: &str, to: &str) -> Source {
        let Source { file, text } = Own::new("broken", ALWAYS).source();
        assert!(text.contains(from), "{from}");
        Source::new(file, text.replace(from, to))
    }

    #[test]
    fn names_file_line_and_cause_of_a_faulty_rule() {
        let table = [
            (broken_metadata("# METADATA\n", "#\n"), "own/broken.rego: line 9: no METADATA block"),
            (broken_metadata("package ", "# package "), "own/broken.rego: line 1: no package"),
            (
                broken_metadata("#   fix: mend it", "#   fixx: mend it"),
                "own/broken.rego: line 8: METADATA: unknown field `fixx`",
            ),
            (broken_metadata("#   fix: mend it\n", ""), "METADATA: missing field `fix`"),
            (broken_metadata("fix: mend it", "fix: ' '"), "METADATA: custom.fix is empty"),
            (
                broken_metadata("severity: high", "severity: hgih"),
                "own/broken.rego: line 5: METADATA: unknown variant `hgih`",
            ),
            (broken_metadata("kinds: ['*']", "kinds: [workload]"), "\"workload\" is neither a group of kinds"),
            (broken_metadata("kinds: ['*']", "kinds: [Pod]"), "\"Pod\" is neither a group of kinds"),
            (broken_metadata("kinds: ['*']", "kinds: []"), "METADATA: custom.kinds is empty"),
            (broken_metadata("id: broken", "id: Broken_Id"), "\"Broken_Id\" is not in kebab-case"),
            (broken_metadata("# title: t", "# title: [t"), "own/broken.rego: line "),
            (broken_metadata(ALWAYS, "violation contains"), "own/broken.rego:1"),
            (
                broken_metadata(ALWAYS, "deny contains 1"),
                "own/broken.rego: package data.gatepost.rules.broken does not define violation",
            ),
            (broken_metadata(ALWAYS, "violation contains {\"message\": nothing(1)}"), "own/broken.rego"),
        ];
        for (file, expected) in table {
            let faults = faults(vec![file.clone()]);
            assert_eq!(faults.len(), 1, "{expected}: {faults:#?}");
            assert!(
                faults[0].contains(expected) && faults[0].starts_with("own/broken.rego:"),
                "{expected}: {faults:#?}"
            );
        }
    }

    #[test]
    fn names_file_line_and_cause_of_a_faulty_policy() {
        let table = [
            (
                "  include: [baselin]",
                "own/mine.yaml:6: include: there is no policy \"baselin\", did you mean \"baseline\"?",
            ),
            ("  include: [mine]", "own/mine.yaml:6: include: mine includes mine again"),
            (
                "  rules:\n  - id: container-image-tagg",
                "own/mine.yaml:7: rules: there is no rule \"container-image-tagg\", did you mean \"container-image-tag\"?",
            ),
            (
                "  exclude: [resource-nam]",
                "own/mine.yaml:6: exclude: there is no rule \"resource-nam\", did you mean \"resource-name\"?",
            ),
            ("  rules:\n  - select: {}", "own/mine.yaml:6: an entry of rules has an empty select"),
            ("  rules:\n  - severity: low", "own/mine.yaml:6: an entry of rules has neither id nor select"),
            (
                "  rules:\n  - id: typed\n    select: {family: own}",
                "own/mine.yaml:6: the entry of rules for \"typed\" has both id and select",
            ),
            ("  rules:\n  - id: typed\n    severity: hgih", "own/mine.yaml:8: unknown variant `hgih`"),
            ("  rules:\n  - id: typed\n    onErorr: deny", "own/mine.yaml:8: unknown field `onErorr`"),
            (
                "  rules:\n  - id: typed\n    parameters: {limit: many}",
                "own/mine.yaml:7: rule \"typed\": parameters.limit: \"many\" is not of type \"integer\"",
            ),
            (
                "  rules:\n  - id: typed\n    parameters: {limit: 0}",
                "own/mine.yaml:7: rule \"typed\": parameters.limit: 0 is less than the minimum of 1",
            ),
            (
                "  rules:\n  - id: typed\n    parameters: {tags: [a, 5]}",
                "own/mine.yaml:7: rule \"typed\": parameters.tags.1: 5 is not of type \"string\"",
            ),
            (
                "  rules:\n  - id: typed\n    parameters: {limt: 5}",
                "own/mine.yaml:7: rule \"typed\": there is no parameter \"limt\", did you mean \"limit\"?",
            ),
            (
                "  rules:\n  - id: resource-name\n    parameters: {limit: 5}",
                "own/mine.yaml:7: rule \"resource-name\" takes no parameters, found \"limit\"",
            ),
        ];
        for (spec, expected) in table {
            let faults = faults(vec![TYPED.source(), policy("mine", spec)]);
            assert_eq!(faults.len(), 1, "{expected}: {faults:#?}");
            assert!(faults[0].starts_with(expected), "{expected}\n{faults:#?}");
        }
    }

    #[test]
    fn points_at_the_line_of_the_entry_and_not_at_another_that_has_the_word() {
        let spec = "  description: like baselin, but ours\n  title: container-image-tagg\n  include: [baselin]";
        assert!(faults(vec![policy("baselin-of-ours", spec)])[0].starts_with("own/baselin-of-ours.yaml:8: "));
    }

    #[test]
    fn a_file_that_is_no_policy_is_refused() {
        let table = [
            ("kind: Policy", "kind: Deployment", "own/mine.yaml:2: kind \"Deployment\" is not Policy"),
            ("v1alpha1", "v2", "own/mine.yaml:1: apiVersion \"gatepost.dev/v2\" is not gatepost.dev/v1alpha1"),
            ("name: mine", "name: 'off'", "own/mine.yaml:4: \"off\" is not a name for a policy"),
            ("name: mine", "name: ''", "own/mine.yaml:4: \"\" is not a name for a policy"),
            ("spec:", "spec: [", "own/mine.yaml:"),
        ];
        for (from, to, expected) in table {
            let Source { file, text } = policy("mine", "  rules: []");
            let faults = faults(vec![Source::new(file, text.replace(from, to))]);
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{expected}\n{faults:#?}");
        }
    }

    #[test]
    fn an_include_cycle_is_named_with_its_way() {
        let faults =
            faults(vec![policy("a", "  include: [b]"), policy("b", "  include: [c]"), policy("c", "  include: [a]")]);
        assert!(
            faults.iter().any(|fault| fault == "own/c.yaml:6: include: a includes b includes c includes a again"),
            "{faults:#?}"
        );
    }

    #[test]
    fn what_stands_twice_in_a_layer_is_refused_naming_both() {
        let twice = |second: &str| {
            let Source { text, .. } = Own::new("twice", ALWAYS).source();
            Source::new(second, text)
        };
        let found = faults(vec![Own::new("twice", ALWAYS).source(), twice("own/other.rego")]);
        assert_eq!(found, ["own/other.rego: rule \"twice\" stands in own/twice.rego too"]);
        let Source { text, .. } = policy("mine", "  rules: []");
        let found = faults(vec![policy("mine", "  rules: []"), Source::new("own/other.yaml", text)]);
        assert_eq!(found, ["own/other.yaml: policy \"mine\" stands in own/mine.yaml too"]);
    }

    #[test]
    fn an_alias_that_another_rule_has_is_refused_naming_the_users_file() {
        for alias in ["aliases: [resource-name]", "aliases: [CONTAINERS_MISSING_IMAGE_VALUE_VERSION]"] {
            for id in ["aa", "zz"] {
                let found = faults(vec![Own::new(id, ALWAYS).with(alias).source()]);
                assert_eq!(found.len(), 1, "{found:#?}");
                assert!(found[0].starts_with(&format!("own/{id}.rego: alias \"")), "{found:#?}");
            }
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let found = faults(vec![
            broken_metadata("severity: high", "severity: hgih"),
            Source::new("own/helper.rego", "package helper\n"),
            Source::new("own/bad.yaml", "kind: Policy\n"),
        ]);
        let files: Vec<&str> = found.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(files, ["own/broken.rego", "own/helper.rego", "own/bad.yaml"], "{found:#?}");
        let found = faults(vec![
            Own::new("one", "violation contains").source(),
            Own::new("two", "deny contains 1").source(),
            policy("mine", "  include: [baselin]"),
            policy("ours", "  rules: [{id: one}, {id: recource-name}]"),
        ]);
        for file in ["own/one.rego", "own/two.rego", "own/mine.yaml", "own/ours.yaml"] {
            assert_eq!(found.iter().filter(|fault| fault.starts_with(file)).count(), 1, "{file}: {found:#?}");
        }
    }

    #[test]
    fn a_rule_that_does_not_compile_is_one_fault_however_many_policies_have_it() {
        let found = faults(vec![
            Own::new("container-privileged", "violation contains").source(),
            policy("mine", "  rules: [{id: container-privileged}]"),
        ]);
        assert_eq!(found.len(), 1, "{found:#?}");
        let library = Source::new("own/lib/broken.rego", "package gatepost.lib.broken\nx := ");
        let found = faults(vec![library]);
        assert!(found.len() == 1 && found[0].starts_with("own/lib/broken.rego:"), "{found:#?}");
    }

    #[test]
    fn a_rule_whose_parameters_are_no_schema_is_refused_with_every_other_one() {
        let no_schema = "parameters: {type: object, properties: {a: {type: txet, default: 1}}}";
        let found = faults(vec![
            Own::new("one", ALWAYS).with(no_schema).source(),
            Own::new("two", ALWAYS).with(no_schema).source(),
        ]);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("own/one.rego: ") && found[1].starts_with("own/two.rego: "), "{found:#?}");
    }

    #[test]
    fn where_the_policies_directory_stands_does_not_change_what_its_files_are() {
        for folder in ["/var/lib/gatepost/policies", "/srv/rules/own", "policies", "."] {
            let Source { text, .. } = Own::new("own", ALWAYS).source();
            let layer = vec![Source::new(format!("{folder}/own.rego"), text.clone())];
            let catalogue = Catalogue::read(&[layer]).unwrap();
            assert_eq!(catalogue.rule("own").map(|rule| rule.family.clone()), Ok("own".to_owned()), "{folder}");
            let layer = vec![Source::new(format!("{folder}/rules/mine/own/rule.rego"), text)];
            let catalogue = Catalogue::read(&[layer]).unwrap();
            assert_eq!(catalogue.rule("own").map(|rule| rule.family.clone()), Ok("mine".to_owned()), "{folder}");
            let library = vec![Source::new(format!("{folder}/lib/texts.rego"), "package own.texts\n")];
            let catalogue = Catalogue::read(&[library]).unwrap();
            assert_eq!(catalogue.rules().len(), Catalogue::read(&[]).unwrap().rules().len(), "{folder}");
        }
    }

    #[test]
    fn a_policy_is_a_policy_whatever_its_file_is_called_and_a_fixture_is_none() {
        for name in ["passwords.yaml", "failover.yaml", "pass.yaml", "fail-closed.yml"] {
            let Source { text, .. } = policy("mine", "  rules: []");
            let catalogue = Catalogue::read(&[vec![Source::new(format!("own/{name}"), text)]]).unwrap();
            assert!(catalogue.sets().contains_key("mine"), "{name}");
        }
        let pod = "apiVersion: v1\nkind: Pod\n";
        for (name, is_fixture) in
            [("pass.yaml", true), ("fail-2.yaml", true), ("pod.yaml", false), ("passwords.yaml", false)]
        {
            let faults = faults(vec![Source::new(format!("own/{name}"), pod)]);
            assert_eq!(faults.is_empty(), is_fixture, "{name}: {faults:?}");
        }
    }

    #[test]
    fn a_layer_replaces_rules_and_policies_by_id() {
        let replaced = Own::new("container-privileged", ALWAYS).source();
        let bundle = bundle_of(vec![replaced, policy("baseline", "  rules: [{id: container-privileged}]")]);
        let rule = bundle.catalogue().rule("container-privileged").unwrap();
        assert_eq!((&*rule.source.file, rule.severity), ("own/container-privileged.rego", Severity::High));
        assert_eq!(ids(&bundle, "baseline"), ["container-privileged"]);
        assert!(
            bundle.catalogue().rule("CONTAINERS_INCORRECT_PRIVILEGED_VALUE_TRUE").is_err(),
            "its alias went with it"
        );
        let shipped = Catalogue::read(&[]).unwrap();
        assert_eq!(bundle.catalogue().rules().len(), shipped.rules().len());
        assert!(ids(&bundle, "strict").contains(&"container-image-tag".to_owned()), "the others stay");
        let last =
            [vec![Own::new("own", ALWAYS).source()], vec![Own::new("own", ALWAYS).with("effort: hard").source()]];
        let catalogue = Catalogue::read(&last).unwrap();
        assert!(catalogue.rule("own").unwrap().source.text.contains("effort: hard"), "the last layer wins");
    }

    #[test]
    fn a_rule_is_found_by_id_and_by_alias() {
        let catalogue = Catalogue::read(&[]).unwrap();
        for name in ["container-image-tag", "CONTAINERS_MISSING_IMAGE_VALUE_VERSION"] {
            assert_eq!(catalogue.rule(name).map(|rule| rule.id.as_str()), Ok("container-image-tag"));
        }
        let bundle =
            bundle_of(vec![policy("mine", "  rules: [{id: CONTAINERS_MISSING_IMAGE_VALUE_VERSION, severity: low}]")]);
        assert_eq!(ids(&bundle, "mine"), ["container-image-tag"]);
    }

    fn ids(bundle: &Bundle, policy: &str) -> Vec<String> {
        let policy = bundle.policy(policy).expect("a policy");
        let mut ids: Vec<String> = policy.entries.keys().map(|id| bundle.checks()[*id].rule_id().to_string()).collect();
        ids.sort();
        ids
    }

    fn entry<'a>(bundle: &'a Bundle, policy: &str, rule: &str) -> (&'a Arc<Check>, &'a Entry) {
        let entries = &bundle.policy(policy).expect("a policy").entries;
        let is_it = |(id, _): &(&usize, _)| bundle.checks()[**id].rule_id().as_str() == rule;
        let (id, entry) = entries.iter().find(is_it).expect("an entry");
        (&bundle.checks()[*id], entry)
    }

    type Wanted<'a> = &'a dyn Fn(&Rule) -> bool;

    #[test]
    fn selectors_take_rules_by_family_category_and_severity() {
        let all = Catalogue::read(&[]).unwrap();
        let expected = |wanted: &dyn Fn(&Rule) -> bool| -> Vec<String> {
            all.rules().values().filter(|rule| wanted(rule)).map(|rule| rule.id.to_string()).collect()
        };
        let table: [(&str, Wanted<'_>); 5] = [
            ("{family: cronjob}", &|rule| rule.family == "cronjob"),
            ("{category: security}", &|rule| rule.category == "security"),
            ("{severity: high}", &|rule| rule.severity >= Severity::High),
            ("{family: containers, severity: high}", &|rule| {
                rule.family == "containers" && rule.severity >= Severity::High
            }),
            ("{family: nothing-of-the-kind}", &|_| false),
        ];
        for (select, wanted) in table {
            let bundle = bundle_of(vec![policy("mine", &format!("  rules: [{{select: {select}}}]"))]);
            assert_eq!(ids(&bundle, "mine"), expected(wanted), "{select}");
        }
        assert!(
            !expected(&|rule| rule.family == "cronjob").is_empty()
                && !expected(&|rule| rule.category == "security").is_empty()
        );
    }

    #[test]
    fn later_entries_and_later_includes_win_and_exclude_takes_out_of_all() {
        let bundle = bundle_of(vec![
            policy("low", "  rules: [{id: resource-name, severity: low, onError: allow}, {id: service-node-port}]"),
            policy("info", "  rules: [{id: resource-name, severity: info}]"),
            policy("low-info", "  include: [low, info]"),
            policy("info-low", "  include: [info, low]\n  exclude: [service-node-port]"),
            policy(
                "own",
                "  include: [low]\n  rules:\n  - select: {family: other}\n    message: m\n  - {id: resource-name, severity: critical}\n  - {id: resource-name, exemptable: false}",
            ),
            policy(
                "none",
                "  include: [low]\n  rules: [{id: service-node-port}]\n  exclude: [resource-name, service-node-port]",
            ),
        ]);
        let severity = |policy| entry(&bundle, policy, "resource-name").1.severity;
        assert_eq!([severity("low-info"), severity("info-low")], [Severity::Info, Severity::Low]);
        assert_eq!(ids(&bundle, "info-low"), ["resource-name"]);
        assert!(ids(&bundle, "none").is_empty());
        let (_, own) = entry(&bundle, "own", "resource-name");
        assert_eq!((own.severity, own.message.as_deref(), own.exemptable), (Severity::Critical, Some("m"), false));
        assert_eq!(own.on_error, OnError::Allow, "what later entries leave out stays as it was included");
    }

    #[test]
    fn a_policy_included_on_two_ways_is_no_cycle() {
        let bundle = bundle_of(vec![
            policy("base", "  rules: [{id: resource-name}]"),
            policy("left", "  include: [base]"),
            policy("right", "  include: [base]"),
            policy("top", "  include: [left, right]"),
        ]);
        assert_eq!(ids(&bundle, "top"), ["resource-name"]);
    }

    #[test]
    fn parameters_left_out_take_their_defaults() {
        let shows = "violation contains {\"message\": sprintf(\"%v\", [input.parameters])}";
        let own = Own { body: shows, ..TYPED };
        let bundle = bundle_of(vec![
            own.source(),
            policy("none", "  rules: [{id: typed}]"),
            policy("default", "  rules: [{id: typed, parameters: {limit: 3}}]"),
            policy("seven", "  rules: [{id: typed, parameters: {limit: 7}}]"),
            policy("tagged", "  rules: [{id: typed, parameters: {tags: [a]}}]"),
        ]);
        let check = |policy: &'static str| entry(&bundle, policy, "typed").0;
        let says = |policy: &'static str| {
            let remaining = || Duration::from_mins(1);
            let budget = Budget { limits: AMPLE, remaining: &remaining };
            let input = Input::new(&review_of(json!({})));
            let found = judge(&input, &[check(policy).clone()], &mut Machines::default(), &budget);
            messages(&found[0]).join("")
        };
        assert_eq!(says("none"), "{\"limit\": 3}");
        assert_eq!(says("seven"), "{\"limit\": 7}");
        assert_eq!(says("tagged"), "{\"limit\": 3, \"tags\": [\"a\"]}");
        assert!(Arc::ptr_eq(check("none"), check("default")), "equal parameters share a check");
        assert!(!Arc::ptr_eq(check("none"), check("seven")), "different ones do not");
        let checks = bundle.checks().iter().filter(|check| check.rule_id().as_str() == "typed").count();
        assert_eq!(checks, 3);
    }

    #[test]
    fn shipped_policies_build_on_each_other() {
        let bundle = bundle_of(Vec::new());
        let set = |policy| ids(&bundle, policy).into_iter().collect::<BTreeSet<_>>();
        assert!(set("baseline").is_subset(&set("recommended")) && set("recommended").is_subset(&set("strict")));
        assert!(set("datree-default").is_subset(&set("recommended")));
        assert_eq!(set("datree-default").len(), 21);
    }
}

mod cache {
    use super::*;

    #[test]
    fn building_the_same_again_compiles_nothing_and_a_change_only_what_changed() {
        let cache = ProgramCache::default();
        let own = |body| vec![Own::new("own", body).source(), Own::new("other", ALWAYS).source()];
        let build = |files| {
            Bundle::build(Catalogue::read(&[files]).unwrap(), &cache, BackendChoice::Proven).unwrap();
            cache.compilations()
        };
        let first = build(own(ALWAYS));
        assert_eq!(usize::try_from(first).unwrap(), Catalogue::read(&[]).unwrap().rules().len() + 2);
        assert_eq!(build(own(ALWAYS)), first);
        assert_eq!(build(own("violation contains {\"message\": \"changed\"}")), first + 1);
        assert_eq!(build(own(ALWAYS)), first + 1);
        assert_eq!(cache.len(), first + 1);
    }

    #[test]
    fn builds_at_the_same_time_compile_each_program_once() {
        let cache = ProgramCache::default();
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    let catalogue = Catalogue::read(&[vec![Own::new("own", ALWAYS).source()]]).unwrap();
                    Bundle::build(catalogue, &cache, BackendChoice::Proven).unwrap();
                });
            }
        });
        assert_eq!(usize::try_from(cache.compilations()).unwrap(), Catalogue::read(&[]).unwrap().rules().len() + 1);
    }

    #[test]
    fn a_small_cache_stays_small_and_the_bundle_keeps_what_it_needs() {
        let cache = ProgramCache::new(2);
        let bundle = Bundle::build(Catalogue::read(&[]).unwrap(), &cache, BackendChoice::Proven).unwrap();
        assert!(cache.len() <= 2, "{}", cache.len());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "app", "securityContext": {"privileged": true}}]}});
        assert_eq!(judged(&bundle, &["container-privileged"], pod, AMPLE)[0].violations().len(), 1);
    }

    #[test]
    fn no_request_compiles_anything() {
        let cache = ProgramCache::default();
        let files = vec![Own::new("own", ALWAYS).source(), policy("mine", "  include: [strict]\n  rules: [{id: own}]")];
        let bundle = Bundle::build(Catalogue::read(&[files]).unwrap(), &cache, BackendChoice::Proven).unwrap();
        let before = cache.compilations();
        let labels = BTreeMap::from([("gatepost.dev/enforce".to_owned(), "mine".to_owned())]);
        let namespace = Arc::new(NamespaceMeta { labels, ..NamespaceMeta::named("shop") });
        let (modes, controllers) = (Modes::default(), Controllers::default());
        let reviewer =
            Reviewer { bundle: &bundle, modes: &modes, controllers: &controllers, judge_owned: false, limits: AMPLE };
        let mut machines = Machines::default();
        for (kind, operation) in [("Pod", "CREATE"), ("Pod", "UPDATE"), ("ConfigMap", "CREATE"), ("Pod", "DELETE")] {
            for round in 0..20 {
                let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": format!("a{round}"), "namespace": "shop"},
                    "spec": {"containers": [{"name": "app", "image": "nginx"}]}});
                let old = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "old"}});
                let body = json!({"kind": "AdmissionReview", "request": {
                    "uid": "u", "kind": {"group": "", "version": "v1", "kind": kind}, "name": "a", "namespace": "shop",
                    "operation": operation, "userInfo": {"username": "jane"},
                    "object": if operation == "DELETE" { Json::Null } else { object },
                    "oldObject": if operation == "CREATE" { Json::Null } else { old },
                }});
                let envelope = Envelope::decode(&serde_json::to_vec(&body).unwrap(), None).unwrap();
                let means = Means {
                    namespace: NamespaceState::Known(namespace.clone()),
                    inventory: BTreeMap::new(),
                    now: Timestamp::UNIX_EPOCH,
                    remaining: &|| Duration::from_mins(1),
                    machines: &mut machines,
                };
                let decision = reviewer.review(&envelope, means);
                let is_deletion = operation == "DELETE";
                assert_eq!(decision.reason == Reason::Judged, !is_deletion, "{kind} {operation}: {decision:?}");
            }
        }
        assert_eq!(cache.compilations(), before);
    }
}

mod index {
    use super::*;

    const RULES: &[(&str, &str)] = &[
        ("any", "'*'"),
        ("workload", "workloads"),
        ("controller", "controllers"),
        ("pod", "core/Pod"),
        ("apps", "apps/*"),
        ("any-job", "'*/Job'"),
        ("role", "rbac"),
        ("widget", "example.com/Widget"),
        ("core", "core/*"),
        ("two", "core/Pod, core/Service"),
        ("double", "workloads, core/Pod, '*'"),
    ];
    const KINDS: &[(&str, &str)] = &[
        ("", "Pod"),
        ("", "Service"),
        ("", "ReplicationController"),
        ("", "PodTemplate"),
        ("apps", "Deployment"),
        ("apps", "ControllerRevision"),
        ("batch", "Job"),
        ("batch", "CronJob"),
        ("jobs.example.com", "Job"),
        ("rbac.authorization.k8s.io", "Role"),
        ("example.com", "Widget"),
        ("example.com", "Pod"),
        ("apps.example.com", "Deployment"),
    ];

    static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
        let mut files: Vec<Source> = RULES.iter().map(|(id, kinds)| Own::of_kinds(id, kinds).source()).collect();
        files.push(Own::new("deleting", ALWAYS).with("operations: [DELETE]").source());
        files.push(Own::new("in-cluster", ALWAYS).with("where: [admission, audit]").source());
        files.push(policy("mine", "  rules: [{select: {category: test}}]"));
        files.push(policy("few", "  rules: [{id: any}, {id: pod}]"));
        bundle_of(files)
    });

    fn matching(review: &Review, has_template: bool, policies: &[&str]) -> Vec<String> {
        let policies: Vec<&ResolvedPolicy> = policies.iter().map(|name| &**BUNDLE.policy(name).unwrap()).collect();
        let found = BUNDLE.matching(review, has_template, &policies);
        found.iter().map(|check| check.rule_id().to_string()).collect()
    }

    fn review(group: &str, kind: &str) -> Review {
        let kind = GroupVersionKind { group: group.into(), version: "v1".into(), kind: kind.into() };
        Review { kind, ..review_of(json!({})) }
    }

    #[test]
    fn only_what_can_match_is_run() {
        let table: &[(&str, &str, bool, &[&str])] = &[
            ("", "Pod", true, &["any", "core", "double", "pod", "two", "workload"]),
            ("", "Service", false, &["any", "core", "double", "two"]),
            ("", "ReplicationController", true, &["any", "controller", "core", "double", "workload"]),
            ("apps", "Deployment", true, &["any", "apps", "controller", "double", "workload"]),
            ("apps", "ControllerRevision", false, &["any", "apps", "double"]),
            ("batch", "Job", true, &["any", "any-job", "controller", "double", "workload"]),
            ("jobs.example.com", "Job", false, &["any", "any-job", "double"]),
            ("rbac.authorization.k8s.io", "Role", false, &["any", "double", "role"]),
            ("example.com", "Widget", false, &["any", "double", "widget"]),
            ("example.com", "Widget", true, &["any", "double", "widget", "workload"]),
            ("example.com", "Pod", false, &["any", "double"]),
        ];
        for (group, kind, has_template, expected) in table {
            let mut found = matching(&review(group, kind), *has_template, &["mine"]);
            found.sort();
            assert_eq!(found, *expected, "{group}/{kind}");
        }
    }

    #[test]
    fn operation_place_and_policy_narrow_it() {
        let pod = review("", "Pod");
        let deletion = Review { operation: Operation::Delete, ..pod.clone() };
        assert_eq!(matching(&deletion, true, &["mine"]), ["deleting"]);
        let connect = Review { operation: Operation::Connect, ..pod.clone() };
        assert!(matching(&connect, true, &["mine"]).is_empty());
        assert!(!matching(&pod, true, &["mine"]).contains(&"in-cluster".to_owned()), "not in files");
        for origin in [Origin::Admission, Origin::Audit] {
            let there = Review { origin, ..pod.clone() };
            assert!(matching(&there, true, &["mine"]).contains(&"in-cluster".to_owned()), "{origin:?}");
        }
        assert_eq!(matching(&pod, true, &["few"]), ["any", "pod"]);
        assert!(matching(&pod, true, &[]).is_empty());
        let both = matching(&pod, true, &["few", "mine"]);
        assert_eq!(both.iter().collect::<BTreeSet<_>>().len(), both.len(), "each once");
    }

    #[test]
    fn workload_rules_look_at_custom_resources_that_hold_a_pod_template() {
        let template = json!({"spec": {"containers": [{"name": "app"}]}});
        let table = [
            (json!({"template": template}), true),
            (json!({"replicaSpecs": {"Worker": {"template": template}}}), true),
            (json!({"jobs": [{"jobTemplate": {"spec": {"template": template}}}]}), true),
            (json!({"workerPodTemplate": template}), true),
            (json!({"size": 3}), false),
            (json!({"template": {"spec": {"size": 3}}}), false),
            (json!({"template": "text"}), false),
            (json!({"pod": template}), false),
        ];
        for (spec, expected) in table {
            let object =
                json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
            let review = review_of(object.clone());
            let has_template = Input::new(&review).has_template();
            assert_eq!(has_template, expected, "{object}");
            let found = matching(&review, has_template, &["mine"]);
            assert_eq!(found.contains(&"workload".to_owned()), expected, "{object}");
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_what_asking_every_rule_would_find(
            kind in 0..KINDS.len(), has_template: bool, operation in 0..3_usize, origin in 0..3_usize,
        ) {
            let (group, kind) = KINDS[kind];
            let review = Review {
                operation: [Operation::Create, Operation::Update, Operation::Delete][operation],
                origin: [Origin::Admission, Origin::Audit, Origin::Files][origin],
                ..review(group, kind)
            };
            let policy = BUNDLE.policy("mine").unwrap();
            let is_asked = |check: &&Arc<Check>| {
                let rule = &check.rule.rule;
                policy.entries.contains_key(&check.id)
                    && rule.operations.contains(&review.operation)
                    && rule.places.contains(&review.origin)
                    && rule.kinds.iter().any(|kind: &KindSelector| kind.matches(&review.kind, has_template))
            };
            let expected: Vec<String> =
                BUNDLE.checks().iter().filter(is_asked).map(|check| check.rule_id().to_string()).collect();
            prop_assert_eq!(matching(&review, has_template, &["mine"]), expected);
        }
    }
}

mod input {
    use super::*;

    fn object(api_version: &str, kind: &str, rest: &Json) -> Json {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}});
        for (key, value) in rest.as_object().expect("an object") {
            object[key] = value.clone();
        }
        object
    }

    fn input_of(object: Json) -> Json {
        serde_json::to_value(Input::new(&review_of(object)).for_rule(Needs::default())).expect("JSON")
    }

    #[test]
    fn containers_are_found_in_every_kind_that_holds_pods() {
        let spec = json!({"containers": [{"name": "app"}], "initContainers": [{"name": "init"}], "ephemeralContainers": [{"name": "debug"}]});
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
        let table = [
            (object("v1", "Pod", &json!({"spec": spec})), "/spec"),
            (object("apps/v1", "Deployment", &json!({"spec": {"template": template}})), "/spec/template/spec"),
            (object("apps/v1", "StatefulSet", &json!({"spec": {"template": template}})), "/spec/template/spec"),
            (object("batch/v1", "Job", &json!({"spec": {"template": template}})), "/spec/template/spec"),
            (
                object("batch/v1", "CronJob", &json!({"spec": {"jobTemplate": {"spec": {"template": template}}}})),
                "/spec/jobTemplate/spec/template/spec",
            ),
            (object("v1", "PodTemplate", &json!({"template": template})), "/template/spec"),
            (object("v1", "ReplicationController", &json!({"spec": {"template": template}})), "/spec/template/spec"),
            (
                object("training.example.k8s.io/v1", "Trainer", &json!({"spec": {"template": template}})),
                "/spec/template/spec",
            ),
            (
                object("extensions/v1beta1", "Deployment", &json!({"spec": {"template": template}})),
                "/spec/template/spec",
            ),
            (
                object("argoproj.io/v1alpha1", "Rollout", &json!({"spec": {"template": template}})),
                "/spec/template/spec",
            ),
            (object("example.com/v1", "Pod", &json!({"spec": {"template": template}})), "/spec/template/spec"),
            (
                object(
                    "kubeflow.org/v1",
                    "PyTorchJob",
                    &json!({"spec": {"pytorchReplicaSpecs": {"Worker": {"template": template}}}}),
                ),
                "/spec/pytorchReplicaSpecs/Worker/template/spec",
            ),
        ];
        for (object, path) in table {
            let input = input_of(object.clone());
            let found: Vec<(String, &str, bool)> = input["containers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|found| {
                    let path = Path::from_value(&Value::from(found["path"].clone())).unwrap();
                    (path.to_string(), found["name"].as_str().unwrap(), found["sidecar"].as_bool().unwrap())
                })
                .collect();
            let expected = [("containers", "app"), ("initContainers", "init"), ("ephemeralContainers", "debug")]
                .map(|(list, name)| (format!("{path}/{list}/0"), name, false));
            assert_eq!(found, expected, "{object}");
            assert_eq!(input["podTemplates"].as_array().unwrap().len(), 1);
        }
    }

    #[test]
    fn an_object_without_pods_has_no_templates() {
        let template = json!({"spec": {"containers": [{"name": "app"}]}});
        for object in [
            object("v1", "ConfigMap", &json!({"data": {"template": "spec"}})),
            object("v1", "ConfigMap", &json!({"spec": {"template": template}})),
            object("apps/v1", "ControllerRevision", &json!({"data": {"spec": {"template": template}}})),
            object("apps/v1", "Deployment", &json!({"spec": {}})),
            json!(null),
            json!([]),
            json!("text"),
        ] {
            let review = review_of(object.clone());
            assert!(!Input::new(&review).has_template(), "{object}");
            assert_eq!(input_of(object)["containers"], json!([]));
        }
    }

    #[test]
    fn a_template_nested_without_end_is_not_searched_for_without_end() {
        let mut spec = json!({"template": {"spec": {"containers": []}}});
        for _ in 0..100 {
            spec = json!({"deeper": spec});
        }
        assert!(!Input::new(&review_of(object("example.com/v1", "Widget", &json!({"spec": spec})))).has_template());
    }

    #[test]
    fn only_an_init_container_that_always_restarts_is_a_sidecar() {
        let containers =
            json!([{"name": "a", "restartPolicy": "Always"}, {"name": "b", "restartPolicy": "Never"}, {"name": "c"}]);
        let spec = json!({"containers": containers, "initContainers": containers, "ephemeralContainers": containers});
        let input = input_of(object("v1", "Pod", &json!({"spec": spec})));
        let sidecars: Vec<(&str, &str)> = input["containers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|container| container["sidecar"] == json!(true))
            .map(|container| (container["list"].as_str().unwrap(), container["name"].as_str().unwrap()))
            .collect();
        assert_eq!(sidecars, [("initContainers", "a")]);
    }

    #[test]
    fn what_runs_to_completion_is_said() {
        let template = |policy: &str| json!({"spec": {"containers": [], "restartPolicy": policy}});
        let controller = |policy: &str| json!({"spec": {"template": template(policy)}});
        let table = [
            (object("v1", "Pod", &json!({"spec": {"containers": []}})), false),
            (object("v1", "Pod", &template("Always")), false),
            (object("v1", "Pod", &template("Never")), true),
            (object("v1", "Pod", &template("OnFailure")), true),
            (object("apps/v1", "Deployment", &controller("Always")), false),
            (object("batch/v1", "Job", &json!({"spec": {"template": {"spec": {}}}})), true),
            (object("batch/v1", "CronJob", &json!({"spec": {"jobTemplate": {"spec": {"template": {}}}}})), true),
            (object("example.com/v1", "Job", &controller("Always")), false),
            (object("example.com/v1", "Job", &controller("Never")), true),
        ];
        for (object, expected) in table {
            assert_eq!(input_of(object.clone())["podTemplates"][0]["runsToCompletion"], json!(expected), "{object}");
        }
    }

    #[test]
    fn every_text_is_given_with_its_path_to_a_rule_that_asks() {
        let review = review_of(object("v1", "ConfigMap", &json!({"data": {"a/b": "x"}, "list": [1, "y", ["z"]]})));
        let needs = Needs { strings: true, ..Needs::default() };
        let input = Input::new(&review).for_rule(needs);
        let strings = input.field("strings").unwrap();
        let mut found = Vec::new();
        for text in strings.items() {
            let path = Path::from_value(text.field("path").unwrap()).unwrap();
            assert_eq!(path.find(&review.object), text.field("value"));
            found.push(format!("{path}={}", text.text("value").unwrap()));
        }
        found.sort();
        assert_eq!(
            found,
            ["/apiVersion=v1", "/data/a~1b=x", "/kind=ConfigMap", "/list/1=y", "/list/2/0=z", "/metadata/name=web"]
        );
    }

    #[test]
    fn paths_are_json_pointers() {
        let path = Path::of_keys(&["metadata", "annotations", "a/b~c~1"]).index(3).key("").key("ü \"x\"");
        assert_eq!(path.to_string(), "/metadata/annotations/a~1b~0c~01/3//ü \"x\"");
        assert_eq!(Path::default().to_string(), "");
        assert_eq!(serde_json::to_value(&path).unwrap(), json!(path.to_string()));
        let object = json!({"metadata": {"annotations": {"a/b~c~1": [0, 1, 2, {"": {"ü \"x\"": true}}]}}});
        assert_eq!(object.pointer(&path.to_string()), Some(&json!(true)));
        assert_eq!(path.find(&Value::from(object)), Some(&Value::from(true)));
    }

    #[test]
    fn the_inventory_is_the_same_for_every_rule() {
        let known = |kind: &str| (kind.to_owned(), Value::from(json!([{"kind": kind}])));
        let review = Review { inventory: BTreeMap::from([known("b/B")]), ..review_of(json!({})) };
        let input = Input::new(&review).for_rule(Needs::default());
        assert_eq!(serde_json::to_value(input.field("inventory")).unwrap(), json!({"b/B": [{"kind": "b/B"}]}));
    }

    fn container() -> impl Strategy<Value = Json> {
        (any::<bool>(), proptest::option::of("[a-z]{1,4}(:[0-9]{1,2})?")).prop_map(|(always, image)| {
            let mut container = json!({});
            if always {
                container["restartPolicy"] = json!("Always");
            }
            if let Some(image) = image {
                container["image"] = json!(image);
            }
            container
        })
    }

    fn pod_spec() -> impl Strategy<Value = Json> {
        let lists = || proptest::option::of(proptest::collection::vec(container(), 0..4));
        (lists(), lists(), lists()).prop_map(|(containers, init, ephemeral)| {
            let mut spec = json!({"hostNetwork": true});
            for (list, found) in
                [("containers", containers), ("initContainers", init), ("ephemeralContainers", ephemeral)]
            {
                let Some(mut found) = found else { continue };
                for (index, container) in found.iter_mut().enumerate() {
                    container["name"] = json!(format!("{list}-{index}"));
                }
                spec[list] = json!(found);
            }
            spec
        })
    }

    proptest! {
        #[test]
        fn every_containers_path_leads_to_that_container(spec in pod_spec(), kind in 0..6_usize, key in "[a-zA-Z/~ ]{0,6}") {
            let template = json!({"spec": spec});
            let object = match kind {
                0 => object("v1", "Pod", &json!({"spec": spec})),
                1 => object("apps/v1", "DaemonSet", &json!({"spec": {"template": template}})),
                2 => object("batch/v1", "CronJob", &json!({"spec": {"jobTemplate": {"spec": {"template": template}}}})),
                3 => object("v1", "PodTemplate", &json!({"template": template})),
                4 => object("example.com/v1", "Widget", &json!({"spec": {key: [{"template": template}]}})),
                _ => object("example.com/v1", "Widget", &json!({"a": {"template": template}, "b": {"podTemplate": template}})),
            };
            let value = Value::from(object.clone());
            let input = Input::new(&review_of(object)).for_rule(Needs::default());
            let mut found = BTreeSet::new();
            for given in input.field("containers").unwrap().items() {
                let path = Path::from_value(given.field("path").unwrap()).unwrap();
                let there = path.find(&value).unwrap();
                prop_assert_eq!(there, given.field("container").unwrap());
                prop_assert_eq!(there.field("name"), given.field("name"));
                let name = there.text("name").unwrap();
                prop_assert!(name.starts_with(given.text("list").unwrap()));
                let template = given.field("template").unwrap().as_u64().unwrap();
                let template = input.field("podTemplates").unwrap().items().nth(usize::try_from(template).unwrap()).unwrap();
                let template = Path::from_value(template.field("path").unwrap()).unwrap();
                prop_assert!(path.to_string().starts_with(&template.to_string()));
                found.insert(path.to_string());
            }
            let is_known = kind < 4;
            let is_template = is_known || spec.get("containers").is_some();
            let count = |list: &str| spec.get(list).and_then(Json::as_array).map_or(0, Vec::len);
            let each = count("containers") + count("initContainers") + count("ephemeralContainers");
            let copies = if kind == 5 { 2 } else { 1 };
            prop_assert_eq!(found.len(), if is_template { each * copies } else { 0 });
        }

        #[test]
        fn looking_for_templates_never_panics(object in any_json(), kind in "[A-Za-z]{0,8}", group in "(|apps|batch|example\\.com)") {
            let gvk = GroupVersionKind { group, version: "v1".into(), kind };
            let object = Value::from(object);
            for found in templates(&gvk, &object) {
                prop_assert_eq!(found.path.find(&object), Some(&found.template));
            }
            masked(&object);
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            ".{0,6}".prop_map(Json::from),
        ];
        leaf.prop_recursive(6, 48, 4, |inner| {
            let key =
                "(spec|template|jobTemplate|containers|initContainers|metadata|annotations|data|name|image|.{0,3})";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }
}

mod images {
    use super::*;

    fn reassembled(found: &image::ImageReference<'_>) -> String {
        let registry = found.registry.map_or(String::new(), |registry| format!("{registry}/"));
        let tag = found.tag.map_or(String::new(), |tag| format!(":{tag}"));
        let digest = found.digest.map_or(String::new(), |digest| format!("@{digest}"));
        format!("{registry}{}{tag}{digest}", found.repository)
    }

    proptest! {
        #[test]
        fn any_text_that_is_read_is_its_parts_again(text in prop_oneof![".{0,40}", "[a-zA-Z0-9./:@_\\[\\]-]{0,40}"]) {
            if let Some(found) = image::parse(&text) {
                prop_assert_eq!(reassembled(&found), text);
            }
        }

        #[test]
        fn a_reference_made_by_the_grammar_is_read_as_it_was_made(
            registry in proptest::option::of("(localhost|[a-z0-9]{1,5}\\.[a-z]{2,3})(:[0-9]{1,5})?"),
            repository in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}){0,2}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            digest in proptest::option::of("sha256:[0-9a-f]{64}"),
        ) {
            // Without a registry, a first part with a dot would be taken for one.
            prop_assume!(registry.is_some() || !repository.split_once('/').is_some_and(|(first, _)| first.contains('.')));
            let made = image::ImageReference {
                registry: registry.as_deref(), repository: &repository, tag: tag.as_deref(), digest: digest.as_deref(),
            };
            let text = reassembled(&made);
            prop_assert_eq!(image::parse(&text), Some(made), "{}", text);
        }
    }
}

mod secrets {
    use super::*;

    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

    fn secret(word: &str) -> Json {
        let copy = json!({"data": {"password": format!("{word}-applied")}}).to_string();
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "labels": {"app": "shop"}, "annotations": {"owner": "team", LAST_APPLIED: copy}},
            "data": {"password": format!("{word}-data")}, "stringData": {"token": format!("{word}-string")}})
    }

    fn seen(needs: Needs<'_>) -> Json {
        let review = Review { old_object: Value::from(secret("old")), ..review_of(secret("new")) };
        serde_json::to_value(Input::new(&review).for_rule(needs)).unwrap()
    }

    #[test]
    fn are_masked_for_a_rule_that_does_not_say_that_it_reads_them() {
        for strings in [false, true] {
            let input = seen(Needs { strings, ..Needs::default() });
            let text = input.to_string();
            for word in ["new", "old"] {
                for place in ["data", "string", "applied"] {
                    assert!(!text.contains(&format!("{word}-{place}")), "{word} {place}: {text}");
                }
            }
            for object in ["object", "oldObject"] {
                let object = &input[object];
                assert_eq!(object["data"], json!({"password": "***"}), "keys stay");
                assert_eq!(object["stringData"], json!({"token": "***"}));
                assert_eq!(object["metadata"]["annotations"], json!({"owner": "team", LAST_APPLIED: "***"}));
                assert_eq!(
                    (&object["type"], &object["metadata"]["labels"]),
                    (&json!("Opaque"), &json!({"app": "shop"}))
                );
            }
        }
    }

    #[test]
    fn are_seen_by_a_rule_that_says_so() {
        let input = seen(Needs { secret_data: true, strings: true, ..Needs::default() });
        assert_eq!((&input["object"], &input["oldObject"]), (&secret("new"), &secret("old")));
        assert!(input["strings"].to_string().contains("new-data"));
    }

    #[test]
    fn reads_in_metadata_is_what_says_so() {
        let leaks = "violation contains {\"message\": sprintf(\"%v\", [input.object.data.password])}";
        let bundle = bundle_of(vec![
            Own::new("blind", leaks).source(),
            Own::new("seeing", leaks).with("reads: secret-data").source(),
        ]);
        let found = judged(&bundle, &["blind", "seeing", "blind"], secret("new"), AMPLE);
        let said: Vec<Vec<&str>> = found.iter().map(messages).collect();
        assert_eq!(said, [["***"], ["new-data"], ["***"]]);
    }

    #[test]
    fn are_masked_where_they_are_looked_up_too() {
        let known = |kind: &str, object: Json| (kind.to_owned(), Value::from(json!([object])));
        let config_map = json!({"kind": "ConfigMap", "data": {"a": "seen"}});
        let inventory =
            BTreeMap::from([known("core/Secret", secret("kept")), known("core/ConfigMap", config_map.clone())]);
        let review = Review { inventory, ..review_of(json!({"apiVersion": "v1", "kind": "Pod"})) };
        for secret_data in [false, true] {
            let input = Input::new(&review).for_rule(Needs { secret_data, ..Needs::default() });
            let inventory = serde_json::to_value(input.field("inventory")).unwrap();
            assert!(!inventory.to_string().contains("kept-"), "{inventory}");
            assert_eq!(inventory["core/Secret"][0]["data"], json!({"password": "***"}));
            assert_eq!(inventory["core/ConfigMap"], json!([config_map]));
        }
    }

    #[test]
    fn a_secret_of_another_group_is_no_secret() {
        let review = review_of(json!({"apiVersion": "example.com/v1", "kind": "Secret", "data": {"a": "b"}}));
        let input = Input::new(&review).for_rule(Needs::default());
        assert_eq!(input.at(&["object", "data", "a"]).and_then(|value| value.as_text()), Some("b"));
    }
}
