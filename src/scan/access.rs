//! Who asks, and what they may.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reads, and has documents judged.
    Read,
    /// Reports what was judged elsewhere.
    Report,
    /// Starts audits and changes what is kept; reads, too.
    Write,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Report, Self::Write, Self::Admin];

    /// Returns the word of tokens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Report => "report",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Returns whether whoever has this scope may do what another one is needed for.
    pub const fn includes(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Write => matches!(needed, Self::Read | Self::Write),
            Self::Read => matches!(needed, Self::Read),
            Self::Report => matches!(needed, Self::Report),
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| "a scope is one of read, report, write, admin".to_owned())
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is, for logs: the token's id, or `local`.
    pub name: String,
    scopes: Vec<Scope>,
    namespaces: Option<(Vec<String>, GlobSet)>,
}

impl Caller {
    /// Returns whoever reaches a listener that is open to this machine.
    pub fn local() -> Self {
        Self { name: "local".into(), scopes: vec![Scope::Admin], namespaces: None }
    }

    /// Returns the bearer of a token; globs that cannot be read match nothing, none at all means every namespace.
    pub fn new(name: String, scopes: Vec<Scope>, globs: &[String]) -> Self {
        let namespaces = (!globs.is_empty()).then(|| {
            let mut set = GlobSetBuilder::new();
            globs.iter().filter_map(|glob| Glob::new(glob).ok()).for_each(|glob| _ = set.add(glob));
            (globs.to_vec(), set.build().unwrap_or_default())
        });
        Self { name, scopes, namespaces }
    }

    /// Returns whether they may.
    pub fn may(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.includes(needed))
    }

    /// Returns whether they may see what is in a namespace; the empty name stands for what is outside any.
    pub fn sees(&self, namespace: &str) -> bool {
        let Some((_, globs)) = &self.namespaces else { return true };
        !namespace.is_empty() && globs.is_match(namespace)
    }

    /// Returns whether they may see everything, also what is outside any namespace.
    pub const fn sees_all(&self) -> bool {
        self.namespaces.is_none()
    }

    /// Returns the globs of the namespaces that they may see; none where they see all.
    pub fn globs(&self) -> Option<&[String]> {
        self.namespaces.as_ref().map(|(globs, _)| globs.as_slice())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn a_scope_includes_what_it_says() {
        let table = [
            (Scope::Read, "read"),
            (Scope::Report, "report"),
            (Scope::Write, "read write"),
            (Scope::Admin, "read report write admin"),
        ];
        for (scope, expected) in table {
            let included: Vec<&str> =
                Scope::ALL.into_iter().filter(|needed| scope.includes(*needed)).map(Scope::as_str).collect();
            assert_eq!(included.join(" "), expected, "{scope:?}");
        }
    }

    #[test]
    fn a_limited_token_sees_its_namespaces_and_nothing_outside_them() {
        let caller = Caller::new("a".into(), vec![Scope::Read], &["team-*".into(), "shop".into()]);
        for (namespace, sees) in [("team-a", true), ("shop", true), ("shops", false), ("", false), ("other", false)] {
            assert_eq!(caller.sees(namespace), sees, "{namespace}");
            assert!(Caller::local().sees(namespace), "{namespace}");
        }
        assert!(Caller::local().sees_all() && !caller.sees_all());
        let broken = Caller::new("a".into(), vec![Scope::Read], &["[".into()]);
        assert!(!broken.sees("a") && !broken.sees_all(), "a broken glob opens nothing");
    }
}
