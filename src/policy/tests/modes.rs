//! Labels, configuration and floors, sentence by sentence.

use super::*;

use GrantOrigin::{Configuration, Default as Shipped, Floor, Label};

#[test]
fn a_fresh_install_blocks_nothing_and_sees_everything() {
    let expected = [("warn=recommended".to_owned(), Shipped), ("audit=strict".to_owned(), Shipped)];
    let grants = Modes::default().grants(&namespace(&[], &[]), &Known);
    assert_eq!(said(&grants), expected);
    assert!(grants.notices.is_empty());
    let names: Vec<String> =
        said(&Modes::default().cluster_scoped_grants()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["warn=recommended", "audit=strict"]);
}

#[test]
fn the_three_slots_are_independent() {
    let table: &[(Texts<'_>, &[&str])] = &[
        (&[("enforce", "baseline")], &["enforce=baseline", "warn=recommended", "audit=strict"]),
        (&[("warn", "baseline")], &["warn=baseline", "audit=strict"]),
        (&[("audit", "off")], &["warn=recommended"]),
        (&[("warn", "off"), ("audit", "off")], &[]),
        (&[("enforce", "off")], &["warn=recommended", "audit=strict"]),
        (&[("enforce", "strict"), ("warn", "off"), ("audit", "argo-cd")], &["enforce=strict", "audit=argo-cd"]),
    ];
    for (labels, expected) in table {
        let grants = Modes::default().grants(&namespace(labels, &[]), &Known);
        let names: Vec<String> = said(&grants).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, *expected, "{labels:?}");
        let labelled = grants.grants.iter().filter(|grant| grant.origin == Label).map(|grant| grant.mode.as_str());
        assert!(labelled.into_iter().all(|mode| labels.iter().any(|(label, _)| *label == mode)));
    }
}

#[test]
fn a_slot_is_the_label_else_the_last_match_else_the_default() {
    let modes = Modes {
        namespaces: vec![
            (selector(&["*"], &[]), SlotSet { enforce: policy("strict"), warn: Some(Slot::Off), ..SlotSet::default() }),
            (
                selector(&["sh*"], &[]),
                SlotSet { enforce: policy("baseline"), audit: policy("argo-cd"), ..SlotSet::default() },
            ),
            (
                selector(&["other"], &[]),
                SlotSet { enforce: Some(Slot::Off), audit: Some(Slot::Off), ..SlotSet::default() },
            ),
        ],
        ..Modes::default()
    };
    let of = |name: &str, labels: &[(&str, &str)]| {
        said(&modes.grants(&NamespaceMeta { name: name.into(), ..namespace(labels, &[]) }, &Known))
    };
    let grant = |name: &str, origin| (name.to_owned(), origin);
    assert_eq!(of("shop", &[]), [grant("enforce=baseline", Configuration), grant("audit=argo-cd", Configuration)]);
    assert_eq!(of("bar", &[]), [grant("enforce=strict", Configuration), grant("audit=strict", Shipped)]);
    assert_eq!(of("other", &[]), []);
    assert_eq!(of("other", &[("enforce", "baseline")]), [grant("enforce=baseline", Label)]);
    assert_eq!(of("shop", &[("enforce", "off")]), [grant("audit=argo-cd", Configuration)]);
}

#[test]
fn the_mutate_slot_falls_back_as_the_others_and_is_off_unless_named() {
    let mutating = |slot| SlotSet { mutate: slot, ..SlotSet::default() };
    let configured = Modes {
        defaults: mutating(policy("strict")),
        namespaces: vec![
            (selector(&["sh*"], &[]), mutating(policy("baseline"))),
            (selector(&["shut"], &[]), mutating(Some(Slot::Off))),
            (selector(&["*"], &[]), enforcing("argo-cd")),
        ],
        ..Modes::default()
    };
    let table: &[(&Modes, &str, Texts<'_>, Option<&str>)] = &[
        (&Modes::default(), "shop", &[], None),
        (&Modes::default(), "shop", &[("mutate", "baseline")], Some("baseline")),
        (&Modes::default(), "shop", &[("mutate", "off")], None),
        (&Modes::default(), "shop", &[("mutate", "basline")], None),
        (&Modes::default(), "shop", &[("enforce", "baseline")], None),
        (&configured, "shop", &[], Some("baseline")),
        (&configured, "shop", &[("mutate", "recommended")], Some("recommended")),
        (&configured, "shop", &[("mutate", "off")], None),
        (&configured, "shop", &[("mutate", "basline")], Some("baseline")),
        (&configured, "shut", &[], None),
        (&configured, "bar", &[], Some("strict")),
    ];
    for (modes, name, labels, expected) in table {
        let meta = NamespaceMeta { name: (*name).into(), ..namespace(labels, &[]) };
        assert_eq!(modes.mutation(&meta, &Known).as_deref(), *expected, "{name} {labels:?}");
    }
}

#[test]
fn a_mutate_label_that_names_no_policy_is_told_and_refused() {
    let wrong = namespace(&[("mutate", "basline")], &[]);
    let told = "label gatepost.dev/mutate: there is no policy \"basline\", did you mean \"baseline\"?";
    let modes = Modes::default();
    let notices = modes.grants(&wrong, &Known).notices;
    assert_eq!(notices.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
    assert_eq!(modes.faults_brought_in(&wrong, None, &Known), notices);
    assert_eq!(modes.faults_brought_in(&wrong, Some(&wrong), &Known), []);
    assert_eq!(modes.grants(&namespace(&[("mutate", "baseline")], &[]), &Known).notices, []);
    let annotated = modes.grants(&namespace(&[], &[("mutate", "baseline")]), &Known).notices;
    let told = "gatepost.dev/mutate means nothing here, did you mean the label gatepost.dev/mutate?";
    assert_eq!(annotated.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
}

#[test]
fn severity_scope_and_date_come_from_where_the_enforce_slot_comes_from() {
    let from = instant("2026-12-01T00:00:00Z");
    let configured =
        SlotSet { severity: Some(Severity::High), scope: Some(Scope::All), from: Some(from), ..enforcing("baseline") };
    let modes = Modes {
        defaults: SlotSet { severity: Some(Severity::Critical), ..enforcing("strict") },
        namespaces: vec![
            (selector(&["sh*"], &[]), configured),
            (
                selector(&["shop"], &[]),
                SlotSet { severity: Some(Severity::Low), warn: policy("strict"), ..SlotSet::default() },
            ),
        ],
        ..Modes::default()
    };
    let of = |name: &str, labels, annotations| {
        let namespace = NamespaceMeta { name: name.into(), ..namespace(labels, annotations) };
        let grants = modes.grants(&namespace, &Known);
        let grant = enforce(&grants);
        (grant.severity, grant.scope, grant.from)
    };
    assert_eq!(
        of("shop", &[], &[]),
        (Some(Severity::High), Scope::All, Some(from)),
        "not from the entry that sets only warn"
    );
    assert_eq!(of("bar", &[], &[]), (Some(Severity::Critical), Scope::New, None));
    let label: &[(&str, &str)] = &[("enforce", "baseline")];
    assert_eq!(of("shop", label, &[]), (None, Scope::New, None), "nothing of the configuration's beside a label");
    let all = [("enforce-severity", "medium"), ("enforce-scope", "all"), ("enforce-from", "2027-01-01")];
    let expected = (Some(Severity::Medium), Scope::All, Some(instant("2027-01-01T00:00:00Z")));
    assert_eq!(of("shop", label, &all), expected);
    assert_eq!(of("shop", &[], &all), (Some(Severity::High), Scope::All, Some(from)), "annotations alone do not count");
}

#[test]
fn only_the_enforce_grant_carries_severity_scope_and_date() {
    let set = SlotSet {
        enforce: policy("baseline"),
        warn: policy("recommended"),
        audit: policy("strict"),
        severity: Some(Severity::High),
        scope: Some(Scope::All),
        from: Some(Timestamp::UNIX_EPOCH),
        mutate: None,
        break_glass: false,
    };
    let modes = Modes {
        defaults: set.clone(),
        cluster_scoped: set.clone(),
        floors: vec![(selector(&[], &[]), set)],
        ..Modes::default()
    };
    for grants in [modes.grants(&namespace(&[], &[]), &Known), modes.cluster_scoped_grants()] {
        for grant in grants.grants {
            let bare = (grant.severity, grant.scope, grant.from) == (None, Scope::New, None);
            assert_eq!(bare, grant.mode != Mode::Enforce, "{grant:?}");
        }
    }
}

#[test]
fn annotations_without_the_label_are_ignored_with_a_warning() {
    let annotations = [("enforce-severity", "high"), ("enforce-scope", "nonsense"), ("enforce-from", "2026-12-01")];
    let grants = Modes::default().grants(&namespace(&[("warn", "baseline")], &annotations), &Known);
    let expected =
        [ENFORCE_SEVERITY, ENFORCE_SCOPE, ENFORCE_FROM].map(|annotation| Notice::WithoutLabel { annotation });
    assert_eq!(grants.notices, expected);
    assert_eq!(
        grants.notices[0].to_string(),
        "annotation gatepost.dev/enforce-severity does not count without the label gatepost.dev/enforce"
    );
    assert!(grants.notices.iter().all(|notice| !notice.refuses_write()));
}

#[test]
fn an_annotation_that_cannot_be_read_is_read_as_strictly_as_can_be() {
    let annotations = [("enforce-severity", "hihg"), ("enforce-scope", "old"), ("enforce-from", "soon")];
    let grants = Modes::default().grants(&namespace(&[("enforce", "baseline")], &annotations), &Known);
    let grant = enforce(&grants);
    assert_eq!((grant.severity, grant.scope, grant.from), (None, Scope::All, None));
    let notices: Vec<String> = grants.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "annotation gatepost.dev/enforce-severity: \"hihg\" is not one of critical, high, medium, low, info",
            "annotation gatepost.dev/enforce-scope: \"old\" is not one of new, all",
            "annotation gatepost.dev/enforce-from: \"soon\" is neither a date such as 2026-12-01 nor an RFC 3339 instant",
        ]
    );
}

#[test]
fn a_label_that_names_no_policy_falls_back_as_if_it_were_not_there() {
    let modes = Modes { namespaces: vec![(selector(&["shop"], &[]), enforcing("strict"))], ..Modes::default() };
    let labels = [("enforce", "basline"), ("warn", "zzzz"), ("audit", "")];
    let grants = modes.grants(&namespace(&labels, &[]), &Known);
    let expected = [("enforce=strict", Configuration), ("warn=recommended", Shipped), ("audit=strict", Shipped)];
    assert_eq!(said(&grants), expected.map(|(name, origin)| (name.to_owned(), origin)));
    let notices: Vec<String> = grants.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "label gatepost.dev/enforce: there is no policy \"basline\", did you mean \"baseline\"?",
            "label gatepost.dev/warn: there is no policy \"zzzz\"",
            "label gatepost.dev/audit: there is no policy \"\"",
        ]
    );
}

#[test]
fn a_key_of_ours_that_is_none_is_told_and_its_write_refused() {
    let table = [
        (
            namespace(&[("enfroce", "baseline")], &[]),
            "gatepost.dev/enfroce means nothing here, did you mean the label gatepost.dev/enforce?",
        ),
        (
            namespace(&[("enforce-severity", "high")], &[]),
            "gatepost.dev/enforce-severity means nothing here, did you mean the annotation gatepost.dev/enforce-severity?",
        ),
        (
            namespace(&[], &[("warn", "strict")]),
            "gatepost.dev/warn means nothing here, did you mean the label gatepost.dev/warn?",
        ),
    ];
    for (namespace, expected) in table {
        let grants = Modes::default().grants(&namespace, &Known);
        assert_eq!(grants.notices.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        assert_eq!(said(&grants).len(), 2, "nothing is granted by it");
        assert_eq!(Modes::default().faults_brought_in(&namespace, None, &Known).len(), 1);
    }
    let others = NamespaceMeta {
        labels: labels(&[("example.com/enfroce", "x"), ("enforce", "y")]),
        ..NamespaceMeta::named("a")
    };
    assert!(Modes::default().grants(&others, &Known).notices.is_empty(), "other people's keys are theirs");
}

#[test]
fn floors_add_up_and_no_label_takes_them_away() {
    let high = SlotSet { severity: Some(Severity::Critical), scope: Some(Scope::All), ..enforcing("baseline") };
    let modes = Modes {
        floors: vec![
            (selector(&["sh*"], &[]), enforcing("strict")),
            (selector(&[], &[("env", "prod")]), high.clone()),
            (selector(&["other"], &[]), enforcing("argo-cd")),
            (
                selector(&["shop"], &[]),
                SlotSet { warn: policy("argo-cd"), enforce: Some(Slot::Off), ..SlotSet::default() },
            ),
        ],
        ..Modes::default()
    };
    let off = [("enforce", "off"), ("warn", "off"), ("audit", "off")];
    let mut shop =
        namespace(&off, &[("enforce-severity", "critical"), ("enforce-scope", "new"), ("enforce-from", "2099-01-01")]);
    assert_eq!(
        said(&modes.grants(&shop, &Known)),
        [("enforce=strict".to_owned(), Floor), ("warn=argo-cd".to_owned(), Floor)]
    );
    shop.labels.insert("env".into(), "prod".into());
    let grants = modes.grants(&shop, &Known);
    assert_eq!(grants.grants.len(), 3);
    let expected = Grant {
        mode: Mode::Enforce,
        policy: "baseline".into(),
        severity: high.severity,
        scope: Scope::All,
        from: None,
        origin: Floor,
        yields_to_break_glass: false,
    };
    assert!(grants.grants.contains(&expected), "{grants:?}");
    assert!(modes.cluster_scoped_grants().grants.iter().all(|grant| grant.origin != Floor));
}

#[test]
fn an_unread_namespace_has_every_floor_that_could_apply_and_says_so() {
    let modes = Modes {
        namespaces: vec![
            (selector(&["shop"], &[]), enforcing("argo-cd")),
            (selector(&["shop"], &[("env", "dev")]), SlotSet { enforce: Some(Slot::Off), ..SlotSet::default() }),
        ],
        floors: vec![
            (selector(&[], &[("env", "prod")]), enforcing("strict")),
            (selector(&["shop"], &[]), enforcing("baseline")),
            (selector(&["other"], &[("env", "prod")]), enforcing("recommended")),
        ],
        ..Modes::default()
    };
    let grants = modes.grants_of_unread("shop", &Known);
    let expected = [
        ("enforce=argo-cd", Configuration),
        ("warn=recommended", Shipped),
        ("audit=strict", Shipped),
        ("enforce=strict", Floor),
        ("enforce=baseline", Floor),
    ];
    assert_eq!(said(&grants), expected.map(|(name, origin)| (name.to_owned(), origin)));
    assert_eq!(grants.notices, [Notice::UnreadNamespace]);
}

#[test]
fn cluster_scoped_objects_have_their_own_entry() {
    let modes = Modes {
        cluster_scoped: SlotSet { severity: Some(Severity::High), ..enforcing("baseline") },
        namespaces: vec![(selector(&["*"], &[]), enforcing("strict"))],
        floors: vec![(selector(&[], &[]), enforcing("strict"))],
        ..Modes::default()
    };
    let grants = modes.cluster_scoped_grants();
    assert_eq!(said(&grants), [("enforce=baseline".to_owned(), Configuration)]);
    assert_eq!(enforce(&grants).severity, Some(Severity::High));
}

#[test]
fn a_namespace_write_is_refused_only_for_the_faults_that_it_brings_in() {
    let typo: &[(&str, &str)] = &[("enforce", "basline")];
    let scope: &[(&str, &str)] = &[("enforce-scope", "old")];
    let enforced: &[(&str, &str)] = &[("enforce", "baseline")];
    let table = [
        (namespace(typo, &[]), None, 1, "a new namespace"),
        (namespace(typo, &[]), Some(namespace(&[], &[])), 1, "a label that is new"),
        (namespace(typo, &[]), Some(namespace(typo, &[])), 0, "what stood already"),
        (namespace(&[("enforce", "bseline")], &[]), Some(namespace(typo, &[])), 1, "one typo for another"),
        (namespace(&[("enforce", "basline"), ("warn", "strct")], &[]), Some(namespace(typo, &[])), 1, "one more"),
        (namespace(&[("warn", "basline")], &[]), Some(namespace(typo, &[])), 1, "the same in another slot"),
        (namespace(&[], &[]), Some(namespace(typo, &[])), 0, "taking it out"),
        (namespace(enforced, scope), Some(namespace(enforced, &[])), 1, "an annotation"),
        (namespace(enforced, scope), Some(namespace(enforced, scope)), 0, "an annotation that stood already"),
        (namespace(enforced, scope), Some(namespace(&[], scope)), 1, "a label beside a stray annotation"),
        (namespace(&[], scope), None, 0, "a stray annotation is only warned of"),
        (namespace(&[("enforce", "off")], &[]), None, 0, "off is no name"),
    ];
    for (new, old, expected, case) in table {
        assert_eq!(Modes::default().faults_brought_in(&new, old.as_ref(), &Known).len(), expected, "{case}");
    }
}

#[test]
fn the_day_from_which_it_denies_is_a_date_or_an_instant() {
    let table = [
        ("2026-12-01", Some("2026-12-01T00:00:00Z")),
        ("2028-02-29", Some("2028-02-29T00:00:00Z")),
        ("2026-12-01T08:30:00Z", Some("2026-12-01T08:30:00Z")),
        ("2026-12-01T08:30:00+02:00", Some("2026-12-01T06:30:00Z")),
        ("2026-12-01t08:30:00z", Some("2026-12-01T08:30:00Z")),
        ("2026-12-01 08:30:00Z", Some("2026-12-01T08:30:00Z")),
        // A time without an offset is no instant, and its time must not be dropped in silence.
        ("2026-12-01T08:30:00", None),
        ("2026-12-01 08:30:00", None),
        ("2026-12-01t08:30:00", None),
        ("2026-02-29", None),
        ("2026-13-01", None),
        ("01.12.2026", None),
        ("12/01/2026", None),
        ("tomorrow", None),
        ("", None),
        ("-009999-01-01", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_from(text).ok(), expected.map(instant), "{text}");
    }
    assert_eq!(
        parse_from("soon").unwrap_err(),
        "\"soon\" is neither a date such as 2026-12-01 nor an RFC 3339 instant"
    );
}

#[test]
fn every_policy_that_the_configuration_names_is_given_with_its_place() {
    let modes = Modes {
        defaults: SlotSet { enforce: policy("a"), audit: Some(Slot::Off), warn: policy("b"), ..SlotSet::default() },
        cluster_scoped: SlotSet { audit: policy("c"), ..SlotSet::default() },
        namespaces: vec![
            (selector(&[], &[]), SlotSet::default()),
            (selector(&[], &[]), SlotSet { mutate: policy("f"), ..enforcing("d") }),
        ],
        floors: vec![(selector(&[], &[]), SlotSet { warn: policy("e"), ..SlotSet::default() })],
        ..Modes::default()
    };
    let named: Vec<String> = modes.named_policies().iter().map(|(place, name)| format!("{place}={name}")).collect();
    assert_eq!(
        named,
        [
            "defaults.enforce=a",
            "defaults.warn=b",
            "clusterScoped.audit=c",
            "namespaces[1].set.enforce=d",
            "namespaces[1].set.mutate=f",
            "floors[0].set.warn=e"
        ]
    );
}

fn any_texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    let keys = "gatepost\\.dev/(enforce|warn|audit|mutate|enforce-severity|enforce-scope|enforce-from)|env|.{0,8}";
    let values = prop_oneof![
        "off|baseline|recommended|strict|basline|prod|high|critical|new|all|2026-12-01|9999-99-99",
        ".{0,12}",
    ];
    proptest::collection::btree_map(keys, values, 0..8)
}

proptest! {
    #[test]
    fn grants_never_panic_and_no_label_removes_a_floor(
        name in "[a-z]{0,6}|shop", labels in any_texts(), annotations in any_texts(), old in any_texts(),
    ) {
        let floor = SlotSet { severity: Some(Severity::High), scope: Some(Scope::All), ..enforcing("baseline") };
        let modes = Modes {
            namespaces: vec![(selector(&["sh*"], &[]), enforcing("strict"))],
            floors: vec![(selector(&[], &[]), floor), (selector(&["sh*"], &[]), enforcing("strict"))],
            ..Modes::default()
        };
        let bare = modes.grants(&NamespaceMeta::named(&name), &Known);
        let namespace = NamespaceMeta { name, labels, annotations };
        let grants = modes.grants(&namespace, &Known);
        let floors = |grants: &Grants| -> Vec<Grant> {
            grants.grants.iter().filter(|grant| grant.origin == Floor).cloned().collect()
        };
        prop_assert_eq!(floors(&grants), floors(&bare));
        for mode in Mode::ALL {
            let slots = grants.grants.iter().filter(|grant| grant.mode == mode && grant.origin != Floor).count();
            prop_assert!(slots <= 1);
            let is_off = namespace.labels.get(mode.label()).is_some_and(|value| value == "off");
            prop_assert!(!is_off || slots == 0);
        }
        prop_assert!(grants.grants.iter().all(|grant| Known.has_policy(&grant.policy)));
        let old = NamespaceMeta { labels: old, ..namespace.clone() };
        prop_assert!(modes.faults_brought_in(&namespace, Some(&namespace), &Known).is_empty());
        modes.faults_brought_in(&namespace, Some(&old), &Known);
        grants.notices.iter().for_each(|notice| drop(notice.to_string()));
    }
}
