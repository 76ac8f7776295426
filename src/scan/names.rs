//! Which namespaces a filter means: names, globs such as `team-*`, and all but those behind a `!`.

use super::endpoint::Query;
use super::problem::{Flaw, Problem};
use crate::policy::authority::NamePattern;
use crate::webhook::handlers::App;

/// No namespace is called so: what a filter finds that means none.
const NOBODY: &str = "/";

/// The namespaces that a filter means.
#[derive(Debug, Default)]
pub struct Names {
    only: Vec<NamePattern>,
    not: Vec<NamePattern>,
    /// The words themselves, where each of them is a name.
    plain: Option<Vec<String>>,
}

impl Names {
    /// Reads the parameter `namespace`; a word that is no pattern is told.
    pub fn of(query: &Query) -> Result<Self, Problem> {
        let words = query.list("namespace");
        let (not, only): (Vec<&str>, Vec<&str>) =
            words.iter().map(String::as_str).partition(|word| word.starts_with('!'));
        let pattern = |word: &str| {
            let flaw = |cause| Problem::query(vec![Flaw::of_parameter("namespace", format!("namespace: {cause}"))]);
            NamePattern::new(word).map_err(flaw)
        };
        let is_name = |word: &String| !word.contains(['*', '?', '[', ']', '{', '}', '!', '\\']);
        Ok(Self {
            only: only.into_iter().map(pattern).collect::<Result<_, _>>()?,
            not: not.into_iter().map(|word| pattern(word.trim_start_matches('!'))).collect::<Result<_, _>>()?,
            plain: words.iter().all(is_name).then(|| words.to_vec()),
        })
    }

    /// Returns whether a namespace is meant; what is outside any is, where only others are left out.
    pub fn mean(&self, name: &str) -> bool {
        let is_one_of = |patterns: &[NamePattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.only.is_empty() || is_one_of(&self.only)) && !is_one_of(&self.not)
    }

    /// Returns the names that a store is asked for; nothing where all are meant. Patterns mean namespaces that are known.
    pub fn known(self, app: &App) -> Vec<String> {
        let of_known = || {
            let known = app.known_namespaces(&app.in_force.load());
            let names = known.iter().map(|namespace| namespace.name.as_str()).chain([""]);
            let meant: Vec<String> = names.filter(|name| self.mean(name)).map(str::to_owned).collect();
            if meant.is_empty() { vec![NOBODY.to_owned()] } else { meant }
        };
        self.plain.clone().unwrap_or_else(of_known)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;
    use crate::scan::endpoint::Endpoint;
    use crate::scan::lists::NAMESPACE;

    const LIST: Endpoint = Endpoint { parameters: &[&[NAMESPACE]], ..Endpoint::GET };

    fn names(text: &str) -> Result<Names, Problem> {
        let request = axum::http::Request::get(format!("/?{text}")).body(()).unwrap();
        Names::of(&Query::read(&LIST, &request.into_parts().0).unwrap())
    }

    #[test]
    fn names_globs_and_exceptions_are_told_apart() {
        let all = ["", "kube-system", "shop", "team-a", "team-b"];
        for (query, expected) in [
            ("", &all[..]),
            ("namespace=shop,bank", &["shop"]),
            ("namespace=team-*", &["team-a", "team-b"]),
            ("namespace=!kube-*", &["", "shop", "team-a", "team-b"]),
            ("namespace=team-*,!team-b,shop", &["shop", "team-a"]),
            ("namespace=!*", &[""; 0]),
        ] {
            let names = names(query).unwrap();
            let meant: Vec<&str> = all.into_iter().filter(|name| names.mean(name)).collect();
            assert_eq!(meant, expected, "{query}");
        }
        assert_eq!(names("namespace=shop").unwrap().plain.unwrap(), ["shop"]);
        assert!(names("namespace=team-*").unwrap().plain.is_none());
        assert!(names("namespace=%5B").is_err() && names("namespace=!").is_err());
    }
}
