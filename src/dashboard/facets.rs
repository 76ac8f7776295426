//! Menus of a list: each value with how many there are, and what choosing it leads to.

use super::links::Place;
use super::words::number;
use crate::scan::problem::Problem;
use crate::store::{Facet, Filter, Store};

/// Values of a menu.
const LONGEST: usize = 60;

/// One value of a menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it is called.
    pub label: String,
    /// How many there are; nothing where that is not known.
    pub count: String,
    /// Where choosing it, or giving it up, leads.
    pub href: String,
    /// Whether it is chosen.
    pub is_chosen: bool,
}

/// A menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// What it is called.
    pub label: &'static str,
    /// How many are chosen.
    pub chosen: usize,
    /// Its values.
    pub choices: Vec<Choice>,
}

/// A filter that is in force, and the address without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// The filter's name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// The page without it.
    pub href: String,
}

/// A filter that findings are counted by: its parameter, its menu, and what it counts.
pub struct Counted {
    /// The query parameter.
    pub parameter: &'static str,
    /// The menu's name.
    pub label: &'static str,
    /// What is counted.
    pub facet: Facet,
    /// The part of a filter that it is.
    pub part: fn(&mut Filter) -> &mut Vec<String>,
}

/// Every filter that is counted.
pub const COUNTED: [Counted; 4] = [
    Counted {
        parameter: "namespace",
        label: "Namespace",
        facet: Facet::Namespace,
        part: |filter| &mut filter.namespace,
    },
    Counted { parameter: "rule", label: "Rule", facet: Facet::Rule, part: |filter| &mut filter.rule },
    Counted { parameter: "kind", label: "Kind", facet: Facet::Kind, part: |filter| &mut filter.kind },
    Counted {
        parameter: "application",
        label: "Application",
        facet: Facet::Application,
        part: |filter| &mut filter.application,
    },
];

/// Returns how many there are of each value as if nothing had been chosen of this filter.
pub async fn counts(
    store: &dyn Store,
    filter: &Filter,
    facet: Facet,
    part: fn(&mut Filter) -> &mut Vec<String>,
) -> Result<Vec<(String, u64)>, Problem> {
    let mut open = filter.clone();
    part(&mut open).clear();
    Ok(store.facet(&open, facet, LONGEST).await?)
}

/// Builds the menu of a counted filter; what is chosen is there even where nothing is left of it.
pub async fn menu(store: &dyn Store, filter: &Filter, counted: &Counted, place: &Place) -> Result<Menu, Problem> {
    let found = counts(store, filter, counted.facet, counted.part).await?;
    let chosen = place.list(counted.parameter);
    let gone = chosen.iter().filter(|value| !found.iter().any(|(known, _)| known == *value));
    let all = gone.map(|value| (value.clone(), 0)).chain(found.iter().filter(|(value, _)| !value.is_empty()).cloned());
    let choices = all.map(|(value, findings)| Choice {
        href: place.toggled(counted.parameter, &value).href(),
        is_chosen: place.has(counted.parameter, &value),
        count: number(findings),
        label: value,
    });
    Ok(Menu { label: counted.label, chosen: chosen.len(), choices: choices.collect() })
}

/// Builds a menu of known words, which nobody counts.
pub fn words(label: &'static str, parameter: &'static str, words: &[(&'static str, &str)], place: &Place) -> Menu {
    let choices = words.iter().map(|(value, label)| Choice {
        label: (*label).to_owned(),
        count: String::new(),
        href: place.toggled(parameter, value).href(),
        is_chosen: place.has(parameter, value),
    });
    Menu { label, chosen: place.list(parameter).len(), choices: choices.collect() }
}

/// Builds a menu of names, which nobody counts.
pub fn names(label: &'static str, parameter: &'static str, names: &[&str], place: &Place) -> Menu {
    let choices = names.iter().map(|name| Choice {
        label: (*name).to_owned(),
        count: String::new(),
        href: place.toggled(parameter, name).href(),
        is_chosen: place.has(parameter, name),
    });
    Menu { label, chosen: place.list(parameter).len(), choices: choices.collect() }
}

/// Returns a tab for each state, and one for all of them before.
pub fn states(states: &[(&str, &str)], place: &Place) -> Vec<Choice> {
    let tab = |label: &str, at: Place| Choice {
        label: label.to_owned(),
        count: String::new(),
        is_chosen: at.list("state") == place.list("state"),
        href: at.href(),
    };
    let each = states.iter().map(|(label, state)| tab(label, place.with("state", state)));
    std::iter::once(tab("All", place.without("state"))).chain(each).collect()
}

/// Returns the filters in force.
pub fn chips(place: &Place, names: &[(&'static str, &'static str)]) -> Vec<Chip> {
    let of = |(parameter, name): &(&'static str, &'static str)| {
        let each = place.list(parameter).iter().map(|value| {
            let left = if *parameter == "text" { place.without(parameter) } else { place.toggled(parameter, value) };
            Chip { name, value: value.clone(), href: left.href() }
        });
        each.collect::<Vec<_>>()
    };
    names.iter().flat_map(of).collect()
}
