//! Annotations by which an object says itself which rules it breaks: Datree's and Gatepost's own.

use std::sync::Arc;

use super::{Criteria, Exemption, ExemptionKind, ExemptionName, ExemptionSpec, Subject, Written};
use crate::policy::rule::{Rule, Source};

/// Datree's: the rule's identifier stands behind it, and the value is the reason.
const DATREE: &str = "datree.skip/";
/// Rules, with commas between them.
const SKIP: &str = "gatepost.dev/skip";
/// Why; without it the rules count.
const REASON: &str = "gatepost.dev/skip-reason";

/// Returns the exemption that an object's annotations are for a rule, by its id or another name; none without a reason.
pub fn skip<'a>(
    rule: &Rule,
    subject: &Subject<'_>,
    annotation: impl Fn(&str) -> Option<&'a str>,
) -> Option<Arc<Exemption>> {
    let names = || std::iter::once(&rule.id).chain(&rule.aliases);
    let datree = || names().find_map(|name| annotation(&format!("{DATREE}{}", name.as_str())));
    let own = || {
        let listed = annotation(SKIP)?.split(',').map(str::trim).any(|word| names().any(|name| name.as_str() == word));
        if listed { annotation(REASON) } else { None }
    };
    let reason = own().or_else(datree).map(str::trim).filter(|reason| !reason.is_empty())?;
    let name = ExemptionName {
        kind: ExemptionKind::Annotation,
        namespace: subject.namespace.unwrap_or_default().into(),
        name: subject.name.into(),
    };
    let source = Source::new("annotation", "");
    let written = Arc::new(Written { name: name.clone(), spec: ExemptionSpec::default(), source });
    Some(Arc::new(Exemption {
        name,
        rules: [rule.id.clone()].into(),
        criteria: Criteria::default(),
        reason: reason.into(),
        owner: "whoever wrote the object".into(),
        expires: None,
        written,
    }))
}
