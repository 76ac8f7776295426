//! From warn to enforce: the policy of what nothing breaks, and what it denies once it is enforced.

use std::fs;
use std::process::Command;

use crate::support::objects::{privileged, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, create, http, kubectl};

const OWN: (&str, &str) = (
    "own.yaml",
    "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: own}\nspec: {rules: [{id: container-image-tag}]}\n",
);

/// Runs gatepost, and returns its exit code and what it printed.
fn gatepost_prints(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    let output = command.args(arguments).output().expect("gatepost runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() || text.is_empty(), "{text}");
    (output.status.code(), text)
}

#[test]
fn the_policy_of_what_nothing_breaks_is_loaded_and_denies_only_what_is_new() {
    let (arguments, policies) = (&["--audit-interval", "2s"], &[OWN]);
    let Some(gatepost) = Gatepost::start(&Options { policies, arguments, ..Options::default() }) else { return };
    let shop = gatepost.namespace("suggested", &[]);
    shop.accepts(apply(&untagged("web")));
    let (data, globs) = (gatepost.serving().directory().join("data"), format!("{}*", shop.name));
    let suggest = ["policies", "suggest", "--from-audit", "--namespace", &globs, "--data-dir"];
    let has = |yaml: &str, rule: &str| yaml.contains(&format!("\n  - id: {rule} #"));
    let left = format!("# - id: container-image-tag # high, 1 finding, 0 objects pass: {} Deployment/web", shop.name);
    let yaml = eventually("an audit that found it", || {
        let (_, yaml) = gatepost_prints(&[&suggest[..], &[data.to_str().expect("a path")]].concat());
        (yaml.contains(&left) && has(&yaml, "container-privileged")).then_some(yaml)
    });
    assert!(!has(&yaml, "container-image-tag"), "{yaml}");
    let path = format!("/api/v1/suggestions?format=yaml&namespace={globs}");
    let told = http::body_of(&gatepost.serving().http().expect("an address"), &path).expect("an answer");
    assert_eq!(told.lines().filter(|line| line.contains(" id: ")).count(), yaml.matches(" id: ").count(), "{told}");

    let directory = gatepost.serving().directory().join("suggested");
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join("ready.yaml"), &yaml).expect("a file");
    let (code, listed) = gatepost_prints(&["policies", "list", "--policies", directory.to_str().expect("a path")]);
    assert!(code == Some(0) && listed.contains("\nready ("), "{listed}");

    gatepost.mount_policies(&[OWN, ("ready.yaml", &yaml)]);
    let label = format!("label namespace {} gatepost.dev/enforce=ready", shop.name);
    eventually("the policy to be in force", || gatepost.kubectl().run(kubectl(&label)).succeeded().then_some(()));
    eventually("it to be enforced", || {
        let answer = shop.run(create(&privileged("root")).dry_run());
        answer.denial().is_some_and(|denial| denial.contains("container-privileged")).then_some(())
    });
    shop.accepts(apply(&untagged("other")));
}
