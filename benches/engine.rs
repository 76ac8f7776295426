//! What one admission request costs, step by step: decode, derive, match, evaluate, respond.

#![allow(clippy::expect_used, missing_docs, reason = "a benchmark that cannot go on has failed")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use gatepost::admission::request::{Means, NamespaceState};
use gatepost::admission::{Controllers, Envelope, Reviewer, speak};
use gatepost::engine::rego::Backend;
use gatepost::engine::{
    BackendChoice, Budget, Bundle, Catalogue, Input, Limits, Machines, ProgramCache, Review, judge,
};
use gatepost::policy::{Modes, NamespaceMeta, Origin};
use jiff::Timestamp;

const BODY: &[u8] = include_bytes!("data/deployment.json");
const LIMITS: Limits = Limits { time: Duration::from_millis(100), instructions: 1_000_000 };

fn bundle(choice: BackendChoice) -> Bundle {
    let catalogue = Catalogue::read(&[]).expect("the built-in policies are whole");
    Bundle::build(catalogue, &ProgramCache::default(), choice).expect("the built-in policies compile")
}

fn review() -> Review {
    let envelope = Envelope::decode(BODY, None).expect("a review");
    Review {
        operation: envelope.operation(),
        kind: envelope.kind.clone(),
        request_kind: envelope.kind.clone(),
        object: envelope.object().expect("an object"),
        old_object: envelope.old_object().expect("null"),
        user_info: envelope.user_info.clone(),
        origin: Origin::Admission,
        namespace: Some(Arc::new(NamespaceMeta::named("shop"))),
        inventory: std::collections::BTreeMap::new(),
        kubernetes_version: None,
    }
}

fn remaining() -> Duration {
    Duration::from_secs(1)
}

fn steps(c: &mut Criterion) {
    let bundle = bundle(BackendChoice::Proven);
    let review = review();
    let input = Input::new(&review);
    let policy = bundle.policy("datree-default").expect("ships");
    c.bench_function("decode/envelope", |b| b.iter(|| Envelope::decode(black_box(BODY), None)));
    let envelope = Envelope::decode(BODY, None).expect("a review");
    c.bench_function("decode/object", |b| b.iter(|| envelope.object()));
    c.bench_function("derive", |b| b.iter(|| Input::new(black_box(&review))));
    c.bench_function("match", |b| b.iter(|| bundle.matching(&review, input.has_template(), &[policy])));
}

fn evaluate(c: &mut Criterion) {
    let review = review();
    let input = Input::new(&review);
    for (name, backend) in [("vm", Backend::Vm), ("interpreter", Backend::Interpreter)] {
        let bundle = bundle(BackendChoice::Always(backend));
        let policy = bundle.policy("datree-default").expect("ships");
        let checks = bundle.matching(&review, input.has_template(), &[policy]);
        let budget = Budget { limits: LIMITS, remaining: &remaining };
        let mut machines = Machines::default();
        let mut group = c.benchmark_group(format!("evaluate/{name}"));
        group.bench_function("all", |b| b.iter(|| judge(&input, &checks, &mut machines, &budget)));
        for check in &checks {
            let one = [check.clone()];
            group.bench_function(check.rule_id().as_str(), |b| {
                b.iter(|| judge(&input, &one, &mut machines, &budget));
            });
        }
        group.finish();
    }
}

fn whole(c: &mut Criterion) {
    let bundle = bundle(BackendChoice::Proven);
    let (modes, controllers) = (Modes::default(), Controllers::default());
    let exemptions = Arc::default();
    let reviewer = Reviewer {
        kubernetes_version: None,
        bundle: &bundle,
        modes: &modes,
        exemptions: &exemptions,
        controllers: &controllers,
        judge_owned: false,
        limits: LIMITS,
    };
    let namespace = Arc::new(NamespaceMeta::named("shop"));
    let mut machines = Machines::default();
    let mut decide = |envelope: &Envelope| {
        let means = Means {
            namespace: NamespaceState::Known(namespace.clone()),
            inventory: std::collections::BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
            remaining: &remaining,
            machines: &mut machines,
        };
        reviewer.review(envelope, means)
    };
    c.bench_function("whole", |b| {
        b.iter(|| {
            let envelope = Envelope::decode(black_box(BODY), None).expect("a review");
            let decision = decide(&envelope);
            speak::answer(&envelope.uid, &decision, None)
        });
    });
    let envelope = Envelope::decode(BODY, None).expect("a review");
    let decision = decide(&envelope);
    c.bench_function("respond", |b| b.iter(|| speak::answer(&envelope.uid, black_box(&decision), None)));
}

criterion_group!(benches, steps, evaluate, whole);
criterion_main!(benches);
