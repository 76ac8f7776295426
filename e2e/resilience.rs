//! Many requests at once, and a Gatepost that dies under them.

use std::time::Instant;

use crate::support::load::{Sender, SteadyLoad};
use crate::support::objects::{Object, deployment, privileged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply};

/// So many requests show how a phase goes.
const ENOUGH: usize = 100;

#[test]
fn five_hundred_requests_at_once_each_get_their_own_answer() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let sender = Sender::new(gatepost.control_plane().kubeconfig()).expect("a client");
    let is_bad = |index: usize| index.is_multiple_of(3);
    let name = |index: usize| format!("web-{index}");
    let objects: Vec<Object> =
        (0..500).map(|index| if is_bad(index) { privileged(&name(index)) } else { deployment(&name(index)) }).collect();
    for (index, failure) in sender.send_at_once(&shop.name, &objects).iter().enumerate() {
        match failure {
            None => assert!(!is_bad(index), "{} was admitted", name(index)),
            Some(failure) => {
                assert!(is_bad(index) && failure.code == 403, "{}: {failure:?}", name(index));
                assert!(
                    failure.message.contains(&format!("Deployment/{}:", name(index))),
                    "{}: {failure:?}",
                    name(index)
                );
            }
        }
    }
}

/// Waits until enough requests that were started after a moment have been answered.
fn goes_on(load: &SteadyLoad, since: Instant) {
    eventually("requests to be answered", || (load.since(since).len() >= ENOUGH).then_some(()));
}

#[test]
fn a_crash_is_not_noticed_where_the_failure_policy_is_ignore() {
    let Some(mut gatepost) = Gatepost::start(&Options { failure_policy: "Ignore", ..Options::default() }) else {
        return;
    };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let sender = Sender::new(gatepost.control_plane().kubeconfig()).expect("a client");
    let start = Instant::now();
    let load = sender.send_steadily(&shop.name, &deployment("steady"));
    goes_on(&load, start);
    shop.rejects(apply(&privileged("web")).dry_run());

    gatepost.kill();
    let killed = Instant::now();
    goes_on(&load, killed);
    shop.accepts(apply(&privileged("web")).dry_run()).is_silent();

    gatepost.launch();
    let back = Instant::now();
    goes_on(&load, back);
    shop.rejects(apply(&privileged("web")).dry_run());

    let failed: Vec<_> = load.since(start).into_iter().filter_map(|sent| sent.failure).collect();
    assert!(failed.is_empty(), "{} failed, the first: {:?}", failed.len(), failed.first());
}

#[test]
fn a_crash_stops_writes_where_the_failure_policy_is_fail_until_gatepost_is_back() {
    let Some(mut gatepost) = Gatepost::start(&Options { failure_policy: "Fail", ..Options::default() }) else { return };
    let shop = gatepost.namespace("shop", &["enforce=baseline"]);
    let sender = Sender::new(gatepost.control_plane().kubeconfig()).expect("a client");
    let start = Instant::now();
    let load = sender.send_steadily(&shop.name, &deployment("steady"));
    goes_on(&load, start);
    let before = load.since(start);
    assert!(before.iter().all(|sent| sent.failure.is_none()), "{before:?}");

    gatepost.kill();
    let killed = Instant::now();
    goes_on(&load, killed);
    for sent in load.since(killed) {
        let failure = sent.failure.expect("nothing is admitted unjudged");
        assert!(failure.message.contains("failed calling webhook"), "{failure:?}");
    }

    gatepost.launch();
    let back = Instant::now();
    goes_on(&load, back);
    let after = load.since(back);
    assert!(after.iter().all(|sent| sent.failure.is_none()), "{after:?}");
    shop.rejects(apply(&privileged("web")).dry_run());
}
