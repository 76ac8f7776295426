//! A rule that does not come to an end.

use crate::support::kubectl::Answer;
use crate::support::objects::config_map;
use crate::support::{Gatepost, Options, create};

const ENDLESS_POLICIES: &[(&str, &str)] = &[("endless.rego", ENDLESS), ("endless.yaml", ENDLESS_POLICY)];

/// Looks at ConfigMaps that ask for it only: the controllers make others.
const ENDLESS: &str = r#"# METADATA
# title: Never comes to an end
# custom:
#   id: endless
#   severity: high
#   category: workload
#   kinds: [core/ConfigMap]
#   fix: There is no fix.
package gatepost.rules.endless

violation contains {"message": "counted to the end", "path": ["data"]} if {
	input.object.data.rule == "endless"
	found := [a | some a in numbers.range(1, 10000); some b in numbers.range(1, 10000); a * b < 0]
	count(found) == 0
}
"#;

const ENDLESS_POLICY: &str = "apiVersion: gatepost.dev/v1alpha1
kind: Policy
metadata: {name: endless}
spec: {rules: [{id: endless}]}
";

/// Asserts that an answer says of the rule that it could not be judged, not that it was broken.
#[track_caller]
fn says_that_it_ran_out(answer: &Answer) {
    let words = ["out of time", "stopped after", "budget", "could not be judged", "could not be evaluated"];
    assert!(answer.stderr.contains("endless") && words.iter().any(|words| answer.stderr.contains(words)), "{answer}");
    assert!(!answer.stderr.contains("counted to the end"), "{answer}");
}

#[test]
fn a_rule_out_of_budget_is_a_warning_under_warn() {
    let Some(gatepost) = Gatepost::start(&Options { policies: ENDLESS_POLICIES, ..Options::default() }) else { return };
    let shop = gatepost.namespace("shop", &["warn=endless"]);
    let answer = shop.accepts(create(&config_map("spin", "rule", "endless")));
    answer.warns_of("endless");
    says_that_it_ran_out(&answer);
    shop.accepts(create(&config_map("rest", "rule", "none"))).is_silent();
}

#[test]
fn a_rule_out_of_budget_denies_under_enforce_and_says_so() {
    let Some(gatepost) = Gatepost::start(&Options { policies: ENDLESS_POLICIES, ..Options::default() }) else { return };
    let shop = gatepost.namespace("shop", &["enforce=endless"]);
    let answer = shop.rejects(create(&config_map("spin", "rule", "endless")));
    answer.denies_for("endless");
    says_that_it_ran_out(&answer);
    shop.accepts(create(&config_map("rest", "rule", "none"))).is_silent();
}
