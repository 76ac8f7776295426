//! Addresses of pages: what is asked for stands in the query, under the API's names.

use std::fmt::Write as _;

use crate::scan::endpoint::{Endpoint, Query};

/// Parameters that say where in a list one is, and not what the list holds.
const PLACES: [&str; 3] = ["cursor", "limit", "page"];

/// Returns a text as a part of a path or query.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// A list page's address: its path, and what it is narrowed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: &'static str,
    parameters: Vec<(&'static str, Vec<String>)>,
}

impl Place {
    /// Returns where a request is.
    pub fn of(endpoint: &Endpoint, query: &Query) -> Self {
        let given = endpoint.parameters().map(|parameter| (parameter.name, query.list(parameter.name).to_vec()));
        Self { path: endpoint.path, parameters: given.filter(|(_, values)| !values.is_empty()).collect() }
    }

    /// Returns the plain page.
    pub fn at(path: &'static str) -> Self {
        Self { path, parameters: Vec::new() }
    }

    /// Returns the path.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Returns the values of a parameter.
    pub fn list(&self, name: &str) -> &[String] {
        self.parameters.iter().find(|(known, _)| *known == name).map_or(&[], |(_, values)| values)
    }

    /// Returns whether a parameter has a value.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.list(name).iter().any(|known| known == value)
    }

    /// Returns the address with a parameter set to one value, and at its beginning.
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        self.set(name, vec![value.to_owned()])
    }

    /// Returns the address without a parameter, and at its beginning.
    pub fn without(&self, name: &'static str) -> Self {
        self.set(name, Vec::new())
    }

    /// Returns the address with a value added to a list, or taken out if it is there.
    pub fn toggled(&self, name: &'static str, value: &str) -> Self {
        let mut values = self.list(name).to_vec();
        if self.has(name, value) {
            values.retain(|known| known != value);
        } else {
            values.push(value.to_owned());
        }
        self.set(name, values)
    }

    /// Returns the page that goes on at a cursor.
    pub fn on(&self, cursor: &str) -> Self {
        self.with("cursor", cursor)
    }

    /// Returns what of the query says what is listed.
    pub fn kept(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let kept = self.parameters.iter().filter(|(name, _)| !PLACES.contains(name));
        kept.map(|(name, values)| (*name, values.join(",")))
    }

    fn set(&self, name: &'static str, values: Vec<String>) -> Self {
        let others = self.parameters.iter().filter(|(known, _)| *known != name && !PLACES.contains(known));
        let mut parameters: Vec<_> = others.cloned().collect();
        if !values.is_empty() {
            parameters.push((name, values));
        }
        Self { path: self.path, parameters }
    }

    /// Returns the address on another path, for example of the API.
    pub fn on_path(&self, path: &str) -> String {
        let each = self.parameters.iter().map(|(name, values)| {
            let values: Vec<String> = values.iter().map(|value| encoded(value)).collect();
            format!("{name}={}", values.join(","))
        });
        let query: Vec<String> = each.collect();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
    }

    /// Returns the address.
    pub fn href(&self) -> String {
        self.on_path(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_added_and_taken_out_and_lists_begin_again() {
        let place = Place::at("/findings").toggled("severity", "high").toggled("severity", "low").on("abc");
        assert_eq!(place.href(), "/findings?severity=high,low&cursor=abc");
        assert_eq!(place.toggled("severity", "high").href(), "/findings?severity=low");
        assert_eq!(place.without("severity").href(), "/findings");
        assert_eq!(place.with("text", "a b&c").href(), "/findings?severity=high,low&text=a%20b%26c");
        assert!(place.has("severity", "low") && !place.has("severity", "info"));
    }
}
