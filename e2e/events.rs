//! What audits find anew as Events in the cluster, written with the scanner's rights: few, and where people look.

use serde_json::Value;

use crate::support::control_plane::ControlPlane;
use crate::support::kubectl::{Kubectl, apply, create, kubectl};
use crate::support::manifests;
use crate::support::objects::{namespace, privileged, untagged};
use crate::support::rights::{self, Asked};
use crate::support::wait::eventually;

/// Returns the notes of our Events in a namespace, each after what it is about: `Deployment/web: …`.
pub fn notes(there: &Kubectl) -> Vec<String> {
    let list = there.accepts(kubectl("get events.events.k8s.io -o json")).stdout;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let ours = list["items"].as_array().expect("a list").iter();
    let ours = ours.filter(|event| event["reportingController"] == "gatepost.dev/audit");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let note = |event: &Value| {
        let regarding = &event["regarding"];
        format!("{}/{}: {}", text(&regarding["kind"]), text(&regarding["name"]), text(&event["note"]))
    };
    let mut notes: Vec<String> = ours.map(note).collect();
    notes.sort();
    notes
}

#[test]
fn what_is_new_is_an_event_at_the_object_and_there_are_few() {
    let Some(control_plane) = ControlPlane::own("events") else { return };
    let kube = control_plane.kubectl();
    kube.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
    kube.accepts(create(&namespace("eventful")));
    let shop = kube.in_namespace("eventful");
    shop.accepts(apply(&untagged("old")));
    let mut scanner = manifests::scanner("eventful-scanner", &control_plane);
    scanner.with(["--audit-interval", "2s", "--events", "--events-per-audit", "3"]);
    scanner.launch();
    let home = kube.in_namespace(manifests::NAMESPACE);
    let first = eventually("a word about the first audit", || notes(&home).pop());
    assert!(first.starts_with("Namespace/gatepost: The first audit found "), "{first}");
    assert_eq!(notes(&shop), Vec::<String>::new(), "what stood before is no news");

    shop.accepts(
        kubectl("apply -f -").reading(&[privileged("root").with("/spec/template/spec/containers/0/image", "nginx")]),
    );
    let told = eventually("an Event", || Some(notes(&shop)).filter(|notes| !notes.is_empty()));
    assert_eq!(told.len(), 1, "{told:?}");
    for said in ["Deployment/root: ", "container-privileged (critical)", "container-image-tag (high)"] {
        assert!(told[0].contains(said), "{said}: {told:?}");
    }
    let described = shop.accepts(kubectl("describe deployment root")).stdout;
    assert!(described.contains("PolicyViolation") && described.contains("container-privileged"), "{described}");
    scanner.audited_once_more();
    assert_eq!(notes(&shop), told, "it is told once");

    let many: Vec<_> = (0..8).map(|number| untagged(&format!("many-{number}"))).collect();
    shop.accepts(kubectl("apply -f -").reading(&many));
    eventually("a word about those that are left out", || {
        notes(&home).into_iter().find(|note| note.contains("no Event of their own, for an audit writes 3 at most"))
    });
    scanner.audited_once_more();
    let all = notes(&shop).len() - told.len();
    // An audit may have come in the middle of what was applied.
    assert!((3..=6).contains(&all), "{:?}", notes(&shop));
    assert_eq!(scanner.metric("gatepost_events_total{outcome=\"failed\"}"), Some(0.0));
    assert_eq!(Asked::read(&control_plane.audit_log(), rights::SCANNER).forbidden, Vec::<String>::new());
}
