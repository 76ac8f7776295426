use proptest::prelude::*;

use super::*;
use crate::admission::decide::Action;
use crate::policy::Severity;
use crate::policy::exemption::{ExemptionKind, ExemptionName};
use crate::report::finding::{BroughtIn, ObjectKey};

fn rule(name: &str) -> RuleId {
    serde_json::from_value(name.into()).unwrap()
}

fn seen(name: &str, place: &str, result: Verdict) -> Observation {
    Observation {
        rule: rule(name),
        place: place.into(),
        result,
        severity: Severity::High,
        category: "workload".into(),
        policies: vec!["strict".into()],
        action: Action::Record,
        path: place.into(),
        message: "m".into(),
    }
}

fn look(evaluated: &[&str], found: Vec<Observation>) -> Look {
    Look {
        object: ObjectKey { kind: "Pod".into(), namespace: "shop".into(), name: "web".into(), ..ObjectKey::default() },
        api_version: "v1".into(),
        uid: "u".into(),
        owner: String::new(),
        application: None,
        content: "c".into(),
        evaluated: evaluated.iter().map(|name| rule(name)).collect(),
        skipped: Vec::new(),
        found,
        exempt: Vec::new(),
    }
}

/// What is told of an exemption of this name.
fn note(name: &str) -> ExemptionNote {
    let name = ExemptionName { kind: ExemptionKind::Exemption, namespace: "shop".into(), name: name.into() };
    ExemptionNote { name, reason: "r".into(), owner: "o".into(), expires: None }
}

/// A look that finds only what an exemption excuses.
fn excused(place: &str, by: &str) -> Look {
    Look { exempt: vec![(seen("a", place, Verdict::Fail), note(by))], ..look(&["a"], vec![]) }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Does what a store does.
fn apply(stored: &mut Vec<Finding>, changed: &Changed, now: Timestamp) {
    for next in &changed.put {
        stored.retain(|finding| finding.id != next.id);
        stored.push(next.clone());
    }
    for (id, reason) in &changed.close {
        let finding = stored.iter_mut().find(|finding| finding.id == *id).unwrap();
        finding.state = State::Closed;
        finding.closed_because = Some(*reason);
        finding.closed_at = Some(now);
    }
}

fn stored(places: &[(&str, &str)]) -> Vec<Finding> {
    let found = places.iter().map(|(rule, place)| seen(rule, place, Verdict::Fail)).collect();
    changed(&look(&[], found), &[], |_| Standing::Asked, at(1)).put
}

#[test]
fn closes_for_the_reason_that_holds() {
    let asked = Standing::Asked;
    let table = [
        ("fixed", look(&["a"], vec![]), asked, Some(CloseReason::Fixed)),
        ("no answer", look(&[], vec![]), asked, None),
        ("skipped", Look { skipped: vec![rule("a")], ..look(&[], vec![]) }, asked, Some(CloseReason::OutOfScope)),
        (
            "skipped and failed",
            Look { skipped: vec![rule("a")], ..look(&[], vec![seen("a", "", Verdict::Error)]) },
            asked,
            None,
        ),
        (
            "skipped here, found there",
            Look { skipped: vec![rule("a")], ..look(&[], vec![seen("a", "/y", Verdict::Fail)]) },
            asked,
            Some(CloseReason::OutOfScope),
        ),
        ("failed", look(&[], vec![seen("a", "", Verdict::Error)]), asked, None),
        ("one of two checks failed", look(&["a"], vec![seen("a", "", Verdict::Error)]), asked, None),
        ("off", look(&["a"], vec![]), Standing::Off, Some(CloseReason::RuleOff)),
        ("not asked", look(&[], vec![]), Standing::NotAsked, Some(CloseReason::OutOfScope)),
        ("excused there", excused("/y", "why"), asked, Some(CloseReason::Fixed)),
        (
            "failed and excused",
            Look { exempt: vec![(seen("a", "", Verdict::Error), note("why"))], ..look(&[], vec![]) },
            asked,
            None,
        ),
        ("still there", look(&["a"], vec![seen("a", "/x", Verdict::Fail)]), asked, None),
        ("elsewhere", look(&["a"], vec![seen("a", "/y", Verdict::Fail)]), asked, Some(CloseReason::Fixed)),
    ];
    for (name, look, standing, expected) in table {
        let changed = changed(&look, &stored(&[("a", "/x")]), |_| standing, at(2));
        assert_eq!(changed.close.first().map(|(_, reason)| *reason), expected, "{name}");
    }
}

#[test]
fn what_comes_back_is_the_same_finding_reopened() {
    let found = || look(&["a"], vec![seen("a", "/x", Verdict::Fail)]);
    let asked = |_: &RuleId| Standing::Asked;
    let mut known = Vec::new();
    for (second, look, opened, fixed) in
        [(1, found(), 1, 0), (2, look(&["a"], vec![]), 0, 1), (3, look(&["a"], vec![]), 0, 0), (4, found(), 1, 0)]
    {
        let changed = changed(&look, &known, asked, at(second));
        assert_eq!((changed.opened, changed.fixed), (opened, fixed), "at {second}");
        apply(&mut known, &changed, at(second));
    }
    assert_eq!(known.len(), 1);
    let finding = &known[0];
    assert_eq!((finding.state, finding.reopened, finding.closed_because), (State::Open, 1, None));
    assert_eq!((finding.first_seen, finding.last_seen), (at(1), at(4)));
}

#[test]
fn what_is_excused_is_kept_with_what_excuses_it_and_opens_when_that_ends() {
    let found = || look(&["a"], vec![seen("a", "/x", Verdict::Fail)]);
    let mended = || look(&["a"], vec![]);
    let (open, exempt, fixed) = (None, Some(CloseReason::Exempt), Some(CloseReason::Fixed));
    let mut known = Vec::new();
    // Opened, fixed, otherwise closed; what is written and closed; why it is closed then, since when, and excused by what.
    let steps = [
        (excused("/x", "one"), (0, 0, 0), (1, 0), exempt, Some(1), Some("one")),
        (excused("/x", "one"), (0, 0, 0), (0, 0), exempt, Some(1), Some("one")),
        (excused("/x", "two"), (0, 0, 0), (1, 0), exempt, Some(1), Some("two")),
        (found(), (1, 0, 0), (1, 0), open, None, None),
        (excused("/x", "two"), (0, 0, 1), (1, 0), exempt, Some(5), Some("two")),
        (mended(), (0, 0, 0), (0, 1), fixed, Some(6), Some("two")),
        (mended(), (0, 0, 0), (0, 0), fixed, Some(6), Some("two")),
        (found(), (1, 0, 0), (1, 0), open, None, None),
        (mended(), (0, 1, 0), (0, 1), fixed, Some(9), None),
    ];
    for (second, (look, counts, changes, because, since, by)) in (1..).zip(steps) {
        let changed = changed(&look, &known, |_| Standing::Asked, at(second));
        assert_eq!((changed.opened, changed.fixed, changed.closed), counts, "at {second}");
        assert_eq!((changed.put.len(), changed.close.len()), changes, "at {second}");
        apply(&mut known, &changed, at(second));
        let finding = &known[0];
        let excuse = finding.exemption.as_ref().map(|by| &*by.name.name);
        assert_eq!((finding.closed_because, finding.closed_at, excuse), (because, since.map(at), by), "at {second}");
        assert_eq!((known.len(), finding.first_seen), (1, at(1)));
    }
    assert_eq!(known[0].reopened, 2);
}

#[test]
fn whoever_brought_in_what_is_excused_has_brought_it_in_when_it_opens() {
    let mut known = changed(&excused("/x", "one"), &[], |_| Standing::Asked, at(1)).put;
    let jane = BroughtIn { decision: "d".into(), user: "jane".into(), time: at(0), application: None, revision: None };
    known[0].brought_in = Some(jane.clone());
    let opened = changed(&look(&["a"], vec![seen("a", "/x", Verdict::Fail)]), &known, |_| Standing::Asked, at(2));
    assert_eq!(opened.put[0].brought_in, Some(jane));
}

#[test]
fn is_written_only_when_something_differs() {
    let before = stored(&[("a", "/x")]);
    let with = |change: fn(&mut Observation)| {
        let mut observation = seen("a", "/x", Verdict::Fail);
        change(&mut observation);
        look(&["a"], vec![observation])
    };
    let table = [
        (with(|_| ()), 0),
        (with(|seen| seen.message = "other".into()), 1),
        (with(|seen| seen.severity = Severity::Low), 1),
        (with(|seen| seen.action = Action::Deny), 1),
        (with(|seen| seen.path = "/0".into()), 1),
        (with(|seen| seen.policies.clear()), 1),
        (Look { owner: "Deployment/web".into(), ..with(|_| ()) }, 1),
        (Look { content: "d".into(), ..with(|_| ()) }, 1),
    ];
    for (look, puts) in table {
        let changed = changed(&look, &before, |_| Standing::Asked, at(2));
        assert_eq!((changed.put.len(), changed.opened, changed.close.len()), (puts, 0, 0), "{look:?}");
    }
}

#[test]
fn a_place_that_is_told_twice_is_one_finding() {
    let twice = vec![seen("a", "/x", Verdict::Fail), seen("a", "/x", Verdict::Fail)];
    assert_eq!(changed(&look(&["a"], twice), &[], |_| Standing::Asked, at(1)).put.len(), 1);
}

fn any_look() -> impl Strategy<Value = Look> {
    let rules = || prop::sample::select(vec!["a", "b", "c"]);
    let result = prop::sample::select(vec![Verdict::Fail, Verdict::Fail, Verdict::Error]);
    let observation = (rules(), prop::sample::select(vec!["", "/x", "/y"]), result)
        .prop_map(|(rule, place, result)| seen(rule, place, result));
    let exempt =
        (observation.clone(), prop::sample::select(vec!["one", "two"])).prop_map(|(seen, by)| (seen, note(by)));
    let parts = (
        prop::collection::vec(rules(), 0..3),
        prop::collection::vec(observation, 0..5),
        prop::collection::vec(exempt, 0..3),
    );
    parts.prop_map(|(evaluated, found, exempt)| Look { exempt, ..look(&evaluated, found) })
}

proptest! {
    #[test]
    fn looking_twice_changes_nothing(looks in prop::collection::vec(any_look(), 1..6)) {
        let asked = |_: &RuleId| Standing::Asked;
        let mut known = Vec::new();
        for (second, look) in (1..).zip(&looks) {
            let first = changed(look, &known, asked, at(second));
            apply(&mut known, &first, at(second));
            prop_assert_eq!(changed(look, &known, asked, at(second + 1)), Changed::default());
        }
    }

    #[test]
    fn only_rules_that_answered_close_as_fixed(looks in prop::collection::vec(any_look(), 1..6)) {
        let mut known = Vec::new();
        for (second, look) in (1..).zip(&looks) {
            let changed = changed(look, &known, |_| Standing::Asked, at(second));
            for (id, reason) in &changed.close {
                let closed = known.iter().find(|finding: &&Finding| finding.id == *id).unwrap();
                prop_assert_eq!(*reason, CloseReason::Fixed);
                prop_assert!(look.evaluated.contains(&closed.rule));
                let errors = look.found.iter().chain(look.exempt.iter().map(|(seen, _)| seen));
                let failed = errors.into_iter().any(|seen| seen.rule == closed.rule && seen.result == Verdict::Error);
                prop_assert!(!failed);
            }
            apply(&mut known, &changed, at(second));
        }
    }
}
