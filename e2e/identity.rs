//! Bearer tokens of the cluster at the API: who they belong to is the API server's say, what they may its roles'.

use serde_json::{Value, json};

use crate::support::objects::{Object, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, http, kubectl};

#[test]
fn a_kubernetes_token_reads_the_namespaces_that_its_roles_let_it_read() {
    let arguments = &["--audit-interval", "2s"];
    let Some(gatepost) = Gatepost::start(&Options { arguments, ..Options::default() }) else { return };
    let address = gatepost.serving().http().expect("an address");
    let (seen, hidden) = (gatepost.namespace("read-seen", &[]), gatepost.namespace("read-hidden", &[]));
    for there in [&seen, &hidden] {
        there.accepts(apply(&untagged("web")));
    }
    seen.accepts(kubectl("create serviceaccount reader"));
    let token = |audience: &str| {
        let made = seen.accepts(kubectl(&format!("create token reader --audience={audience}")));
        made.stdout.trim().to_owned()
    };
    let of_us = token("gatepost");
    let ask = |token: &str| http::shown_to(&address, "/api/v1/findings?limit=1000", token).expect("an answer");
    assert_eq!(ask(&of_us).0, 403, "no role lets it read");
    assert_eq!(ask(&token("https://kubernetes.default.svc")).0, 401, "it is for another server");
    assert_eq!(ask("eyJhbGciOi.eyJpc3MiOi.c2ln").0, 401);

    // kubectl makes no role for what the API server does not serve itself.
    let rules = json!([{"apiGroups": ["gatepost.dev"], "resources": ["findings"], "verbs": ["get"]}]);
    seen.accepts(apply(&Object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "findings"}, "rules": rules,
    }))));
    let account = format!("{}:reader", seen.name);
    seen.accepts(kubectl(&format!("create rolebinding findings --role=findings --serviceaccount={account}")));
    let namespaces = || -> Option<Vec<String>> {
        // What the cluster said of a token holds for a minute; another token is asked about anew.
        let (status, body) = ask(&token("gatepost"));
        let answer: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        let found = answer["items"].as_array()?.iter();
        let mut found: Vec<String> =
            found.map(|finding| finding["resource"]["namespace"].as_str().unwrap_or_default().to_owned()).collect();
        found.dedup();
        (!found.is_empty()).then_some(found)
    };
    let found = eventually("it may read where its role lets it", namespaces);
    assert_eq!(found, [&*seen.name]);
}
