//! What is wrong with files of rules and policies, and where.

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
        (broken_metadata("# METADATA\n", "#\n"), "own/broken.rego:9: no METADATA block"),
        (broken_metadata("package ", "# package "), "own/broken.rego:1: no package"),
        (broken_metadata("#   fix: mend it", "#   fixx: mend it"), "own/broken.rego:8: METADATA: unknown field `fixx`"),
        (broken_metadata("#   fix: mend it\n", ""), "METADATA: missing field `fix`"),
        (broken_metadata("fix: mend it", "fix: ' '"), "METADATA: custom.fix is empty"),
        (broken_metadata("severity: high", "severity: hgih"), "own/broken.rego:5: METADATA: unknown variant `hgih`"),
        (broken_metadata("kinds: ['*']", "kinds: [workload]"), "\"workload\" is neither a group of kinds"),
        (broken_metadata("kinds: ['*']", "kinds: [Pod]"), "\"Pod\" is neither a group of kinds"),
        (broken_metadata("kinds: ['*']", "kinds: []"), "METADATA: custom.kinds is empty"),
        (broken_metadata("id: broken", "id: Broken_Id"), "\"Broken_Id\" is not in kebab-case"),
        (broken_metadata("# title: t", "# title: [t"), "own/broken.rego:"),
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
        assert!(faults[0].contains(expected) && faults[0].starts_with("own/broken.rego:"), "{expected}: {faults:#?}");
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
    assert!(bundle.catalogue().rule("CONTAINERS_INCORRECT_PRIVILEGED_VALUE_TRUE").is_err(), "its alias went with it");
    let shipped = Catalogue::read(&[]).unwrap();
    assert_eq!(bundle.catalogue().rules().len(), shipped.rules().len());
    assert!(ids(&bundle, "strict").contains(&"container-image-tag".to_owned()), "the others stay");
    let last = [vec![Own::new("own", ALWAYS).source()], vec![Own::new("own", ALWAYS).with("effort: hard").source()]];
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
            "  include: [low]\n  rules:\n  - select: {family: other}\n    message: m\n  - {id: resource-name, severity: critical}\n  - {id: resource-name, exemptable: true}",
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
    assert_eq!((own.severity, own.message.as_deref(), own.exemptable), (Severity::Critical, Some("m"), true));
    assert!(!entry(&bundle, "low", "resource-name").1.exemptable, "only what a policy marks is exemptable");
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
