//! The audit on a real cluster: what stands is found, and what was mended or deleted is told apart.

use serde_json::Value;

use crate::support::objects::{deployment, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, http, kubectl};

/// Asks the API, and returns the items of a list.
fn items(gatepost: &Gatepost, path: &str) -> Option<Vec<Value>> {
    let answer: Value = serde_json::from_str(&http::body_of(&gatepost.serving().http()?, path)?).ok()?;
    answer["items"].as_array().cloned()
}

#[test]
fn an_audit_finds_what_stands_and_tells_mended_from_deleted() {
    let arguments = &["--audit-interval", "2s"];
    let Some(gatepost) = Gatepost::start(&Options { arguments, ..Options::default() }) else { return };
    let shop = gatepost.namespace("audited", &["audit=strict"]);
    for name in ["gone", "web"] {
        shop.accepts(apply(&untagged(name)));
    }
    let named = |state: &str| -> Option<Vec<String>> {
        let found = items(
            &gatepost,
            &format!(
                "/api/v1/findings?namespace={}&kind=Deployment&rule=container-image-tag&sort=object&state={state}",
                shop.name
            ),
        )?;
        Some(found.iter().map(|finding| finding["resource"]["name"].as_str().unwrap_or_default().to_owned()).collect())
    };
    eventually("both are found", || (named("open")? == ["gone", "web"]).then_some(()));
    shop.accepts(apply(&deployment("web")));
    shop.accepts(kubectl("delete deployment/gone"));
    eventually("what was mended is closed as fixed", || (named("fixed")? == ["web"]).then_some(()));
    eventually("what is gone is closed as deleted", || (named("deleted")? == ["gone"]).then_some(()));
    assert_eq!(named("open"), Some(Vec::new()));
    let audits = items(&gatepost, "/api/v1/audits").unwrap_or_default();
    let complete = audits.iter().find(|audit| audit["state"] == "complete").expect("a complete audit");
    assert!(
        complete["objects"].as_u64() > complete["evaluated"].as_u64(),
        "what is as it was is not judged again: {complete}"
    );
}
