//! How rules stand in what a reader sees: what the last audit counted, what is open, and where nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::caveats::unless_away;
use super::nothing::{Nothing, nothing_yet};
use super::words::{at_least, count, number};
use crate::policy::{Group, NamespaceMeta};
use crate::report::suggest::{Reach, RuleStanding, Wanted, reach};
use crate::scan::access::Caller;
use crate::scan::lists::visible;
use crate::scan::problem::Problem;
use crate::scan::{ApiState, Kept};
use crate::store::{Audit, AuditState, Facet, Filter, PageQuery, RuleSum, TimeSort};
use crate::webhook::in_force::InForce;

/// Rules that are counted, at most.
const RULES: usize = 5000;

/// How a rule stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Objects that pass.
    pub passed: u64,
    /// Objects that break it.
    pub failed: u64,
    /// Objects that could not be judged by it.
    pub skipped: u64,
    /// Objects that an exemption excuses.
    pub exempt: u64,
    /// Open findings.
    pub findings: u64,
    /// In how many namespaces nothing asks for it.
    pub unjudged: u64,
}

/// How every rule stands, and how far that goes.
#[derive(Debug, Default)]
pub struct Known {
    rules: BTreeMap<String, Standing>,
    /// Whether the last audit could not read everything.
    pub is_partial: bool,
    /// Whether the reader sees some namespaces only.
    pub is_limited: bool,
}

/// What can be said of rules.
#[derive(Debug, Default)]
pub struct Standings {
    /// Why nothing is known, where that is not for now.
    pub nothing: Option<Nothing>,
    /// What is known; none where nothing is, or the store does not answer.
    pub known: Option<Known>,
}

/// How far a policy could be enforced.
#[derive(Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The banner's tone.
    pub tone: &'static str,
    /// In a few words.
    pub title: String,
    /// What that means.
    pub text: String,
}

impl Standings {
    /// Reads how rules stand in what somebody sees.
    pub async fn read(state: &ApiState, caller: &Caller) -> Result<Self, Problem> {
        let Some(kept) = &state.kept else { return Ok(Self::default()) };
        Ok(unless_away(Self::of(state, kept, caller).await)?.unwrap_or_default())
    }

    async fn of(state: &ApiState, kept: &Kept, caller: &Caller) -> Result<Self, Problem> {
        let audit = match last_audit(state, kept).await? {
            Ok(audit) => audit,
            Err(nothing) => return Ok(Self { nothing: Some(nothing), known: None }),
        };
        let filter = Filter { visible: visible(&state.app, caller), ..Filter::default() };
        let sums = kept.store.rule_sums(&filter, audit.id).await?.into_iter();
        let mut rules: BTreeMap<String, Standing> = sums.map(|sum| (sum.rule.clone(), Standing::from(sum))).collect();
        let open = Filter { state: vec!["open".into()], ..filter };
        for (rule, findings) in kept.store.facet(&open, Facet::Rule, RULES).await? {
            rules.entry(rule).or_default().findings = findings;
        }
        let in_force = state.app.in_force.load();
        let judged: BTreeSet<String> = kept.store.judged_namespaces().await?.into_iter().collect();
        let groups = state.app.groups(&in_force);
        let mut namespaces = state.app.known_namespaces(&in_force);
        namespaces.retain(|meta| caller.sees(&meta.name) && groups.of(&meta.name) != Group::System);
        add_unjudged(&mut rules, &in_force, &namespaces, &judged);
        let is_limited = caller.globs().is_some();
        let known = Known { rules, is_partial: audit.state == AuditState::Partial, is_limited };
        Ok(Self { nothing: None, known: Some(known) })
    }
}

/// Returns the last audit that went through, or why there is none.
pub async fn last_audit(state: &ApiState, kept: &Kept) -> Result<Result<Audit, Nothing>, Problem> {
    if let Some(nothing) = nothing_yet(state).await? {
        return Ok(Err(nothing));
    }
    let filter = Filter { state: ["complete", "partial"].map(str::to_owned).to_vec(), ..Filter::default() };
    let page = kept.store.audits(&PageQuery { filter, sort: TimeSort::Newest, cursor: None, limit: 1 }).await?;
    Ok(page.items.into_iter().next().ok_or_else(Nothing::stopped))
}

impl From<RuleSum> for Standing {
    fn from(RuleSum { passed, failed, skipped, exempt, .. }: RuleSum) -> Self {
        Self { passed, failed, skipped, exempt, ..Self::default() }
    }
}

/// Adds in how many namespaces nothing asks for each rule. One without anything that was looked at counts only where
/// nothing is asked there at all: there is nothing else in it that anybody could judge.
fn add_unjudged(
    rules: &mut BTreeMap<String, Standing>,
    in_force: &InForce,
    namespaces: &[Arc<NamespaceMeta>],
    judged: &BTreeSet<String>,
) {
    let mut alike: BTreeMap<BTreeSet<Arc<str>>, u64> = BTreeMap::new();
    for namespace in namespaces {
        let policies = in_force.audited_policies(namespace);
        if policies.is_empty() || judged.contains(&namespace.name) {
            let number = alike.entry(policies).or_default();
            *number = number.saturating_add(1);
        }
    }
    for (policies, number) in alike {
        let asked = in_force.bundle.rules_of(policies.iter().map(|policy| &**policy));
        for rule in in_force.bundle.catalogue().rules().keys().filter(|rule| !asked.contains(*rule)) {
            let standing = rules.entry(rule.to_string()).or_default();
            standing.unjudged = standing.unjudged.saturating_add(number);
        }
    }
}

impl Standing {
    /// Returns how near the rule is to being enforced, as things stand.
    pub fn reach(&self) -> Reach {
        let Self { passed, exempt, findings, unjudged, .. } = *self;
        let standing = RuleStanding { passed, exempt, findings, unjudged, ..RuleStanding::default() };
        reach(&standing, Wanted { days: 0, few: 0, now: Timestamp::UNIX_EPOCH })
    }

    /// Returns whether no object was there that it looks at.
    pub const fn is_unmatched(&self) -> bool {
        let Self { passed, failed, skipped, exempt, .. } = *self;
        passed == 0 && failed == 0 && skipped == 0 && exempt == 0
    }

    /// Words what the last audit counted: `12 pass, 3 fail`.
    pub fn objects(&self) -> String {
        let parts = [
            (self.passed, if self.passed == 1 { "passes" } else { "pass" }),
            (self.failed, if self.failed == 1 { "fails" } else { "fail" }),
            (self.exempt, "exempt"),
            (self.skipped, "not judged"),
        ];
        let counted = parts.into_iter().filter(|(objects, _)| *objects > 0);
        let counted: Vec<String> = counted.map(|(objects, word)| format!("{} {word}", number(objects))).collect();
        if counted.is_empty() { "never matched an object".to_owned() } else { counted.join(", ") }
    }

    /// Words where nobody knows; empty where somebody does everywhere.
    pub fn gaps(&self) -> String {
        match self.unjudged {
            0 => String::new(),
            namespaces => format!("not judged in {}", count(namespaces, "namespace", "namespaces")),
        }
    }
}

impl Known {
    /// Returns how a rule stands.
    pub fn of(&self, rule: &str) -> Standing {
        self.rules.get(rule).cloned().unwrap_or_default()
    }

    /// Words a count, which is at least what was counted where something was not read.
    pub fn count(&self, value: u64) -> String {
        at_least(&number(value), self.is_partial)
    }

    const fn within(&self) -> &'static str {
        if self.is_limited { " in what you see" } else { "" }
    }

    /// Says what it means that a rule has no findings.
    pub fn verdict(&self, rule: &str) -> String {
        let (standing, within) = (self.of(rule), self.within());
        match standing.reach() {
            Reach::Unjudged => format!(
                "No finding{within}, but it is {}, so nobody knows what breaks it there: put a policy that has it into \
                 audit.policies.",
                standing.gaps()
            ),
            Reach::Untried => format!("It never looked at an object{within}, so nothing is known of it."),
            _ if self.is_partial => {
                format!("Nowhere{within} that could be read; the last audit could not read everything.")
            }
            _ if self.is_limited => "Nowhere in what you see: it can be enforced there now.".to_owned(),
            _ => "Nowhere: it can be enforced now.".to_owned(),
        }
    }

    /// Says how far a policy of these rules could be enforced.
    pub fn outlook<'a>(&self, rules: impl IntoIterator<Item = &'a str>) -> Outlook {
        let mut reaches: BTreeMap<Reach, u64> = BTreeMap::new();
        for rule in rules {
            let number = reaches.entry(self.of(rule).reach()).or_default();
            *number = number.saturating_add(1);
        }
        let of = |reach: Reach| reaches.get(&reach).copied().unwrap_or_default();
        let (all, ready) = (reaches.values().copied().fold(0, u64::saturating_add), of(Reach::Ready));
        let within = self.within();
        if ready == all && !self.is_partial {
            let text = format!("All of its rules pass everywhere{within}: it can be enforced{} now.", {
                if self.is_limited { " there" } else { "" }
            });
            return Outlook { tone: "good", title: format!("Nothing here breaks it{within}"), text };
        }
        let mut text = if self.is_partial {
            "The last audit could not read everything, so nobody knows what else breaks them.".to_owned()
        } else {
            "Those can be enforced now without denying anything that stands.".to_owned()
        };
        let others = [
            (of(Reach::Far), "with findings"),
            (of(Reach::Unjudged), "not judged in every namespace"),
            (of(Reach::Untried), "that never looked at an object"),
        ];
        let others = others.into_iter().filter(|(rules, _)| *rules > 0);
        let others: Vec<String> = others.map(|(rules, what)| format!("{} {what}", number(rules))).collect();
        if !others.is_empty() {
            text = format!("{text} The others: {}.", others.join(", "));
        }
        let passes = if self.is_partial { "pass where they were looked at" } else { "pass everywhere" };
        let title = format!("{} of {} {passes}{within}", number(ready), count(all, "rule", "rules"));
        Outlook { tone: "", title, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_and_that_nothing_was() {
        let standing = Standing { passed: 6, failed: 1, skipped: 1, exempt: 1, ..Standing::default() };
        assert_eq!(standing.objects(), "6 pass, 1 fails, 1 exempt, 1 not judged");
        assert_eq!(Standing::default().objects(), "never matched an object");
    }

    #[test]
    fn nothing_is_said_to_be_ready_where_nobody_knows() {
        let passing = Standing { passed: 3, ..Standing::default() };
        for (standing, is_partial, is_limited, expected) in [
            (passing.clone(), false, false, "Nowhere: it can be enforced now."),
            (passing.clone(), false, true, "Nowhere in what you see: it can be enforced there now."),
            (passing.clone(), true, false, "Nowhere that could be read; the last audit could not read everything."),
            (Standing::default(), false, false, "It never looked at an object, so nothing is known of it."),
            (
                Standing { unjudged: 2, ..passing },
                false,
                false,
                "No finding, but it is not judged in 2 namespaces, so nobody knows what breaks it there: put a policy \
                 that has it into audit.policies.",
            ),
        ] {
            let rules = BTreeMap::from([("x".to_owned(), standing)]);
            assert_eq!(Known { rules, is_partial, is_limited }.verdict("x"), expected);
        }
    }

    #[test]
    fn a_policy_is_ready_when_each_of_its_rules_is() {
        let rules = BTreeMap::from([
            ("passes".to_owned(), Standing { passed: 3, ..Standing::default() }),
            ("broken".to_owned(), Standing { passed: 3, failed: 1, findings: 2, ..Standing::default() }),
            ("unasked".to_owned(), Standing { passed: 3, unjudged: 1, ..Standing::default() }),
        ]);
        let mut known = Known { rules, ..Known::default() };
        assert_eq!(known.outlook(["passes"]).text, "All of its rules pass everywhere: it can be enforced now.");
        let some = known.outlook(["passes", "broken", "unasked", "untried"]);
        assert_eq!((some.tone, &*some.title), ("", "1 of 4 rules pass everywhere"));
        let others = "1 with findings, 1 not judged in every namespace, 1 that never looked at an object.";
        assert!(some.text.ends_with(others), "{}", some.text);
        known.is_partial = true;
        let partial = known.outlook(["passes"]);
        assert_eq!((partial.tone, &*partial.title), ("", "1 of 1 rule pass where they were looked at"));
        assert_eq!(known.count(7), "≥ 7");
    }
}
