//! The webhook and `gatepost scan` judge the same object alike.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::objects::{Object, documents};
use crate::support::wait::eventually;
use crate::support::watchdog::state_directory;
use crate::support::{Gatepost, Options, generate, kubectl};

const COUNT: usize = 200;

/// Who breaks what: `Kind/name`, and a rule's id.
type Violations = BTreeSet<(String, String)>;

#[test]
fn scan_and_admission_agree_on_generated_objects() {
    let Some(gatepost) = Gatepost::start(&Options::default()) else { return };
    let shop = gatepost.namespace("shop", &["warn=recommended", "audit=off"]);
    let generated = generate::objects(COUNT);
    let answer = shop.accepts(kubectl("create -f - -o json").reading(&generated).dry_run());
    let returned = answer.objects();
    assert_eq!(returned.len(), COUNT);

    let decisions = eventually("a decision about each object", || {
        let decisions: Vec<_> = gatepost
            .decisions()
            .into_iter()
            .filter(|decision| decision.namespace == shop.name && decision.dry_run)
            .collect();
        (decisions.len() >= COUNT).then_some(decisions)
    });
    let at_admission: Violations = decisions
        .iter()
        .flat_map(|decision| {
            decision.rules.iter().map(|rule| (format!("{}/{}", decision.kind, decision.name), rule.clone()))
        })
        .collect();

    let in_files = scan(&returned);
    let rules: BTreeSet<&String> = in_files.iter().map(|(_, rule)| rule).collect();
    assert!(rules.len() >= 8, "the objects should break more rules than {rules:?}");
    let only = |these: &Violations, those: &Violations| these.difference(those).cloned().collect::<Vec<_>>();
    let (admission_alone, scan_alone) = (only(&at_admission, &in_files), only(&in_files, &at_admission));
    assert!(
        admission_alone.is_empty() && scan_alone.is_empty(),
        "admission alone: {admission_alone:#?}\nscan alone: {scan_alone:#?}"
    );
}

/// Returns the violations that `gatepost scan` finds in objects as the API server returned them.
fn scan(objects: &[Object]) -> Violations {
    let file = state_directory().join("agreement.yaml");
    fs::write(&file, documents(objects)).expect("a file to scan");
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["scan", "--policy", "recommended", "-o", "json"])
        .arg(&file)
        .output()
        .expect("gatepost scan runs");
    // 1 says that there are violations; anything above that something was not judged.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout).expect("a ScanResult");
    let results = result["results"].as_array().expect("results");
    let failed = results.iter().filter(|result| result["result"] == "fail");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    failed
        .map(|result| {
            let resource = &result["resource"];
            (format!("{}/{}", text(&resource["kind"]), text(&resource["name"])), text(&result["rule"]))
        })
        .collect()
}
