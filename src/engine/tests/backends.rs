//! Which backend a rule runs on.

use super::*;

fn backend(bundle: &Bundle, id: &str) -> Backend {
    checks_of(bundle, &[id])[0].rule.program().backend()
}

#[test]
fn a_proven_built_in_runs_on_the_vm_and_a_users_rule_on_the_interpreter() {
    let replaced = Own::new("container-privileged", ALWAYS).source();
    let bundle = bundle_of(vec![Own::new("own", ALWAYS).source(), replaced]);
    assert_eq!(backend(&bundle, "own"), Backend::Interpreter);
    assert_eq!(backend(&bundle, "container-privileged"), Backend::Interpreter);
    assert_eq!(backend(&bundle, "container-image-tag"), Backend::Vm);
}

#[test]
fn a_built_in_that_changed_since_it_was_proven_runs_on_the_interpreter() {
    let catalogue = Catalogue::read(&[]).unwrap();
    let rule = catalogue.rule("container-privileged").unwrap();
    assert!(catalogue.is_proven_on_vm(rule));
    let source = Source::new(rule.source.file.clone(), format!("{}\n# changed", rule.source.text));
    assert!(!catalogue.is_proven_on_vm(&Rule { source, ..Rule::clone(rule) }));
}

#[test]
fn a_user_cannot_pass_a_copy_of_a_built_in_for_proven() {
    let catalogue = Catalogue::read(&[]).unwrap();
    let copy = catalogue.rule("container-privileged").unwrap().source.clone();
    assert_eq!(backend(&bundle_of(vec![copy]), "container-privileged"), Backend::Interpreter);
}
