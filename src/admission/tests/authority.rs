//! Who may change what: Namespace writes that weaken modes or break glass, and what broken glass makes of the rest.

use proptest::prelude::*;

use super::*;
use crate::admission::{Action, Ground, Refusal, Ruling, claims};
use crate::policy::weakening::mode_changes;
use crate::policy::{Mode, Origin, Part, Scope, Verb};

const NOW: &str = "2026-06-01T00:00:00Z";
const FLOOR: &str = "floors:\n- match: {labels: {env: prod}}\n  set: {enforce: baseline, severity: critical}\n";
const GLASS: &[(&str, &str)] = &[("break-glass", "INC-123"), ("break-glass-until", "2026-06-01T02:00:00Z")];

fn now() -> Timestamp {
    NOW.parse().expect("an instant")
}

/// Returns a Namespace; labels without a slash or a dot before it are Gatepost's own.
fn object(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Json {
    let texts = |list: &[(&str, &str)]| -> Json {
        let own = |key: &str| if key == "env" { key.to_owned() } else { format!("gatepost.dev/{key}") };
        list.iter().map(|(key, value)| (own(key), json!(value))).collect::<serde_json::Map<_, _>>().into()
    };
    let metadata = json!({"name": "shop", "labels": texts(labels), "annotations": texts(annotations)});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {"finalizers": ["kubernetes"]}})
}

fn labelled(labels: &[(&str, &str)]) -> Json {
    object(labels, &[])
}

impl Ask {
    fn by(self, user: &str, groups: &[&str]) -> Self {
        self.set("userInfo", json!({"username": user, "uid": "7", "groups": groups, "extra": {"scopes": ["a", "b"]}}))
    }

    /// Returns the verbs that the cluster's roles are asked for.
    fn asks(&self) -> Vec<Verb> {
        self.decide().open_question().map(|(_, verbs)| verbs.to_vec()).unwrap_or_default()
    }

    /// Returns the denial once the roles have answered.
    fn refused(&self, refusal: Refusal) -> String {
        let mut decision = self.decide();
        assert!(decision.open_question().is_some(), "nothing is asked: {:?}", decision.write);
        decision.settle(Err(refusal));
        assert!(!decision.allowed && decision.reason == Reason::NotAuthorized);
        speak::denial(&decision, None)
    }
}

fn weakening() -> Ask {
    Ask::update(labelled(ENFORCE), labelled(&[]))
}

#[test]
fn roles_are_asked_only_where_a_write_weakens() {
    let weakens = |old: Json, new: Json| Ask::update(old, new).configured(FLOOR).asks() == [Verb::Weaken];
    assert!(weakens(labelled(ENFORCE), labelled(&[])));
    assert!(weakens(labelled(ENFORCE), labelled(&[("enforce", "off")])));
    assert!(weakens(labelled(ENFORCE), object(ENFORCE, &[("enforce-severity", "critical")])));
    assert!(weakens(labelled(&[("env", "prod")]), labelled(&[("env", "stage")])));
    assert!(weakens(labelled(&[("env", "prod")]), labelled(ENFORCE)), "a label is no floor");
    let mut without_labels = labelled(&[]);
    without_labels["metadata"]["labels"] = json!(null);
    assert!(weakens(labelled(ENFORCE), without_labels.clone()), "null");
    without_labels["metadata"].as_object_mut().expect("an object").remove("labels");
    assert!(weakens(labelled(ENFORCE), without_labels), "replaced by one without labels");

    assert!(!weakens(labelled(&[]), labelled(ENFORCE)));
    assert!(!weakens(labelled(ENFORCE), labelled(&[("enforce", "strict")])));
    assert!(!weakens(labelled(ENFORCE), object(ENFORCE, &[("enforce-scope", "all")])));
    assert!(!weakens(labelled(ENFORCE), labelled(&[("enforce", "baseline"), ("warn", "off"), ("env", "prod")])));
    assert!(!weakens(labelled(&[("warn", "strict")]), labelled(&[("warn", "off")])));
    assert!(!weakens(labelled(&[]), labelled(&[])));
    let same_floor = [("env", "prod"), ("enforce", "off")];
    assert!(!weakens(labelled(&[("env", "prod")]), labelled(&same_floor)), "nothing but the floor was enforced");
}

#[test]
fn what_is_made_or_deleted_weakens_nothing() {
    let create = Ask::create(labelled(&[("enforce", "off")])).configured("defaults: {enforce: baseline}\n");
    create.accepts();
    assert!(create.asks().is_empty());
    let gone = Ask::create(json!(null)).set("kind", json!({"group": "", "version": "v1", "kind": "Namespace"}));
    let gone = gone.set("operation", json!("DELETE")).set("oldObject", labelled(ENFORCE));
    assert!(gone.decide().write.is_none());
}

#[test]
fn a_refusal_says_within_200_characters_what_who_and_how() {
    let denial = weakening().refused(Refusal::NoRole(Verb::Weaken));
    let first: String = denial.chars().take(200).collect();
    for part in [
        "Namespace/shop: weakens enforce from baseline to off",
        "modes.admins",
        "the verb weaken on modes.gatepost.dev",
        "keep label gatepost.dev/enforce=baseline",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(denial.contains("requested by jane; spared: container-privileged"), "{denial}");
    let floor = Ask::update(labelled(&[("env", "prod")]), labelled(&[])).configured(FLOOR);
    let denial = floor.refused(Refusal::NoCluster);
    let first: String = denial.chars().take(200).collect();
    let part = "weakens floors from enforce baseline (critical and above) to none; keep label env=prod; otherwise it takes modes.admins";
    assert!(first.contains(part), "{first}");
    let both = [("env", "prod"), ("enforce", "baseline")];
    let floor = FLOOR.replace("severity: critical", "severity: critical, scope: all");
    let both = Ask::update(object(&both, &[("enforce-severity", "high")]), labelled(&[])).configured(&floor);
    let denial = both.refused(Refusal::NoRole(Verb::Weaken));
    let first: String = denial.chars().take(200).collect();
    for part in
        ["weakens floors from", "weakens enforce from", "keep label gatepost.dev/enforce=baseline, keep label env=prod"]
    {
        assert!(first.contains(part), "{part}: {first}");
    }
    let added = Ask::update(labelled(ENFORCE), object(ENFORCE, &[("enforce-from", "2026-12-01")]));
    let denial = added.refused(Refusal::NoRole(Verb::Weaken));
    assert!(denial.contains("leave out annotation gatepost.dev/enforce-from"), "{denial}");
    let unanswered = weakening().refused(Refusal::NoAnswer("timed out".into()));
    assert!(unanswered.contains("could not be asked (timed out), which is a no"), "{unanswered}");
}

#[test]
fn roles_settle_what_is_open() {
    let mut decision = weakening().decide();
    decision.settle(Ok(Ground::Roles));
    assert!(decision.allowed);
    let write = decision.write.expect("a write");
    assert_eq!(
        (write.ruling, write.strongest),
        (Ruling::Granted(Ground::Roles), (Some(Mode::Enforce), Some(Mode::Warn)))
    );
    assert_eq!((write.namespace.as_str(), write.requester.user.as_str()), ("shop", "jane"));
    let answer: Json = serde_json::from_slice(&speak::answer("u", &weakening().decide(), None).body).expect("JSON");
    assert_eq!(
        answer["response"]["auditAnnotations"]["mode-change"],
        "enforce: baseline -> off (authority: not-asked)"
    );
    let requester = weakening().by("ann", &["a", "b"]).decide().write.expect("a write").requester;
    assert_eq!((requester.uid.as_str(), requester.groups.len(), requester.extra["scopes"].len()), ("7", 2, 2));
}

#[test]
fn admins_go_on_and_the_barred_never_do_without_anybody_being_asked() {
    let configured = "modes:\n  admins: {users: [ann, argo], groups: [platform]}\n  mayNotWeaken: [argo, 'system:serviceaccounts:flux-*']\n";
    let by = |user: &str, groups: &[&str]| weakening().configured(configured).by(user, groups);
    for admin in [by("ann", &[]), by("bob", &["platform"])] {
        let decision = admin.decide();
        assert!(decision.allowed && decision.open_question().is_none());
        assert_eq!(decision.write.expect("a write").ruling, Ruling::Granted(Ground::Admins));
    }
    for barred in [by("argo", &["system:masters", "platform"]), by("ann", &["system:serviceaccounts:flux-system"])] {
        assert!(barred.decide().open_question().is_none());
        let denial = barred.rejects();
        assert!(denial.contains("modes.mayNotWeaken forbids it to you"), "{denial}");
        let tail =
            "keep label gatepost.dev/enforce=baseline; modes.mayNotWeaken forbids it to you, whatever your rights";
        assert!(denial.find(tail).is_some_and(|at| at < 200 - tail.len()), "{denial}");
    }
    assert_eq!(by("bob", &["system:masters"]).asks(), [Verb::Weaken]);
    let harmless = Ask::update(labelled(&[]), labelled(ENFORCE)).configured(configured).by("argo", &[]);
    harmless.accepts();
}

#[test]
fn a_dry_run_and_a_subresource_are_held_to_the_same() {
    assert_eq!(weakening().set("dryRun", json!(true)).asks(), [Verb::Weaken]);
    for subresource in ["status", "finalize"] {
        assert_eq!(weakening().set("subResource", json!(subresource)).asks(), [Verb::Weaken], "{subresource}");
        let mut finalized = labelled(ENFORCE);
        finalized["spec"]["finalizers"] = json!([]);
        let harmless = Ask::update(labelled(ENFORCE), finalized).set("subResource", json!(subresource));
        assert_eq!(harmless.decide().reason, Reason::SubResource);
        assert!(harmless.asks().is_empty());
    }
}

#[test]
fn finalizers_status_and_deletion_fields_are_never_refused() {
    for (place, key, value) in [
        ("metadata", "finalizers", json!(["a"])),
        ("metadata", "deletionTimestamp", json!("2026-06-01T00:00:00Z")),
        ("metadata", "managedFields", json!([])),
        ("status", "phase", json!("Terminating")),
    ] {
        let mut new = labelled(ENFORCE);
        new[place][key] = value;
        let decision = Ask::update(labelled(ENFORCE), new).configured(FLOOR).decide();
        assert!(decision.allowed && decision.write.is_none(), "{key}");
    }
}

/// The request as it stands when only so much of it was read.
fn cut_off(ask: Ask, after: &str) -> Ask {
    let sent = ask.as_sent();
    let limit = sent.find(after).expect("a place in the request") + after.len();
    Ask { limit: Some(limit), ..ask }
}

#[test]
fn what_cannot_be_read_is_no_way_out() {
    let known = |labels: &[(&str, &str)]| NamespaceState::Known(Arc::new(namespace(labels, &[])));
    let cut = |state: NamespaceState| Ask { namespace: state, ..cut_off(weakening(), "\"object\":{") };
    assert_eq!(cut(known(ENFORCE)).asks(), [Verb::Weaken], "neither object can be read");
    let denial = cut(known(ENFORCE)).refused(Refusal::NoRole(Verb::Weaken));
    assert!(denial.contains("weakens enforce from enforce baseline to what cannot be read"), "{denial}");
    assert!(cut(known(&[])).asks().is_empty(), "nothing was enforced");
    assert!(cut(known(&[])).decide().allowed);
    assert!(cut(NamespaceState::None).asks().is_empty(), "nobody knows of anything enforced");
    assert_eq!(cut(NamespaceState::None).configured(FLOOR).asks(), [Verb::Weaken], "but a floor could apply");

    let old_lost = |state: NamespaceState| Ask { namespace: state, ..cut_off(weakening(), "\"oldObject\":{") };
    assert_eq!(old_lost(known(ENFORCE)).asks(), [Verb::Weaken], "the new one is held against the known one");
    assert!(old_lost(known(&[])).asks().is_empty());

    // Too deep for the engine, not for telling what its labels are.
    let mut deep = labelled(&[]);
    deep["spec"]["deep"] = (0..200).fold(json!(1), |inner, _| json!({"a": inner}));
    assert_eq!(Ask::update(labelled(ENFORCE), deep.clone()).asks(), [Verb::Weaken]);
    assert!(Ask::update(labelled(&[]), deep).asks().is_empty());
    let late = |ask: Ask| Ask { remaining: Duration::ZERO, ..ask };
    assert_eq!(late(weakening()).asks(), [Verb::Weaken]);
}

#[test]
fn when_there_is_no_time_left_it_is_told_all_the_same() {
    let controllers = Controllers::default();
    let modes = Modes::default();
    let limits = Limits { time: Duration::from_millis(200), instructions: 50_000 };
    let exemptions = Arc::default();
    let reviewer = Reviewer {
        kubernetes_version: None,
        bundle: &BUNDLE,
        modes: &modes,
        exemptions: &exemptions,
        controllers: &controllers,
        judge_owned: false,
        limits,
    };
    let ask = |ask: Ask| {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": ask.request});
        let envelope = Envelope::decode(&serde_json::to_vec(&review).expect("JSON"), None).expect("an envelope");
        reviewer.not_reached(&envelope, &NamespaceState::None, now())
    };
    assert!(ask(weakening()).open_question().is_some());
    let harmless = ask(Ask::update(labelled(&[]), labelled(&[("warn", "off")])));
    assert!(harmless.allowed && harmless.open_question().is_none());
    assert!(ask(Ask::update(labelled(ENFORCE), labelled(ENFORCE))).allowed);
}

#[test]
fn every_change_of_a_mode_is_kept() {
    let changes = |ask: Ask| -> Vec<String> {
        let write = ask.decide().write.map(|write| write.changes).unwrap_or_default();
        write.iter().map(|change| format!("{} {} -> {}", change.part.as_str(), change.from, change.to)).collect()
    };
    assert_eq!(changes(Ask::create(labelled(&[]))), [""; 0], "as the configuration has it");
    assert_eq!(changes(Ask::create(labelled(ENFORCE))), ["enforce off -> baseline"]);
    assert_eq!(changes(Ask::create(labelled(&[("warn", "off")]))), ["warn recommended -> off"]);
    assert_eq!(
        changes(Ask::update(labelled(ENFORCE), object(&[("enforce", "strict"), ("audit", "off")], GLASS))),
        ["enforce baseline -> strict", "audit strict -> off", "break-glass off -> INC-123 until 2026-06-01T02:00:00Z"]
    );
    assert_eq!(
        changes(Ask::update(object(&[], GLASS), labelled(&[]))),
        ["break-glass INC-123 until 2026-06-01T02:00:00Z -> off"]
    );
    let floors = Ask::update(labelled(&[]), labelled(&[("env", "prod")])).configured(FLOOR);
    assert_eq!(changes(floors), ["floors none -> enforce baseline (critical and above)"]);
    let typo = Ask::update(labelled(ENFORCE), labelled(&[("enforce", "basline")]));
    assert!(typo.decide().reason == Reason::NamespaceFault && typo.asks().is_empty(), "refused for the name already");
    assert_eq!(changes(typo), ["enforce baseline -> off"]);
}

#[test]
fn breaking_glass_takes_its_own_verb() {
    let glass = |old: &[(&str, &str)], new: &[(&str, &str)]| Ask::update(object(ENFORCE, old), object(ENFORCE, new));
    assert_eq!(glass(&[], GLASS).asks(), [Verb::BreakGlass]);
    assert_eq!(Ask::create(object(ENFORCE, GLASS)).asks(), [Verb::BreakGlass]);
    assert_eq!(Ask::update(labelled(ENFORCE), object(&[], GLASS)).asks(), [Verb::Weaken, Verb::BreakGlass]);
    let later = [("break-glass", "INC-123"), ("break-glass-until", "2026-06-01T03:00:00Z")];
    assert_eq!(glass(GLASS, &later).asks(), [Verb::BreakGlass]);
    for ending in [glass(GLASS, &[]), glass(&later, GLASS), glass(GLASS, GLASS)] {
        assert!(ending.asks().is_empty());
        ending.accepts();
    }
    let denial = glass(&[], GLASS).refused(Refusal::NoRole(Verb::BreakGlass));
    let expected = "Namespace/shop: breaks glass for INC-123; leave out both break-glass annotations; otherwise it takes \
                    modes.admins or the verb breakglass on modes.gatepost.dev; requested by jane";
    assert_eq!(denial, expected);
    let barred = glass(&[], GLASS).configured("modes: {mayNotWeaken: [jane]}\n");
    assert!(barred.rejects().contains("modes.mayNotWeaken forbids it to you"));
}

#[test]
fn a_write_that_brings_in_glass_that_does_nothing_is_denied() {
    for (annotations, cause) in [
        (&[("break-glass", "INC-1")] as &[(&str, &str)], "does not count without gatepost.dev/break-glass-until"),
        (&[("break-glass-until", "2026-06-01T02:00:00Z")], "does not count without gatepost.dev/break-glass"),
        (&[("break-glass", "INC-1"), ("break-glass-until", "soon")], "\"soon\" is not an RFC 3339 instant"),
        (&[("break-glass", "INC-1"), ("break-glass-until", "2026-05-31T23:59:00Z")], "is over"),
        (&[("break-glass", "INC-1"), ("break-glass-until", "2026-06-01T04:00:01Z")], "more than 4 hours ahead"),
    ] {
        let ask = Ask::update(labelled(ENFORCE), object(ENFORCE, annotations))
            .configured("modes: {admins: {users: [jane]}}\n");
        let denial = ask.rejects();
        assert!(denial.starts_with("Namespace/shop: ") && denial.contains(cause), "{denial}");
        let mut standing = object(ENFORCE, annotations);
        standing["metadata"]["labels"]["team"] = json!("a");
        Ask::update(object(ENFORCE, annotations), standing).accepts();
    }
    let misplaced = Ask::update(labelled(ENFORCE), labelled(&[("enforce", "baseline"), ("break-glass", "INC-1")]));
    assert!(misplaced.rejects().contains("did you mean the annotation gatepost.dev/break-glass?"));
}

#[test]
fn under_broken_glass_enforce_only_warns_and_says_so() {
    let ask = Ask::create(bad()).under(ENFORCE, GLASS);
    let warnings = ask.accepts();
    let expected = "gatepost: Deployment/web: container-privileged (critical): app: set securityContext.privileged to \
                    false (break-glass INC-123 until 2026-06-01T02:00:00Z)";
    assert_eq!(warnings, [expected]);
    let decision = ask.decide();
    let (glass, rules) = decision.under_break_glass().expect("admitted under it");
    assert_eq!((&*glass.incident, rules), ("INC-123", vec!["container-privileged"]));
    let review: Json = serde_json::from_slice(&speak::answer("u", &decision, None).body).expect("JSON");
    let annotation = "break-glass INC-123 until 2026-06-01T02:00:00Z: container-privileged";
    assert_eq!(review["response"]["auditAnnotations"]["break-glass"], annotation);

    let clean = Ask::create(deployment(&[container("app", false)])).under(ENFORCE, GLASS);
    assert!(clean.accepts().is_empty() && clean.decide().under_break_glass().is_none());
    let only_warned = Ask::create(bad()).under(&[], GLASS);
    assert!(only_warned.decide().under_break_glass().is_none(), "it would not have been denied");
}

#[test]
fn the_suffix_of_a_long_warning_is_never_cut_off() {
    let names: Vec<Json> =
        (0..9).map(|index| container(&format!("a-very-long-container-name-{index}"), true)).collect();
    let long = "x".repeat(100);
    let glass: &[(&str, &str)] = &[("break-glass", &long), ("break-glass-until", "2026-06-01T02:00:00Z")];
    let warning = Ask::create(deployment(&names)).under(ENFORCE, glass).accepts().remove(0);
    assert!(warning.ends_with("… until 2026-06-01T02:00:00Z)") && warning.chars().count() <= 256, "{warning}");
}

#[test]
fn what_was_there_before_does_not_count_as_let_in() {
    let image = |tag: &str| {
        let mut changed = container("app", true);
        changed["image"] = json!(format!("nginx:{tag}"));
        deployment(&[changed])
    };
    let before = Ask::update(image("1"), image("2")).under(ENFORCE, GLASS);
    assert!(before.accepts()[0].ends_with("to false"), "it would not have been denied");
    assert!(before.decide().under_break_glass().is_none());
    let all = [GLASS, &[("enforce-scope", "all")]].concat();
    assert!(Ask::update(image("1"), image("2")).under(ENFORCE, &all).decide().under_break_glass().is_some());
}

#[test]
fn glass_counts_only_in_its_time() {
    for (until, cause) in [
        ("2026-06-01T00:00:00Z", "break-glass INC-1 until 2026-06-01T00:00:00Z is over"),
        ("2026-06-01T04:00:01Z", "is more than 4 hours ahead, so it does not count"),
        ("tomorrow", "is not an RFC 3339 instant"),
    ] {
        let ask = Ask::create(bad()).under(ENFORCE, &[("break-glass", "INC-1"), ("break-glass-until", until)]);
        ask.rejects();
        assert!(ask.warnings().iter().any(|line| line.contains(cause)), "{:?}", ask.warnings());
    }
}

#[test]
fn a_floor_holds_under_broken_glass_unless_it_yields() {
    let floor = |more: &str| format!("floors:\n- match: {{names: [shop]}}\n  set: {{enforce: baseline}}\n{more}");
    let held = Ask::create(bad()).under(ENFORCE, GLASS).configured(&floor(""));
    let denial = held.rejects();
    assert!(denial.ends_with("; a floor denies this, and holds under break-glass INC-123"), "{denial}");
    assert!(held.decide().under_break_glass().is_none());
    let yielding = Ask::create(bad()).under(&[], GLASS).configured(&floor("  breakGlass: true\n"));
    assert!(yielding.accepts()[0].contains("break-glass INC-123"));
    // What the floor asks is denied, what only the label asks is let in, in one request or another.
    let mild = "floors:\n- match: {names: [shop]}\n  set: {enforce: baseline, severity: critical}\n";
    let untagged = json!({"name": "app", "image": "nginx"});
    let ask = Ask::create(deployment(&[untagged])).under(&[("enforce", "recommended")], GLASS).configured(mild);
    assert!(ask.decide().under_break_glass().is_some_and(|(_, rules)| rules.contains(&"container-image-tag")));
}

fn any_meta() -> impl Strategy<Value = NamespaceMeta> {
    let labels = proptest::collection::btree_map(
        "gatepost\\.dev/(enforce|warn)|env",
        "off|baseline|recommended|slow|slow-allowed|gentle|worded|datree-default|prod|stage",
        0..4,
    );
    let annotations = proptest::collection::btree_map(
        "gatepost\\.dev/enforce-(severity|scope|from)",
        "critical|high|low|new|all|2026-01-01|2026-12-01|2027-01-01|soon",
        0..4,
    );
    (labels, annotations).prop_map(|(labels, annotations)| NamespaceMeta { name: "shop".into(), labels, annotations })
}

/// Returns what is denied: check, whether for a failure, whether for what was there, and in which of three times.
fn denied(
    modes: &Modes,
    meta: &NamespaceMeta,
    is_floor: Option<bool>,
) -> std::collections::BTreeSet<(usize, bool, bool, usize)> {
    let mut grants = modes.grants(meta, &*BUNDLE).grants;
    grants.retain(|grant| is_floor.is_none_or(|wanted| wanted == (grant.origin == crate::policy::GrantOrigin::Floor)));
    let times = [NOW, "2026-12-15T00:00:00Z", "2027-06-01T00:00:00Z"];
    let mut denied = std::collections::BTreeSet::new();
    for (time, at) in times.iter().enumerate() {
        for (check, failed) in BUNDLE.checks().iter().flat_map(|check| [(check, false), (check, true)]) {
            for claim in claims(&BUNDLE, &grants, check, failed, Origin::Admission, at.parse().expect("an instant")) {
                if claim.action == Action::Deny {
                    denied.insert((check.id, failed, false, time));
                    if claim.grant.scope == Scope::All {
                        denied.insert((check.id, failed, true, time));
                    }
                }
            }
        }
    }
    denied
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_write_weakens_exactly_where_something_is_denied_no_more(old in any_meta(), new in any_meta()) {
        let modes = Ask::create(bad()).configured(
            "namespaces:\n- match: {labels: {env: stage}}\n  set: {enforce: recommended, severity: high}\n\
             floors:\n- match: {labels: {env: prod}}\n  set: {enforce: baseline, severity: critical, scope: all}\n",
        ).modes;
        let grants = |meta| modes.grants(meta, &*BUNDLE).grants;
        let changes = mode_changes(&grants(&old), &grants(&new), &*BUNDLE, now());
        let weakens = |part| changes.iter().any(|change| change.part == part && change.weakens());
        let after = denied(&modes, &new, None);
        let lost = denied(&modes, &old, Some(false)).difference(&after).next().copied();
        prop_assert_eq!(weakens(Part::Slot(Mode::Enforce)), lost.is_some(), "{:?} in {:?}", lost, changes);
        let floors_after = denied(&modes, &new, Some(true));
        let lost = denied(&modes, &old, Some(true)).difference(&floors_after).next().copied();
        prop_assert_eq!(weakens(Part::Floors), lost.is_some(), "{:?} in {:?}", lost, changes);
    }
}
