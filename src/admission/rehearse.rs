//! How a message of a policy reads, as people in front of kubectl see it: on an example of the rule that breaks it.

use std::sync::Arc;
use std::time::Duration;

use super::decide::{Action, Told, What};
use super::decision::{Decision, Reason};
use super::fixture;
use super::speak;
use crate::engine::{Budget, Check, Input, Judgement, Limits, Machines, Review, Violation, judge};
use crate::policy::Fixture;
use crate::policy::set::Entry;
use crate::report::finding;
use crate::report::message::render_message;
use crate::report::redact::Redactor;

/// What people read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// The object of the example, such as `Deployment/web`.
    pub subject: String,
    /// The warnings.
    pub warnings: Vec<String>,
    /// The denial.
    pub denial: String,
}

/// Returns what people would read of an entry of a policy; none where no example of the rule breaks it.
///
/// The words are those of admission, shortened as it shortens them.
pub fn rehearse(
    policy: &Arc<str>,
    check: &Arc<Check>,
    entry: &Entry,
    limits: Limits,
    machines: &mut Machines,
) -> Option<Rehearsed> {
    let rule = &check.rule.rule;
    let bad = rule.fixtures.iter().filter(|fixture| !fixture.passes);
    let reviews = bad.flat_map(|Fixture { source, .. }| fixture::reviews(rule, &source.text).unwrap_or_default());
    let checks = [check.clone()];
    for review in reviews {
        let budget = Budget { limits, remaining: &|| Duration::MAX };
        let judged = judge(&Input::new(&review), &checks, machines, &budget);
        let violations: Vec<&Violation> = judged.iter().flat_map(Judgement::violations).collect();
        if violations.is_empty() {
            continue;
        }
        let of = |action| decision(policy, check, entry, action, &review, &violations);
        let warned = of(Action::Warn);
        return Some(Rehearsed {
            warnings: speak::warnings(&warned, None),
            denial: speak::denial(&of(Action::Deny), None),
            subject: warned.subject,
        });
    }
    None
}

fn decision(
    policy: &Arc<str>,
    check: &Check,
    entry: &Entry,
    action: Action,
    review: &Review,
    violations: &[&Violation],
) -> Decision {
    let redactor = Redactor::of_all([&review.object, &review.old_object]);
    let tell = |violation: &&Violation| Told {
        rule: check.rule_id().clone(),
        policy: policy.clone(),
        severity: entry.severity,
        action,
        what: What::Violation(Violation {
            message: redactor.redact(render_message(entry, violation, review)),
            path: redactor.redact_path(&violation.path),
            ..(*violation).clone()
        }),
        place: finding::place(&violation.path, &review.object),
        denied_from: None,
        under_break_glass: false,
    };
    Decision {
        allowed: action != Action::Deny,
        reason: Reason::Judged,
        subject: format!("{}/{}", review.kind.kind, review.name()),
        told: violations.iter().map(tell).collect(),
        exempted: Vec::new(),
        notices: Vec::new(),
        write: None,
        break_glass: None,
        deferred: None,
        repeats: Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use super::*;
    use crate::engine::{BackendChoice, Bundle, Catalogue, ProgramCache};

    #[test]
    fn a_message_reads_as_admission_tells_it_and_every_rule_has_an_example() {
        let bundle = Catalogue::read(&[])
            .and_then(|catalogue| Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven))
            .unwrap();
        let policy: Arc<str> = "own".into();
        let limits = Limits { time: Duration::from_secs(10), instructions: 5_000_000 };
        let mut machines = Machines::default();
        let mut said = |rule: &str, message: Option<&str>| {
            let check = bundle.checks().iter().find(|check| check.rule_id().as_str() == rule).unwrap();
            let entry = Entry { message: message.map(Into::into), ..Entry::of(&check.rule.rule) };
            rehearse(&policy, check, &entry, limits, &mut machines)
        };
        let own =
            said("container-image-tag", Some("{{container}} of {{kind}} {{name}}: ask #images for a tag")).unwrap();
        assert!(
            own.warnings[0].starts_with(&format!("gatepost: {}: container-image-tag (high): ", own.subject)),
            "{own:?}"
        );
        assert!(own.warnings[0].contains(": ask #images for a tag") && !own.warnings[0].contains("{{"), "{own:?}");
        assert!(
            own.denial.starts_with(&format!("{}: container-image-tag (high) in container ", own.subject)),
            "{own:?}"
        );
        let plain = said("container-image-tag", None).unwrap();
        assert!(plain.warnings[0].contains("nginx:1.27.3"), "{plain:?}");
        let long = said("container-image-tag", Some(&"x".repeat(4000))).unwrap();
        assert!(long.warnings[0].chars().count() <= 256, "{long:?}");
        let rules = bundle.policy("strict").unwrap().entries.keys().map(|check| &bundle.checks()[*check]);
        for rule in rules.map(|check| check.rule_id().to_string()).collect::<Vec<_>>() {
            assert!(said(&rule, Some("a message")).is_some(), "{rule}");
        }
    }
}
