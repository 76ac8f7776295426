//! Findings in groups: how many there are of each, the largest first, and by severity.

use std::collections::BTreeMap;

use super::facets::Choice;
use super::findings::{Part, bar};
use super::links::Place;
use super::words::{count, number};
use crate::engine::Catalogue;
use crate::policy::Severity;
use crate::scan::problem::Problem;
use crate::store::{Facet, Filter, Store};

/// Groups that are shown, and that are counted.
const SHOWN: usize = 200;
const COUNTED: usize = 100_000;
/// What findings may be grouped by: the word of the address, and of the page.
pub const GROUPINGS: [(&str, &str); 5] = [
    ("rule", "Rule"),
    ("namespace", "Namespace"),
    ("owner", "Owner"),
    ("application", "Application"),
    ("kind", "Kind"),
];

/// Findings in groups.
#[derive(Default)]
pub struct Groups {
    /// The largest of them.
    pub shown: Vec<Group>,
    /// How many more there are; empty where these are all.
    pub more: String,
}

/// Findings that have something in common.
pub struct Group {
    /// What that is.
    pub label: String,
    /// More about it.
    pub note: String,
    /// Where they are listed; empty where no filter finds them.
    pub href: String,
    /// How many.
    pub total: String,
    /// By severity.
    pub bar: Vec<Part>,
}

/// Returns what the page's findings may be grouped by.
pub fn groupings(place: &Place) -> Vec<Choice> {
    let none = Choice {
        label: "None".to_owned(),
        count: String::new(),
        href: place.without("group").href(),
        is_chosen: place.list("group").is_empty(),
    };
    let each = GROUPINGS.iter().map(|(word, label)| Choice {
        label: (*label).to_owned(),
        count: String::new(),
        href: place.without("sort").with("group", word).href(),
        is_chosen: place.has("group", word),
    });
    std::iter::once(none).chain(each).collect()
}

/// Returns what a word of the address groups by.
fn facet(word: &str) -> Facet {
    match word {
        "rule" => Facet::Rule,
        "namespace" => Facet::Namespace,
        "owner" => Facet::Owner,
        "application" => Facet::Application,
        _ => Facet::Kind,
    }
}

/// Counts findings in groups; the severities of those that are shown, however many others there are.
pub async fn groups(
    store: &dyn Store,
    filter: &Filter,
    catalogue: &Catalogue,
    place: &Place,
    word: &str,
) -> Result<Groups, Problem> {
    let facet = facet(word);
    let mut counts = store.facet(filter, facet, COUNTED).await?;
    let more = counts.len().saturating_sub(SHOWN);
    counts.truncate(SHOWN);
    let mut of_shown = filter.clone();
    if let Some(values) = of_shown.part(facet).filter(|_| more > 0) {
        *values = counts.iter().map(|(value, _)| value.clone()).collect();
    }
    let pairs = store.cross(&of_shown, [facet, Facet::Severity], SHOWN.saturating_mul(Severity::ALL.len())).await?;
    let mut severities: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (value, severity, findings) in pairs {
        severities.entry(value).or_default().insert(severity, findings);
    }
    let mut objects = if facet == Facet::Owner { of_owners(store, &of_shown).await? } else { BTreeMap::new() };
    let group = |(value, total): (String, u64)| {
        let bar = bar(&severities.remove(&value).unwrap_or_default());
        let objects = objects.remove(&value);
        let group = group(value, total, bar, catalogue, place, word);
        Group { note: objects.unwrap_or(group.note), ..group }
    };
    let more = if more > 0 { number(u64::try_from(more).unwrap_or(u64::MAX)) } else { String::new() };
    Ok(Groups { shown: counts.into_iter().map(group).collect(), more })
}

/// Words the objects of each owner: `12 Pods`.
async fn of_owners(store: &dyn Store, filter: &Filter) -> Result<BTreeMap<String, String>, Problem> {
    let mut objects: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (owner, kind, number) in store.owned(filter).await? {
        objects.entry(owner).or_default().push(count(number, &kind, &plural(&kind)));
    }
    Ok(objects.into_iter().map(|(owner, kinds)| (owner, kinds.join(", "))).collect())
}

/// Returns what several objects of a kind are called.
fn plural(kind: &str) -> String {
    match kind.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with(['s', 'x']) => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

fn group(value: String, total: u64, bar: Vec<Part>, catalogue: &Catalogue, place: &Place, word: &str) -> Group {
    let title = (word == "rule").then(|| catalogue.rule(&value).ok().map(|rule| rule.title.clone())).flatten();
    let parameter = GROUPINGS.iter().map(|(known, _)| *known).find(|known| *known == word);
    let at = parameter.filter(|_| !value.is_empty()).map(|name| place.without("group").with(name, &value));
    Group {
        label: if value.is_empty() { nobody(word).to_owned() } else { value },
        note: title.unwrap_or_default(),
        href: at.map(|at| at.href()).unwrap_or_default(),
        total: number(total),
        bar,
    }
}

/// Returns what findings are called that have nothing to be grouped by.
fn nobody(word: &str) -> &'static str {
    match word {
        "namespace" => "outside any namespace",
        "application" => "delivered by no application",
        "owner" => "owned by no other object",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::plural;

    #[test]
    fn kinds_have_their_plural() {
        for (kind, several) in [("Pod", "Pods"), ("NetworkPolicy", "NetworkPolicies"), ("Ingress", "Ingresses")] {
            assert_eq!(plural(kind), several);
        }
        assert_eq!(plural("Gateway"), "Gateways");
    }
}
