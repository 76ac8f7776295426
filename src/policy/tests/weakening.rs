//! What weakens a namespace's modes, and what does not.

use super::*;
use crate::policy::set::Entry;
use crate::policy::weakening::mode_changes;
use crate::policy::{ModeChange, OnError, Part, PolicyEntries, Provenance, Rule, Source};

const NOW: &str = "2026-06-01T00:00:00Z";

/// Checks 0 to 3 are rules of falling severity, 4 is the first rule with other parameters, 5 never denies.
struct Shipped {
    rules: Vec<Rule>,
    policies: BTreeMap<&'static str, BTreeMap<usize, Entry>>,
}

impl Shipped {
    fn new() -> Self {
        let severities = ["critical", "high", "medium", "low", "critical", "high"];
        let rules: Vec<Rule> = severities.iter().enumerate().map(|(check, severity)| rule(check, severity)).collect();
        let of = |checks: &[usize]| -> BTreeMap<usize, Entry> {
            checks.iter().map(|&check| (check, Entry::of(&rules[check]))).collect()
        };
        let with = |change: &dyn Fn(&mut Entry)| {
            let mut entries = of(&[0, 1]);
            change(entries.get_mut(&0).expect("the first rule"));
            entries
        };
        let policies = BTreeMap::from([
            ("baseline", of(&[0, 1])),
            ("recommended", of(&[0, 1, 2])),
            ("strict", of(&[0, 1, 2, 3])),
            ("argo-cd", of(&[3])),
            ("other-parameters", of(&[1, 4])),
            ("milder", with(&|entry| entry.severity = Severity::Low)),
            ("softer", with(&|entry| entry.at_most = Some(AtMost::Warn))),
            ("forgiving", with(&|entry| entry.on_error = OnError::Allow)),
            ("reworded", with(&|entry| entry.message = Some("other words".into()))),
            ("advice", of(&[5])),
        ]);
        Self { rules, policies }
    }

    fn weakened(&self, modes: &Modes, old: &NamespaceMeta, new: &NamespaceMeta) -> Vec<Part> {
        self.changes(modes, old, new).iter().filter(|change| change.weakens()).map(|change| change.part).collect()
    }

    fn changes(&self, modes: &Modes, old: &NamespaceMeta, new: &NamespaceMeta) -> Vec<ModeChange> {
        let grants = |meta| modes.grants(meta, self).grants;
        mode_changes(&grants(old), &grants(new), self, instant(NOW))
    }
}

impl PolicyNames for Shipped {
    fn has_policy(&self, name: &str) -> bool {
        self.policies.contains_key(name)
    }

    fn policy_names(&self) -> Vec<&str> {
        self.policies.keys().copied().collect()
    }
}

impl PolicyEntries for Shipped {
    fn entries(&self, policy: &str) -> Option<&BTreeMap<usize, Entry>> {
        self.policies.get(policy)
    }

    fn rule_of(&self, check: usize) -> Option<&Rule> {
        self.rules.get(check)
    }
}

fn rule(check: usize, severity: &str) -> Rule {
    let (id, at_most) = match check {
        4 => ("rule-0", ""),
        5 => ("rule-5", "#   atMost: warn\n"),
        _ => (["rule-0", "rule-1", "rule-2", "rule-3"][check], ""),
    };
    let text = format!(
        "# METADATA\n# title: t\n# custom:\n#   id: {id}\n#   severity: {severity}\n#   category: c\n#   kinds: ['*']\n{at_most}\
         #   fix: f\npackage p\n"
    );
    Rule::parse(Source::new("r.rego", text), "f", Provenance::BuiltIn).expect("a rule")
}

const SLOT: &[Part] = &[Part::Slot(Mode::Enforce)];
const FLOORS: &[Part] = &[Part::Floors];
const NONE: &[Part] = &[];

#[test]
fn an_enforce_slot_is_weakened_by_whatever_denies_less() {
    let shipped = Shipped::new();
    let table: &[(Texts<'_>, Texts<'_>, &[Part])] = &[
        (&[("enforce", "baseline")], &[], SLOT),
        (&[("enforce", "baseline")], &[("enforce", "off")], SLOT),
        (&[("enforce", "baseline")], &[("enforce", "basline")], SLOT),
        (&[("enforce", "baseline")], &[("enforce", "baseline"), ("warn", "off"), ("audit", "off")], NONE),
        (&[("enforce", "baseline")], &[("enforce", "recommended")], NONE),
        (&[("enforce", "baseline")], &[("enforce", "strict")], NONE),
        (&[("enforce", "strict")], &[("enforce", "recommended")], SLOT),
        (&[("enforce", "strict")], &[("enforce", "argo-cd")], SLOT),
        (&[("enforce", "baseline")], &[("enforce", "other-parameters")], SLOT),
        (&[("enforce", "baseline")], &[("enforce", "softer")], SLOT),
        (&[("enforce", "softer")], &[("enforce", "baseline")], NONE),
        (&[("enforce", "baseline")], &[("enforce", "forgiving")], SLOT),
        (&[("enforce", "forgiving")], &[("enforce", "baseline")], NONE),
        (&[("enforce", "baseline")], &[("enforce", "reworded")], NONE),
        (&[("enforce", "baseline")], &[("enforce", "milder")], NONE),
        (&[("warn", "strict")], &[("warn", "off")], NONE),
        (&[("enforce", "off")], &[], NONE),
        (&[("enforce", "basline")], &[], NONE),
        (&[("enforce", "advice")], &[], NONE),
        (&[], &[("enforce", "baseline")], NONE),
        (&[], &[("enforce", "off")], NONE),
    ];
    for (old, new, expected) in table {
        let (old, new) = (namespace(old, &[]), namespace(new, &[]));
        assert_eq!(shipped.weakened(&Modes::default(), &old, &new), *expected, "{old:?} to {new:?}");
    }
}

#[test]
fn severity_scope_and_date_weaken_where_they_spare_something() {
    let shipped = Shipped::new();
    let table: &[(&str, Texts<'_>, Texts<'_>, &[Part])] = &[
        ("baseline", &[], &[("enforce-severity", "critical")], SLOT),
        ("baseline", &[], &[("enforce-severity", "high")], NONE),
        ("baseline", &[("enforce-severity", "critical")], &[], NONE),
        ("baseline", &[("enforce-severity", "high")], &[("enforce-severity", "critical")], SLOT),
        ("milder", &[], &[("enforce-severity", "medium")], SLOT),
        ("baseline", &[("enforce-scope", "all")], &[("enforce-scope", "new")], SLOT),
        ("baseline", &[("enforce-scope", "all")], &[], SLOT),
        ("baseline", &[], &[("enforce-scope", "all")], NONE),
        ("baseline", &[("enforce-scope", "new")], &[], NONE),
        ("baseline", &[], &[("enforce-from", "2026-12-01")], SLOT),
        ("baseline", &[], &[("enforce-from", "2026-01-01")], NONE),
        ("baseline", &[("enforce-from", "2026-01-01")], &[("enforce-from", "2026-05-31")], NONE),
        ("baseline", &[("enforce-from", "2026-12-01")], &[("enforce-from", "2026-12-02")], SLOT),
        ("baseline", &[("enforce-from", "2026-12-01")], &[("enforce-from", "2026-07-01")], NONE),
        ("baseline", &[("enforce-from", "2026-12-01")], &[], NONE),
        // What cannot be read is read as strictly as can be.
        ("baseline", &[("enforce-severity", "critical")], &[("enforce-severity", "cirtical")], NONE),
        ("baseline", &[("enforce-scope", "all")], &[("enforce-scope", "al")], NONE),
        ("baseline", &[("enforce-from", "2026-12-01")], &[("enforce-from", "soon")], NONE),
        ("baseline", &[("enforce-severity", "cirtical")], &[("enforce-severity", "critical")], SLOT),
        // Stronger in one way and weaker in another is weaker.
        ("baseline", &[], &[("enforce-scope", "all"), ("enforce-severity", "critical")], SLOT),
    ];
    for (policy, old, new, expected) in table {
        let label: Texts<'_> = &[("enforce", policy)];
        let (old, new) = (namespace(label, old), namespace(label, new));
        assert_eq!(shipped.weakened(&Modes::default(), &old, &new), *expected, "{old:?} to {new:?}");
    }
}

fn with_labels(meta: NamespaceMeta, more: &[(&str, &str)]) -> NamespaceMeta {
    NamespaceMeta { labels: meta.labels.into_iter().chain(labels(more)).collect(), ..meta }
}

#[test]
fn leaving_the_selector_of_the_configuration_weakens_too() {
    let shipped = Shipped::new();
    let modes = Modes {
        namespaces: vec![
            (selector(&[], &[("env", "prod")]), enforcing("recommended")),
            (selector(&[], &[("env", "stage")]), enforcing("baseline")),
            (selector(&[], &[("lax", "yes")]), SlotSet { enforce: Some(Slot::Off), ..SlotSet::default() }),
        ],
        ..Modes::default()
    };
    let plain = namespace(&[], &[]);
    let table: &[(Texts<'_>, Texts<'_>, &[Part])] = &[
        (&[("env", "prod")], &[], SLOT),
        (&[("env", "prod")], &[("env", "stage")], SLOT),
        (&[("env", "stage")], &[("env", "prod")], NONE),
        (&[("env", "prod")], &[("env", "prod"), ("lax", "yes")], SLOT),
        (&[("env", "prod")], &[("gatepost.dev/enforce", "strict")], NONE),
        (&[("env", "prod")], &[("env", "prod"), ("gatepost.dev/enforce", "baseline")], SLOT),
        (&[("env", "prod")], &[("env", "prod"), ("team", "a")], NONE),
        (&[("env", "prod"), ("gatepost.dev/enforce", "baseline")], &[("gatepost.dev/enforce", "baseline")], NONE),
    ];
    for (old, new, expected) in table {
        let (old, new) = (with_labels(plain.clone(), old), with_labels(plain.clone(), new));
        assert_eq!(shipped.weakened(&modes, &old, &new), *expected, "{old:?} to {new:?}");
    }
}

#[test]
fn only_another_floor_makes_up_for_a_floor() {
    let shipped = Shipped::new();
    let yielding = SlotSet { break_glass: true, ..enforcing("baseline") };
    let modes = Modes {
        floors: vec![
            (selector(&[], &[("env", "prod")]), enforcing("baseline")),
            (selector(&[], &[("env", "stage")]), enforcing("strict")),
            (selector(&[], &[("env", "test")]), yielding),
            (selector(&[], &[("seen", "yes")]), SlotSet { warn: policy("strict"), ..SlotSet::default() }),
        ],
        ..Modes::default()
    };
    let plain = namespace(&[], &[]);
    let table: &[(Texts<'_>, Texts<'_>, &[Part])] = &[
        (&[("env", "prod")], &[], FLOORS),
        (&[("env", "prod")], &[("env", "")], FLOORS),
        (&[("env", "prod")], &[("env", "stage")], NONE),
        (&[("env", "stage")], &[("env", "prod")], FLOORS),
        (&[("env", "prod")], &[("gatepost.dev/enforce", "strict")], FLOORS),
        (&[("env", "prod")], &[("env", "prod"), ("gatepost.dev/enforce", "off")], NONE),
        // A floor that break-glass opens is less than one that it does not.
        (&[("env", "prod")], &[("env", "test")], FLOORS),
        (&[("env", "test")], &[("env", "prod")], NONE),
        (&[("seen", "yes")], &[], FLOORS),
        (&[("seen", "yes")], &[("env", "stage")], NONE),
        (&[("env", "prod"), ("gatepost.dev/enforce", "baseline")], &[("env", "prod")], NONE),
        (&[("env", "prod"), ("gatepost.dev/enforce", "strict")], &[("env", "prod")], SLOT),
        (&[("env", "prod"), ("gatepost.dev/enforce", "strict")], &[], &[Part::Floors, Part::Slot(Mode::Enforce)]),
    ];
    for (old, new, expected) in table {
        let (old, new) = (with_labels(plain.clone(), old), with_labels(plain.clone(), new));
        assert_eq!(shipped.weakened(&modes, &old, &new), *expected, "{old:?} to {new:?}");
    }
}

#[test]
fn two_steps_are_caught_at_the_one_that_weakens() {
    let shipped = Shipped::new();
    let floor = vec![(selector(&[], &[("env", "prod")]), enforcing("baseline"))];
    let modes = Modes { floors: floor, ..Modes::default() };
    let guarded = with_labels(namespace(&[("enforce", "baseline")], &[]), &[("env", "prod")]);
    let without_label = with_labels(namespace(&[], &[]), &[("env", "prod")]);
    assert_eq!(shipped.weakened(&modes, &guarded, &without_label), NONE, "the floor says the same");
    assert_eq!(shipped.weakened(&modes, &without_label, &namespace(&[], &[])), FLOORS);
    let without_floor = namespace(&[("enforce", "baseline")], &[]);
    assert_eq!(shipped.weakened(&modes, &guarded, &without_floor), FLOORS);
    assert_eq!(shipped.weakened(&modes, &without_floor, &namespace(&[], &[])), SLOT);
}

#[test]
fn a_change_is_told_in_words_with_the_rules_that_it_spares() {
    let shipped = Shipped::new();
    let annotations = &[("enforce-severity", "high"), ("enforce-scope", "all"), ("enforce-from", "2026-12-01")];
    let old = namespace(&[("enforce", "baseline")], annotations);
    let new = namespace(&[("enforce", "argo-cd"), ("warn", "off")], &[("enforce-from", "2026-01-01")]);
    let told: Vec<String> = shipped
        .changes(&Modes::default(), &old, &new)
        .iter()
        .map(|change| format!("{}: {} -> {} {:?}", change.part.as_str(), change.from, change.to, change.weakened))
        .collect();
    let rules = "[RuleId(\"rule-0\"), RuleId(\"rule-1\")]";
    assert_eq!(
        told,
        [
            format!("enforce: baseline (high and above, scope all, from 2026-12-01T00:00:00Z) -> argo-cd {rules}"),
            "warn: recommended -> off []".to_owned()
        ]
    );
    let modes = Modes { floors: vec![(selector(&[], &[("env", "prod")]), enforcing("baseline"))], ..Modes::default() };
    let floors = shipped.changes(&modes, &with_labels(new.clone(), &[("env", "prod")]), &new);
    assert_eq!((floors[0].from.as_str(), floors[0].to.as_str()), ("enforce baseline", "none"));
}

fn any_namespace() -> impl Strategy<Value = NamespaceMeta> {
    let labels = proptest::collection::btree_map(
        "gatepost\\.dev/(enforce|warn|audit)|env",
        "off|baseline|recommended|strict|argo-cd|other-parameters|milder|softer|forgiving|basline|prod|stage",
        0..4,
    );
    let annotations = proptest::collection::btree_map(
        "gatepost\\.dev/enforce-(severity|scope|from)",
        "high|critical|low|new|all|2026-01-01|2026-12-01|2027-01-01|soon",
        0..4,
    );
    (labels, annotations).prop_map(|(labels, annotations)| NamespaceMeta { name: "shop".into(), labels, annotations })
}

proptest! {
    #[test]
    fn weakening_is_an_order(a in any_namespace(), b in any_namespace(), c in any_namespace()) {
        let shipped = Shipped::new();
        let modes = Modes {
            namespaces: vec![(selector(&[], &[("env", "stage")]), enforcing("recommended"))],
            floors: vec![(selector(&[], &[("env", "prod")]), enforcing("baseline"))],
            ..Modes::default()
        };
        let weakens = |old, new| !shipped.weakened(&modes, old, new).is_empty();
        prop_assert!(shipped.changes(&modes, &a, &a).is_empty(), "what stays as it is changes nothing");
        // However many steps are taken: if none of them weakens, nothing is weaker at the end.
        prop_assert!(weakens(&a, &b) || weakens(&b, &c) || !weakens(&a, &c));
        let off = NamespaceMeta { labels: labels(&[("gatepost.dev/enforce", "off")]), ..a.clone() };
        prop_assert!(!weakens(&off, &b), "where nothing was enforced nothing is weakened");
    }
}
