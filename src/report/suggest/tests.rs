use super::*;
use crate::engine::{BackendChoice, Catalogue, ProgramCache};
use crate::policy::Source;
use crate::policy::set::PolicySet;

fn bundle() -> Bundle {
    Bundle::build(Catalogue::read(&[]).unwrap(), &ProgramCache::default(), BackendChoice::Proven).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn wanted(days: u32) -> Wanted {
    Wanted { days, few: 5, now: at("2026-11-26T00:00:00Z") }
}

#[test]
fn a_rule_is_as_near_as_what_is_left_of_it() {
    let standing = |passed, findings, since: &str| RuleStanding {
        passed,
        findings,
        clean_since: (!since.is_empty()).then(|| at(since)),
        ..RuleStanding::default()
    };
    for (standing, days, expected) in [
        (standing(3, 0, ""), 0, Reach::Ready),
        (standing(3, 0, ""), 7, Reach::Soon),
        (standing(3, 0, "2026-11-19T00:00:00Z"), 7, Reach::Ready),
        (standing(3, 0, "2026-11-19T00:00:01Z"), 7, Reach::Soon),
        (standing(3, 5, ""), 0, Reach::Nearly),
        (standing(3, 6, ""), 0, Reach::Far),
        (standing(0, 0, ""), 0, Reach::Untried),
        (standing(0, 1, ""), 0, Reach::Nearly),
        (RuleStanding { exempt: 1, ..RuleStanding::default() }, 0, Reach::Ready),
        (RuleStanding { unjudged: 1, ..standing(3, 0, "2026-11-01T00:00:00Z") }, 7, Reach::Unjudged),
        (RuleStanding { unjudged: 1, ..standing(3, 5, "") }, 0, Reach::Unjudged),
        (RuleStanding { unjudged: 1, ..standing(3, 6, "") }, 0, Reach::Far),
    ] {
        assert_eq!(reach(&standing, wanted(days)), expected, "{standing:?} for {days} days");
    }
}

#[test]
fn the_policy_is_one_that_is_read_and_has_what_is_ready() {
    let bundle = bundle();
    let (strict, baseline) = (bundle.policy("strict").unwrap(), bundle.policy("baseline").unwrap());
    let clean = |id: &str, exempt| (RuleId::from(id), RuleStanding { passed: 4, exempt, ..RuleStanding::default() });
    let mut standings = BTreeMap::from([clean("container-image-tag", 0), clean("container-cpu-limit", 2)]);
    let left = RuleStanding { passed: 1, findings: 1, left: vec!["shop Deployment/a\nb".into()], ..Default::default() };
    standings.insert("container-memory-limit".into(), left);
    let about = About {
        name: "off",
        policy: "strict",
        beside: None,
        audit: "Audit 7\n- of today",
        namespaces: "in all namespaces",
        days: 0,
    };
    let text = policy_yaml(About { name: "ready", ..about }, &candidates(&bundle, strict, None, &standings, wanted(0)));
    let set = PolicySet::parse(Source { file: "ready.yaml".into(), text: text.clone().into() }).unwrap();
    let mut ids: Vec<&str> = set.spec.rules.iter().map(|entry| entry.id.as_deref().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["container-cpu-limit", "container-image-tag"], "{text}");
    let exemptable = |id: &str| set.spec.rules.iter().find(|entry| entry.id.as_deref() == Some(id)).unwrap().exemptable;
    assert_eq!((exemptable("container-cpu-limit"), exemptable("container-image-tag")), (Some(true), None));
    assert!(text.contains("# - id: container-memory-limit # "), "{text}");
    assert!(text.contains("1 finding, 1 object passes: shop Deployment/a b\n"), "{text}");

    let none = BTreeMap::new();
    let nothing = candidates(&bundle, strict, Some(baseline), &none, wanted(0));
    assert!(!nothing.is_empty() && nothing.len() < strict.entries.len(), "what baseline has is left out");
    let about = About { name: "ready", beside: Some("baseline"), ..about };
    let text = policy_yaml(about, &nothing);
    let set = PolicySet::parse(Source { file: "ready.yaml".into(), text: text.into() }).unwrap();
    assert_eq!((set.spec.include, set.spec.rules.len()), (vec!["baseline".to_owned()], 0));
}

#[test]
fn a_policy_of_a_message_is_one_that_is_read_and_says_it() {
    for message in ["{{container}} of \"{{name}}\": ask #images # now", "", "'it': [is]"] {
        let text = message_yaml("own", "recommended", "container-image-tag", message);
        let set = PolicySet::parse(Source { file: "own.yaml".into(), text: text.as_str().into() }).unwrap();
        let said = set.spec.rules[0].message.as_deref().unwrap_or_default();
        assert_eq!((said, &*set.spec.include[0]), (message, "recommended"), "{text}");
        assert_eq!(set.spec.rules[0].id.as_deref(), Some("container-image-tag"));
    }
}

#[test]
fn a_scalar_reads_as_it_was_written() {
    for text in ["clean", "off", "1.20", "a: b", "# c", "it's \"so\"", "", "x\ny", "no", "Ready"] {
        let read: String = serde_saphyr::from_str(&scalar(text)).unwrap();
        assert_eq!(read, text, "{}", scalar(text));
    }
}
