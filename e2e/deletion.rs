//! Taking bad objects away must never be hindered.

use crate::support::objects::privileged;
use crate::support::{Gatepost, Options, apply, kubectl};
use crate::updates::enforced_too_late;

const WITH_DELETE: &[&str] = &["CREATE", "UPDATE", "DELETE"];

#[test]
fn a_bad_object_can_be_deleted() {
    let Some(gatepost) = Gatepost::start(&Options { operations: WITH_DELETE, ..Options::default() }) else { return };
    let shop = enforced_too_late(&gatepost, &["enforce-scope=all"]);
    // In the foreground: the garbage collector takes a finalizer off the bad object, which is an UPDATE.
    shop.accepts(kubectl("delete deployment/web --cascade=foreground --timeout=50s"));
    shop.rejects(apply(&privileged("web")));
}

#[test]
fn a_namespace_with_a_bad_object_can_be_deleted() {
    let Some(gatepost) = Gatepost::start(&Options { operations: WITH_DELETE, ..Options::default() }) else { return };
    let shop = enforced_too_late(&gatepost, &["enforce-scope=all"]);
    gatepost.kubectl().accepts(kubectl(&format!("delete namespace {} --timeout=50s", shop.name)));
}
