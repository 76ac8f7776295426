//! `/decisions/{uid}`: what was answered to one request, and by which rules.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::decisions::{microseconds, requester, verdict};
use super::dress::page_of;
use super::findings::place;
use super::links::encoded;
use super::shell::{Crumb, Shell, Visit};
use super::words::When;
use crate::report::finding::Fingerprint;
use crate::scan::ApiState;
use crate::scan::access::Caller;
use crate::scan::endpoint::{Endpoint, Routes};
use crate::scan::problem::Problem;
use crate::store::{Decision, DecisionResult};

const DECISION: Endpoint = Endpoint {
    path: "/decisions/{uid}",
    about: "The page of one decision",
    gives: &["text/html"],
    statuses: &[200, 404],
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&DECISION, decision)
}

#[derive(Template)]
#[template(path = "decision.html")]
struct DecisionPage {
    shell: Shell,
    decision: Decision,
    verdict: (&'static str, &'static str),
    object: String,
    when: When,
    user: String,
    account: String,
    took: String,
    reason: String,
    results: Vec<Told>,
    object_href: String,
    namespace_href: String,
    /// Where the object can be tried; empty where none of it is kept.
    try_href: String,
}

/// Something that was told.
struct Told {
    severity: &'static str,
    action: (&'static str, &'static str),
    rule: String,
    rule_href: String,
    policy: String,
    place: String,
    message: String,
    is_error: bool,
    /// What excuses it; empty where nothing does.
    exemption: String,
    /// The finding that an audit made of it; empty where there is none.
    finding: String,
}

async fn decision(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    visit: Visit,
    Path(uid): Path<String>,
) -> Result<Response, Problem> {
    let kept = state.kept()?;
    let found = kept.store.decision(&uid).await?;
    let found = found.filter(|decision| caller.sees(&decision.namespace));
    let decision = found.ok_or_else(|| Problem::not_found("there is no such decision"))?;
    let (mut results, mut try_href) = (Vec::new(), String::new());
    for result in &decision.results {
        let id = fingerprint(&decision, result);
        let finding = kept.store.finding(&id).await?;
        results.push(Told::of(result, if finding.is_some() { format!("/findings/{id}") } else { String::new() }));
        if let Some(finding) = finding.filter(|_| try_href.is_empty())
            && kept.store.content(&finding.content).await?.is_some()
        {
            try_href = format!("/playground?finding={id}");
        }
    }
    let (user, account) = requester(&decision.user);
    let object = format!("{}/{}", decision.kind, decision.name);
    let crumbs = [Crumb::to("/decisions", "Decisions"), Crumb::here(&object)];
    // A Namespace is outside any: whoever sees what is in it has its own page.
    let (key, namespace_href) = (decision.object(), format!("/namespaces/{}", encoded(&decision.namespace)));
    page_of(&DecisionPage {
        shell: Shell::new(&state, &visit, &format!("Decision on {object}"), &crumbs).await,
        verdict: verdict(&decision),
        when: visit.when(decision.time),
        took: microseconds(decision.duration_us),
        reason: reason(&decision.reason),
        object_href: if caller.sees(&key.namespace) { super::resources::href(&key) } else { namespace_href.clone() },
        namespace_href,
        object,
        user,
        account,
        results,
        try_href,
        decision,
    })
}

fn fingerprint(decision: &Decision, result: &DecisionResult) -> Fingerprint {
    Fingerprint::new(&decision.object(), &result.rule.as_str().into(), &result.place)
}

impl Told {
    fn of(result: &DecisionResult, finding: String) -> Self {
        let severities = ["critical", "high", "medium", "low"];
        Self {
            severity: severities.into_iter().find(|word| *word == result.severity).unwrap_or("info"),
            action: match result.action.as_str() {
                _ if result.result == "exempt" => ("good", "exempt"),
                "deny" => ("deny", "denied"),
                "warn" => ("warn", "warned"),
                _ => ("record", "recorded"),
            },
            rule: result.rule.clone(),
            rule_href: format!("/rules/{}", encoded(&result.rule)),
            policy: result.policy.clone(),
            place: place(if result.place.is_empty() { &result.path } else { &result.place }),
            message: result.message.clone(),
            is_error: result.result == "error",
            exemption: result.exemption.clone(),
            finding,
        }
    }
}

/// Words why a request was answered as it was.
fn reason(reason: &str) -> String {
    let words = match reason {
        "judged" => "Its object was judged by the rules that the namespace asks for",
        "unchanged" => "The update changed nothing that is judged",
        "subresource" => "It was about a subresource, which is not judged",
        "no-rule" => "No rule in force looks at such an object",
        "namespace-fault" => "A label or annotation of the Namespace names nothing that there is",
        "not-authorized" => "It would have weakened a namespace's modes, which its requester may not do",
        other => other,
    };
    words.to_owned()
}
