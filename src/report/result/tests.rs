use super::*;
use crate::engine::{BackendChoice, Catalogue, EvalError, ProgramCache, Value};
use crate::engine::{Skip, Violation};
use crate::policy::modes::SlotSet;
use crate::policy::{Modes, NamespaceMeta, Source};

const RULE: &str = "# METADATA\n# title: T\n# custom:\n#   id: some-rule\n#   severity: medium\n\
                    #   category: test\n#   kinds: [core/Pod]\n#   fix: F\n#   parameters:\n#     type: object\n\
                    #     properties: {least: {type: integer, default: 1}}\n\
                    package gatepost.rules.some_rule\nviolation contains {\"message\": \"m\"} if false\n";
const POLICIES: [&str; 2] = [
    "metadata: {name: mild}\nspec:\n  rules:\n  - {id: some-rule, severity: low}\n",
    "metadata: {name: harsh}\nspec:\n  rules:\n  - {id: some-rule, severity: critical, parameters: {least: 2}, message: harsh}\n",
];

fn bundle() -> Bundle {
    let head = "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\n";
    let mut files = vec![Source::new("own/rule.rego", RULE)];
    files.extend(
        POLICIES
            .map(|text| Source::new(text, format!("{head}{text}")))
            .map(|source| Source { file: format!("{}.yaml", source.text.len()).into(), ..source }),
    );
    let catalogue = Catalogue::read(&[files]).unwrap();
    Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::default()).unwrap()
}

fn check(bundle: &Bundle, policy: &str) -> Arc<Check> {
    let id = bundle.policy(policy).unwrap().entries.keys().next().copied().unwrap();
    bundle.checks()[id].clone()
}

fn found(check: &Arc<Check>, places: &[&str]) -> Judgement {
    let violation = |place: &&str| Violation {
        message: "the rule's".into(),
        path: Path::of_keys(&[place]),
        container: None,
        patch: Vec::new(),
    };
    let violations = places.iter().map(violation).collect();
    Judgement { check: check.clone(), outcome: Outcome::Judged { violations, skips: Vec::new() } }
}

fn report(bundle: &Bundle, judgements: &[Judgement], shows_passed: bool) -> (Vec<ScanEntry>, Summary) {
    let pod = Value::from(serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}));
    let review = Review::of_file(pod, None, BTreeMap::new());
    let defaults = SlotSet { enforce: Some(crate::policy::modes::Slot::Policy("mild".into())), ..SlotSet::default() };
    let modes = Modes { defaults, ..Modes::default() };
    let policies = ["mild", "harsh"].map(|name| bundle.policy(name).unwrap().clone());
    let judged = Judged {
        review: &review,
        judgements,
        bundle,
        policies: &policies,
        grants: &modes.grants(&NamespaceMeta::default(), bundle).grants,
        exemptions: &Exemptions::default(),
        now: Timestamp::UNIX_EPOCH,
        shows_passed,
    };
    results(judged, |_| None)
}

#[test]
fn a_place_is_told_once_by_the_strongest_policy() {
    let bundle = bundle();
    let (mild, harsh) = (check(&bundle, "mild"), check(&bundle, "harsh"));
    assert_ne!(mild.id, harsh.id);
    let (entries, summary) = report(&bundle, &[found(&mild, &["a", "b"]), found(&harsh, &["a"])], false);
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            let policies: Vec<&str> = entry.policies.iter().map(|name| &**name).collect();
            let path = entry.path.as_ref().map(ToString::to_string).unwrap_or_default();
            (path, entry.severity, policies.join(","), entry.message.clone().unwrap(), entry.action.unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("/a".into(), Severity::Critical, "mild,harsh".into(), "harsh".into(), Action::Deny),
            ("/b".into(), Severity::Low, "mild".into(), "the rule's".into(), Action::Deny),
        ]
    );
    assert_eq!(summary, Summary { objects: 1, fail: 1, ..Summary::default() });
}

#[test]
fn a_pair_counts_by_the_worst_that_was_said() {
    let bundle = bundle();
    let (mild, harsh) = (check(&bundle, "mild"), check(&bundle, "harsh"));
    let skipped = |check: &Arc<Check>| {
        let skips = vec![Skip { reason: "why".into(), path: Path::default() }];
        Judgement { check: check.clone(), outcome: Outcome::Judged { violations: Vec::new(), skips } }
    };
    let failed = |check: &Arc<Check>| Judgement {
        check: check.clone(),
        outcome: Outcome::Failed(EvalError::Rego("oops".into())),
    };
    let table = [
        (vec![found(&mild, &[]), found(&harsh, &[])], Verdict::Pass, 0, None),
        (vec![skipped(&mild), found(&harsh, &[])], Verdict::Skip, 1, Some(Action::Record)),
        (vec![failed(&mild), skipped(&harsh)], Verdict::Error, 2, Some(Action::Deny)),
        (vec![failed(&harsh), found(&harsh, &[])], Verdict::Error, 1, Some(Action::Record)),
        (vec![failed(&harsh), found(&mild, &["a"])], Verdict::Fail, 2, Some(Action::Deny)),
    ];
    for (judgements, verdict, count, action) in table {
        let (entries, summary) = report(&bundle, &judgements, false);
        let mut expected = Summary { objects: 1, ..Summary::default() };
        expected.count(verdict);
        assert_eq!((summary, entries.len()), (expected, count), "{verdict:?}");
        assert_eq!(entries.first().and_then(|entry| entry.action), action, "{verdict:?}");
    }
    let (shown, _) = report(&bundle, &[found(&mild, &[])], true);
    assert_eq!(shown.iter().map(|entry| entry.result).collect::<Vec<_>>(), [Verdict::Pass]);
}
