//! Menus of a list: each value with how many there are, and what choosing it leads to.

use std::collections::BTreeSet;

use super::links::Place;
use super::words::number;
use crate::scan::problem::Problem;
use crate::store::{Facet, Filter, Store};

/// Values of a menu.
pub const LONGEST: usize = 60;
/// Values of a menu that says how many there are of each, the commonest first; others are written.
const COMMONEST: usize = 30;
/// Values that are offered while one writes.
pub const OFFERED: usize = 1000;

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
    /// Where another value is written, because these are not all.
    pub field: Option<Field>,
}

/// A field for a value that a menu does not list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The query parameter.
    pub parameter: &'static str,
    /// The page that it leads to.
    pub path: &'static str,
    /// What of the address stays as it is.
    pub hidden: Vec<(&'static str, String)>,
    /// Values that are offered while one writes.
    pub offered: Vec<String>,
}

impl Field {
    fn new(parameter: &'static str, place: &Place, offered: Vec<String>) -> Self {
        Self { parameter, path: place.path(), hidden: place.kept().collect(), offered }
    }
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
}

/// Every filter that is counted.
pub const COUNTED: [Counted; 4] = [
    Counted { parameter: "namespace", label: "Namespace", facet: Facet::Namespace },
    Counted { parameter: "rule", label: "Rule", facet: Facet::Rule },
    Counted { parameter: "kind", label: "Kind", facet: Facet::Kind },
    Counted { parameter: "application", label: "Application", facet: Facet::Application },
];

/// How many findings there are of each value, as if nothing had been chosen of the value's own filter.
pub struct Counts {
    /// Of each severity.
    pub severities: Vec<(String, u64)>,
    /// Of each action.
    pub actions: Vec<(String, u64)>,
    /// Of the values of each of [`COUNTED`].
    pub counted: Vec<Vec<(String, u64)>>,
}

/// Counts what a filter finds.
pub async fn counts(store: &dyn Store, filter: &Filter) -> Result<Counts, Problem> {
    let facets = [Facet::Severity, Facet::Action].into_iter().chain(COUNTED.iter().map(|counted| counted.facet));
    let asked: Vec<(Filter, Facet)> = facets.map(|facet| (filter.without(facet), facet)).collect();
    let mut found = store.facets(&asked, COMMONEST).await?.into_iter();
    let (severities, actions) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
    Ok(Counts { severities, actions, counted: found.collect() })
}

/// Builds the menu of a counted filter; what is chosen is there even where nothing is left of it.
pub fn menu(found: &[(String, u64)], counted: &Counted, place: &Place) -> Menu {
    let chosen = place.list(counted.parameter);
    let gone = chosen.iter().filter(|value| !found.iter().any(|(known, _)| known == *value));
    let all = gone.map(|value| (value.clone(), 0)).chain(found.iter().filter(|(value, _)| !value.is_empty()).cloned());
    let choices = all.map(|(value, findings)| Choice {
        href: place.toggled(counted.parameter, &value).href(),
        is_chosen: place.has(counted.parameter, &value),
        count: number(findings),
        label: value,
    });
    let field = (found.len() >= COMMONEST).then(|| Field::new(counted.parameter, place, Vec::new()));
    Menu { label: counted.label, chosen: chosen.len(), choices: choices.collect(), field }
}

/// Builds a menu of known words, which nobody counts.
pub fn words(label: &'static str, parameter: &'static str, words: &[(&'static str, &str)], place: &Place) -> Menu {
    let choices = words.iter().map(|(value, label)| Choice {
        label: (*label).to_owned(),
        count: String::new(),
        href: place.toggled(parameter, value).href(),
        is_chosen: place.has(parameter, value),
    });
    Menu { label, chosen: place.list(parameter).len(), choices: choices.collect(), field: None }
}

/// Builds a menu of names, which nobody counts. More than a menu can hold are offered while one writes.
pub fn names(label: &'static str, parameter: &'static str, names: &[&str], place: &Place) -> Menu {
    let all = sorted(names.iter().copied());
    if all.len() <= LONGEST {
        return menu_of(label, parameter, &all, place);
    }
    let offered = all.iter().take(OFFERED).map(|name| (*name).to_owned()).collect();
    Menu { field: Some(Field::new(parameter, place, offered)), ..menu_of(label, parameter, &[], place) }
}

/// Builds a menu of some names of more that there may be: others can be written.
pub fn some_names(label: &'static str, parameter: &'static str, names: &[&str], place: &Place) -> Menu {
    let mut known = sorted(names.iter().copied());
    known.truncate(LONGEST);
    Menu { field: Some(Field::new(parameter, place, Vec::new())), ..menu_of(label, parameter, &known, place) }
}

/// Builds a menu of names, and of what is chosen beside them.
fn menu_of(label: &'static str, parameter: &'static str, names: &[&str], place: &Place) -> Menu {
    let chosen = place.list(parameter);
    let choice = |name: &str| Choice {
        label: name.to_owned(),
        count: String::new(),
        href: place.toggled(parameter, name).href(),
        is_chosen: place.has(parameter, name),
    };
    let others = chosen.iter().map(String::as_str).filter(|name| !names.contains(name));
    let choices = sorted(others).into_iter().chain(names.iter().copied()).map(choice);
    Menu { label, chosen: chosen.len(), choices: choices.collect(), field: None }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(menu: &Menu) -> Vec<&str> {
        menu.choices.iter().map(|choice| choice.label.as_str()).collect()
    }

    #[test]
    fn names_are_in_order_and_beyond_what_a_menu_holds_one_is_written() {
        let place = Place::at("/decisions").toggled("namespace", "gone").with("state", "denied");
        let short = names("Namespace", "namespace", &["shop", "bank", "shop"], &place);
        assert_eq!((labels(&short), &short.field), (vec!["gone", "bank", "shop"], &None));
        let many: Vec<String> = (0..2000).rev().map(|number| format!("team-{number:04}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let long = names("Namespace", "namespace", &many, &place);
        assert_eq!(labels(&long), ["gone"], "what is chosen can be given up");
        let field = long.field.unwrap_or_else(|| Field::new("", &place, Vec::new()));
        assert_eq!((field.parameter, field.path, field.offered.len()), ("namespace", "/decisions", OFFERED));
        assert_eq!(field.offered.first().map(String::as_str), Some("team-0000"));
        assert_eq!(field.hidden, [("namespace", "gone".to_owned()), ("state", "denied".to_owned())]);
        let some = some_names("Source", "source", &["ci/shop"], &Place::at("/checks").toggled("source", "ci/bank"));
        assert_eq!((labels(&some), some.field.is_some()), (vec!["ci/bank", "ci/shop"], true));
    }
}
