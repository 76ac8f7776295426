//! Users' rules on the VM: let onto it by their fixtures, and taken off it by what they do at work.

use std::cell::RefCell;
use std::num::NonZeroU64;

use super::*;
use crate::admission::fixture::examples;
use crate::engine::{Repeat, Repeated, Trial, Verdict};

/// Names and texts of fixtures.
type Fixtures<'a> = &'a [(&'a str, &'a str)];

/// Denies ConfigMaps called `bad`, and every second of two keys with the same value. The evaluators differ on
/// `by_value`, an object of sets: the VM makes one set of it.
const TWINS: &str = "violation contains {\"message\": \"is bad\"} if input.object.metadata.name == \"bad\"\n\n\
                     by_value[value] contains key if some key, value in input.object.data\n\n\
                     violation contains {\"message\": \"has a twin\"} if {\n\tsome keys in by_value\n\tcount(keys) > 1\n}";
const NAMED_BAD: &str = "violation contains {\"message\": \"is bad\"} if input.object.metadata.name == \"bad\"";
const GOOD: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: good}}";
const BAD: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: bad}}";
const TWIN: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: twin}, data: {a: x, b: x}}";

fn files(body: &'static str, fixtures: Fixtures<'_>) -> Vec<Source> {
    let beside = |(name, text): &(&str, &str)| Source::new(format!("own/{name}"), *text);
    std::iter::once(Own::new("own", body).source()).chain(fixtures.iter().map(beside)).collect()
}

/// Builds with a trial, and returns the bundle and the ids of the rules whose fixtures were read.
fn tried_within(cache: &ProgramCache, files: Vec<Source>, time: Duration, one_in: u64) -> (Bundle, Vec<String>) {
    let read = RefCell::new(Vec::new());
    let examples = |rule: &Rule| {
        read.borrow_mut().push(rule.id.to_string());
        examples(rule)
    };
    let remaining = || time;
    let trial = Trial {
        examples: &examples,
        budget: &Budget { limits: AMPLE, remaining: &remaining },
        repeat_one_in: NonZeroU64::new(one_in).unwrap(),
    };
    let bundle = Bundle::build(Catalogue::read(&[files]).unwrap(), cache, BackendChoice::Tried(trial)).unwrap();
    (bundle, read.into_inner())
}

fn tried(cache: &ProgramCache, files: Vec<Source>) -> Bundle {
    tried_within(cache, files, Duration::from_mins(1), 1).0
}

fn verdict(bundle: &Bundle) -> Option<Verdict> {
    bundle.rules()["own"].verdict.clone()
}

fn backend(bundle: &Bundle) -> Backend {
    bundle.rules()["own"].program().backend()
}

/// Judges an object, and repeats what is due.
fn judged_and_repeated(bundle: &Bundle, object: &str) -> (Vec<Judgement>, Vec<Repeated>) {
    let remaining = || Duration::from_mins(1);
    let budget = Budget { limits: AMPLE, remaining: &remaining };
    let mut machines = Machines::default();
    let input = Input::new(&review_of(serde_saphyr::from_str(object).unwrap()));
    let judgements = judge(&input, &checks_of(bundle, &["own"]), &mut machines, &budget);
    let repeated = Repeat::due(&input, &judgements).iter().map(|repeat| repeat.run(&mut machines, &budget)).collect();
    (judgements, repeated)
}

#[test]
fn a_users_rule_runs_on_the_vm_only_when_its_fixtures_show_that_it_may() {
    let both: Fixtures<'_> = &[("pass.yaml", GOOD), ("fail.yml", BAD)];
    let table: [(&'static str, Fixtures<'_>, Verdict); 9] = [
        (NAMED_BAD, both, Verdict::Agreed(2)),
        (NAMED_BAD, &[("fail-1.yaml", "{metadata: {name: bad}}\n---\n{metadata: {name: x}}")], Verdict::Agreed(2)),
        (TWINS, both, Verdict::Agreed(2)),
        (TWINS, &[("fail.yaml", BAD), ("fail-twin.yaml", TWIN)], Verdict::Differs(2)),
        (NAMED_BAD, &[], Verdict::NoFixtures),
        (NAMED_BAD, &[("pass.yaml", GOOD)], Verdict::FindsNothing),
        (
            "violation contains {\"message\": \"late\"} if time.now_ns() > 0",
            &[("fail.yaml", BAD)],
            Verdict::NotRepeatable("time.now_ns"),
        ),
        (
            "is_bad if input.object.metadata.name == \"bad\"\n\n\
             violation contains {\"message\": \"is bad\"} if is_bad with input.x as 1",
            both,
            Verdict::NotCompiled(String::new()),
        ),
        (NAMED_BAD, &[("fail.yaml", "{metadata: [")], Verdict::Unreadable(String::new())),
    ];
    for (body, fixtures, expected) in table {
        let bundle = tried(&ProgramCache::default(), files(body, fixtures));
        let found = verdict(&bundle).unwrap();
        let is_expected = match (&found, &expected) {
            (Verdict::NotCompiled(cause), Verdict::NotCompiled(_)) => cause.contains("with"),
            (Verdict::Unreadable(cause), Verdict::Unreadable(_)) => cause.starts_with("own/fail.yaml: "),
            _ => found == expected,
        };
        assert!(is_expected, "{body}\n{fixtures:?}\n{found:?} instead of {expected:?}");
        let on_vm = matches!(expected, Verdict::Agreed(_));
        assert_eq!(backend(&bundle) == Backend::Vm, on_vm, "{found}");
    }
}

#[test]
fn without_time_for_trials_a_rule_stays_on_the_interpreter_until_the_next_load() {
    let cache = ProgramCache::default();
    let own = || files(NAMED_BAD, &[("fail.yaml", BAD)]);
    let (bundle, read) = tried_within(&cache, own(), Duration::ZERO, 1);
    assert_eq!((verdict(&bundle), backend(&bundle)), (Some(Verdict::OutOfTime), Backend::Interpreter));
    assert!(read.is_empty());
    assert_eq!(backend(&tried(&cache, own())), Backend::Vm);
}

#[test]
fn loading_the_same_again_tries_and_compiles_nothing() {
    let cache = ProgramCache::default();
    let load = |fixture| {
        let before = cache.compilations();
        let own = files(NAMED_BAD, &[("fail.yaml", fixture)]);
        let (bundle, read) = tried_within(&cache, own, Duration::from_mins(1), 1);
        (backend(&bundle), read.len(), cache.compilations() - before)
    };
    let (first, read, compiled) = load(BAD);
    assert_eq!((first, read), (Backend::Vm, 1));
    assert!(compiled > 2);
    assert_eq!(load(BAD), (Backend::Vm, 0, 0));
    // Another fixture is another trial, of the same programs.
    assert_eq!(load("{metadata: {name: bad}}"), (Backend::Vm, 1, 0));
}

#[test]
fn a_rule_that_differs_at_work_moves_to_the_interpreter_until_it_changes() {
    let cache = ProgramCache::default();
    let own = |body| files(body, &[("pass.yaml", GOOD), ("fail.yaml", BAD)]);
    let (before, bundle) = (tried(&cache, own(TWINS)), tried(&cache, own(TWINS)));
    assert_eq!(judged_and_repeated(&bundle, BAD).1, [Repeated::Same]);

    let (judgements, repeated) = judged_and_repeated(&bundle, TWIN);
    let [Repeated::Different(difference)] = &repeated[..] else { panic!("{repeated:?}") };
    assert_eq!(difference.rule.as_str(), "own");
    assert_eq!(difference.digest, bundle.rules()["own"].digest);
    let on_vm = messages(&judgements[0]).join(",");

    // Every bundle with this rule has moved, those in use and those to come; nothing is repeated any more.
    for bundle in [&before, &bundle, &tried(&cache, own(TWINS))] {
        assert_eq!(backend(bundle), Backend::Interpreter);
        let (judgements, repeated) = judged_and_repeated(bundle, TWIN);
        assert_ne!(messages(&judgements[0]).join(","), on_vm);
        assert_eq!((messages(&judgements[0]), repeated), (vec!["has a twin"], Vec::new()));
    }
    assert_eq!(verdict(&tried(&cache, own(TWINS))), Some(Verdict::Withdrawn));
    assert_eq!(backend(&tried(&cache, own(NAMED_BAD))), Backend::Vm);
    assert_eq!(backend(&tried(&cache, own(TWINS))), Backend::Interpreter);
}

#[test]
fn the_first_and_then_one_evaluation_in_so_many_is_repeated() {
    let cache = ProgramCache::default();
    let build = || tried_within(&cache, files(NAMED_BAD, &[("fail.yaml", BAD)]), Duration::from_mins(1), 4).0;
    let bundle = build();
    let repeats = |bundle: &Bundle, rounds: usize| -> Vec<usize> {
        (0..rounds).map(|_| judged_and_repeated(bundle, GOOD).1.len()).collect()
    };
    assert_eq!(repeats(&bundle, 6), [1, 0, 0, 0, 1, 0]);
    // A reload goes on counting.
    assert_eq!(repeats(&build(), 3), [0, 0, 1]);
}

#[test]
fn built_in_rules_are_neither_tried_nor_repeated() {
    let (bundle, read) = tried_within(&ProgramCache::default(), Vec::new(), Duration::from_mins(1), 1);
    assert!(read.is_empty() && bundle.rules().values().all(|rule| rule.verdict.is_none()));
    let remaining = || Duration::from_mins(1);
    let budget = Budget { limits: AMPLE, remaining: &remaining };
    let input = Input::new(&review_of(json!({"apiVersion": "v1", "kind": "Service"})));
    let judgements = judge(&input, bundle.checks(), &mut Machines::default(), &budget);
    assert!(!judgements.is_empty() && Repeat::due(&input, &judgements).is_empty());
}

#[test]
fn an_evaluation_that_was_cut_short_says_nothing_of_the_vm() {
    let bundle = tried(&ProgramCache::default(), files(NAMED_BAD, &[("fail.yaml", BAD)]));
    let remaining = || Duration::ZERO;
    let no_time = Budget { limits: AMPLE, remaining: &remaining };
    let mut machines = Machines::default();
    let input = Input::new(&review_of(json!({"metadata": {"name": "bad"}})));
    let cut_short = judge(&input, &checks_of(&bundle, &["own"]), &mut machines, &no_time);
    let repeats = Repeat::due(&input, &cut_short);
    let plenty = || Duration::from_mins(1);
    let budget = Budget { limits: AMPLE, remaining: &plenty };
    assert_eq!(repeats.len(), 1);
    assert_eq!(repeats[0].run(&mut machines, &budget), Repeated::Unclear);
    assert_eq!(backend(&bundle), Backend::Vm);
}

#[test]
fn fixtures_and_policies_are_told_apart() {
    let rule = || Source::new("rules/family/own/rule.rego", Own::new("own", NAMED_BAD).source().text);
    let fixture = |file: &str, text: &str| Source::new(file, text);
    let policy = |file: &str, name: &str| Source::new(file, policy(name, "  rules: [{id: own}]").text);
    let mentions =
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: bad}, data: {a: 'apiVersion: gatepost.dev/v1alpha1'}}";
    let catalogue = Catalogue::read(&[vec![
        rule(),
        fixture("rules/family/own/pass.yaml", GOOD),
        fixture("rules/family/own/fail.yml", mentions),
        policy("rules/family/own/fail-policy.yaml", "an-example"),
        policy("sets/pass-through.yaml", "pass-through"),
        policy("sets/passwords.yaml", "passwords"),
    ]])
    .unwrap();
    let fixtures = catalogue.rules()["own"].fixtures.iter();
    let names: Vec<_> = fixtures.map(|fixture| fixture.source.file.rsplit_once('/').unwrap().1.to_owned()).collect();
    assert_eq!(names, ["fail.yml", "pass.yaml", "fail-policy.yaml"]);
    let ours = ["an-example", "pass-through", "passwords"].map(|name| catalogue.sets().contains_key(name));
    assert_eq!(ours, [false, true, true]);

    // Flat, where policies stand beside rules.
    let flat =
        Catalogue::read(&[files(NAMED_BAD, &[("fail.yaml", BAD), ("pass-policy.yaml", &policy("", "mine").text)])]);
    let flat = flat.unwrap();
    assert_eq!((flat.rules()["own"].fixtures.len(), flat.sets().contains_key("mine")), (1, true));
}
