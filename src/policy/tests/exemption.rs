//! Exemptions: what is refused when they are read, whom they mean, and which claims they lift.

use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::Catalogue;
use crate::policy::exemption::{Container, Exemption, Subject, lifting};
use crate::policy::modes::{Grant, GrantOrigin, Mode, Scope};
use crate::policy::set::Entry;
use crate::policy::{ExemptionTerms, Exemptions, GroupVersionKind, RuleId, Source};

const RULE: &str = "container-cpu-limit";

fn read(text: &str) -> Result<Vec<Arc<Exemption>>, String> {
    let catalogue =
        Catalogue::read(&[vec![Source::new("exemptions.yaml", text)]]).map_err(|error| error.to_string())?;
    Ok(catalogue.exemptions().to_vec())
}

fn written(kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: gatepost.dev/v1alpha1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec:\n  {spec}\n")
}

fn exemption(spec: &str) -> Exemption {
    let text = written("Exemption", "name: a, namespace: shop", &format!("{{reason: r, owner: o, {spec}}}"));
    Exemption::clone(&read(&text).unwrap()[0])
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

#[test]
fn faults_name_file_line_and_what_was_meant() {
    let ns = "name: a, namespace: shop";
    let table = [
        ("Exemption", ns, "owner: o\n  rules: [container-cpu-limit]", ":4: spec.reason is required"),
        ("Exemption", ns, "reason: ' '\n  owner: o\n  rules: [container-cpu-limit]", ":5: spec.reason is required"),
        ("Exemption", ns, "reason: r\n  rules: [container-cpu-limit]", ":4: spec.owner is required"),
        ("Exemption", ns, "reason: r\n  owner: o", ":4: spec names neither rules nor families"),
        (
            "Exemption",
            ns,
            "reason: r\n  owner: o\n  rules:\n  - container-cpu-limt",
            ":8: spec.rules: there is no rule \"container-cpu-limt\", did you mean \"container-cpu-limit\"?",
        ),
        (
            "Exemption",
            ns,
            "reason: r\n  owner: o\n  families: [container]",
            ":7: spec.families: there is no family \"container\", did you mean \"containers\"?",
        ),
        ("Exemption", ns, "reason: r\n  ower: o", ":6: "),
        ("Exemption", ns, "reason: r\n  ower: o", "did you mean `owner`?"),
        (
            "Exemption",
            ns,
            "{reason: r, owner: o, rules: [container-cpu-limit], expires: tomorrow}",
            ":5: spec.expires: \"tomorrow\" is neither a date",
        ),
        (
            "Exemption",
            ns,
            "{reason: r, owner: o, rules: [container-cpu-limit], match: {kinds: [Deployment]}}",
            ":5: spec.match.kinds: \"Deployment\" is neither a group of kinds",
        ),
        (
            "Exemption",
            ns,
            "{reason: r, owner: o, rules: [container-cpu-limit], match: {names: []}}",
            "spec.match.names: is empty; leave it out to mean all",
        ),
        (
            "Exemption",
            ns,
            "{reason: r, owner: o, rules: [container-cpu-limit], match: {selector: {}}}",
            "spec.match.selector: asks for no label",
        ),
        (
            "Exemption",
            ns,
            "{reason: r, owner: o, rules: [container-cpu-limit], match: {images: ['a[']}}",
            "spec.match.images: \"a[\" is not a pattern",
        ),
        ("Exemption", "name: a", "{}", ":3: an Exemption needs metadata.namespace"),
        ("ClusterExemption", ns, "{}", ":3: a ClusterExemption is in no namespace"),
        ("Exemption", "namespace: shop", "{}", ":3: has no metadata.name"),
        (
            "ClusterExemption",
            "name: a",
            "{reason: r, owner: o, rules: [container-cpu-limit]}",
            "spec.match is required: a ClusterExemption that matches everything",
        ),
    ];
    for (kind, metadata, spec, expected) in table {
        let fault = read(&written(kind, metadata, spec)).expect_err(spec);
        assert!(fault.starts_with("exemptions.yaml:") && fault.contains(expected), "{spec}: {fault}");
    }
}

#[test]
fn a_file_holds_several_and_lines_are_those_of_the_file() {
    let one = |name: &str| {
        let spec = "{reason: r, owner: o, rules: [container-cpu-limit], expires: 2026-12-01}";
        written("Exemption", &format!("name: {name}, namespace: shop"), spec)
    };
    let policy =
        "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: own}\nspec: {include: [baseline]}\n";
    let list = read(&format!("# ours\n{}---\n{policy}---\n# nothing\n---\n{}", one("a"), one("b"))).unwrap();
    let names: Vec<String> = list.iter().map(|exemption| exemption.name.to_string()).collect();
    assert_eq!(names, ["Exemption shop/a", "Exemption shop/b"]);
    let twice = read(&format!("{}---\n{}", one("a"), one("a"))).unwrap_err();
    assert!(twice.contains("Exemption shop/a stands in exemptions.yaml too"), "{twice}");
    let fault = read(&format!("{}---\n{}", one("a"), one("b").replace("reason: r", "reason: ''"))).unwrap_err();
    assert!(fault.starts_with("exemptions.yaml:11: spec.reason"), "{fault}");
}

#[test]
fn an_end_is_required_unless_the_configuration_says_otherwise() {
    let (with, without) =
        (exemption("rules: [container-cpu-limit], expires: 2020-01-01"), exemption("rules: [container-cpu-limit]"));
    let (strict, lax) = (ExemptionTerms::default(), ExemptionTerms { permanent: true, ..ExemptionTerms::default() });
    assert!(strict.check(&with).is_ok(), "one that has ended is none the worse for it");
    assert!(strict.check(&without).unwrap_err().contains("spec.expires is required"));
    assert!(lax.check(&without).is_ok());
    assert!(Exemptions::new([Arc::new(without)], &strict).list().is_empty());
}

#[test]
fn every_criterion_must_hold() {
    let deployment = || Subject {
        kind: GroupVersionKind::of("apps/v1", "Deployment"),
        has_template: true,
        namespace: Some("shop"),
        name: "web-1",
        labels: [("app", "web"), ("tier", "front")].into(),
        user: Some("jane"),
    };
    let container = Container { name: Some("app"), image: Some("nginx:1.27") };
    for (spec, covers) in [
        ("", true),
        ("match: {kinds: [apps/Deployment, core/Pod]}", true),
        ("match: {kinds: [workloads]}", true),
        ("match: {kinds: [core/Pod]}", false),
        ("match: {names: [web-*]}", true),
        ("match: {names: ['web-?', api]}", true),
        ("match: {names: [web]}", false),
        ("match: {namespaces: ['sh*']}", true),
        ("match: {namespaces: [other]}", false),
        ("match: {selector: {matchLabels: {app: web, tier: front}}}", true),
        ("match: {selector: {matchLabels: {app: web, tier: back}}}", false),
        ("match: {selector: {matchExpressions: [{key: app, operator: In, values: [api, web]}]}}", true),
        ("match: {selector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}", false),
        ("match: {selector: {matchExpressions: [{key: none, operator: NotIn, values: [web]}]}}", true),
        ("match: {selector: {matchExpressions: [{key: tier, operator: Exists}]}}", true),
        ("match: {selector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}", false),
        ("match: {containers: [sidecar, ap*]}", true),
        ("match: {containers: [sidecar]}", false),
        ("match: {containers: [app], images: ['other:*']}", false),
        ("match: {images: ['nginx:*']}", true),
        ("match: {images: ['*']}", true),
        ("match: {images: ['docker.io/*']}", false),
        ("match: {users: [jane]}", true),
        ("match: {users: ['system:*']}", false),
        ("match: {names: [web-*], images: ['other:*']}", false),
        ("expires: 2026-06-01", false),
        ("expires: 2026-06-01T00:00:01Z", true),
    ] {
        let spec = if spec.is_empty() {
            "rules: [container-cpu-limit]".into()
        } else {
            format!("rules: [container-cpu-limit], {spec}")
        };
        let terms = ExemptionTerms { permanent: true, ..ExemptionTerms::default() };
        let exemptions = Exemptions::new([Arc::new(exemption(&spec))], &terms);
        let found = exemptions.covering(&RuleId::from(RULE), &deployment(), container, now());
        assert_eq!(!found.is_empty(), covers, "{spec}");
        assert!(exemptions.covering(&RuleId::from("container-image-tag"), &deployment(), container, now()).is_empty());
        let elsewhere = Subject { namespace: Some("other"), ..deployment() };
        assert!(exemptions.covering(&RuleId::from(RULE), &elsewhere, container, now()).is_empty(), "{spec}");
        let nowhere = Subject { namespace: None, ..deployment() };
        assert!(exemptions.covering(&RuleId::from(RULE), &nowhere, container, now()).is_empty(), "{spec}");
    }
    let of_images = exemption("rules: [container-cpu-limit], expires: 2027-01-01, match: {images: ['**']}");
    let exemptions = Exemptions::new([Arc::new(of_images)], &ExemptionTerms::default());
    assert!(
        exemptions.covering(&RuleId::from(RULE), &deployment(), Container::default(), now()).is_empty(),
        "what is in no container has no image"
    );
    let of_containers = exemption("rules: [container-cpu-limit], expires: 2027-01-01, match: {containers: ['*']}");
    let exemptions = Exemptions::new([Arc::new(of_containers)], &ExemptionTerms::default());
    let covering = |container| exemptions.covering(&RuleId::from(RULE), &deployment(), container, now()).len();
    assert_eq!((covering(container), covering(Container::default())), (1, 0), "what is in no container has no name");
    let slash = exemption("rules: [container-cpu-limit], expires: 2027-01-01, match: {images: ['nginx*']}");
    let exemptions = Exemptions::new([Arc::new(slash)], &ExemptionTerms::default());
    let foreign = Container { image: Some("nginx.example.com/evil:1"), ..container };
    assert!(exemptions.covering(&RuleId::from(RULE), &deployment(), foreign, now()).is_empty());
}

fn grant(mode: Mode, origin: GrantOrigin) -> Grant {
    Grant {
        mode,
        policy: "p".into(),
        severity: None,
        scope: Scope::New,
        from: None,
        origin,
        yields_to_break_glass: true,
    }
}

/// Candidates, claims, and the exemption that excuses.
type Case<'a> = (&'a [&'a Arc<Exemption>], &'a [(&'a Grant, &'a Entry)], Option<&'a str>);

#[test]
fn a_violation_is_excused_only_when_every_claim_is_and_until_the_first_ends() {
    let catalogue = Catalogue::read(&[]).unwrap();
    let rule = catalogue.rule(RULE).unwrap();
    let unmarked = Entry::of(rule);
    let marked = Entry { exemptable: true, ..Entry::of(rule) };
    let of = |kind: &str, metadata: &str, expires: &str| {
        let spec = format!("{{reason: r, owner: o, rules: [{RULE}], match: {{names: ['*']}}, expires: {expires}}}");
        read(&written(kind, metadata, &spec)).unwrap()[0].clone()
    };
    let own = of("Exemption", "name: own, namespace: shop", "2027-01-01");
    let cluster = of("ClusterExemption", "name: cluster", "2026-07-01");
    let longer = of("ClusterExemption", "name: longer", "2026-08-01");
    let enforce = grant(Mode::Enforce, GrantOrigin::Label);
    let warn = grant(Mode::Warn, GrantOrigin::Default);
    let floor = grant(Mode::Warn, GrantOrigin::Floor);
    let table: [Case<'_>; 9] = [
        (&[&own], &[(&enforce, &marked), (&warn, &unmarked)], Some("own")),
        (&[&own], &[(&enforce, &unmarked), (&warn, &unmarked)], None),
        (&[&own], &[(&floor, &marked)], None),
        (&[&cluster], &[(&enforce, &unmarked), (&floor, &unmarked)], Some("cluster")),
        (&[&own, &cluster], &[(&enforce, &unmarked), (&warn, &unmarked)], Some("cluster")),
        (&[&own, &cluster], &[(&warn, &unmarked)], Some("own")),
        (&[&cluster, &longer], &[(&enforce, &unmarked)], Some("longer")),
        (&[&own, &longer], &[], Some("own")),
        (&[], &[], None),
    ];
    for (candidates, claims, expected) in table {
        let by = lifting(candidates, claims.iter().copied());
        assert_eq!(by.map(|by| &*by.name.name), expected, "{candidates:?} {claims:?}");
    }
}
