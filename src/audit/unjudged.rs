//! Objects that could not be judged, and how an audit tells of them.

/// Objects that are named where there are many.
const NAMED: usize = 3;

/// An object that could not be judged: it counts as there, and what was found of it before stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unjudged {
    /// Its namespace, empty outside any.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why, in words.
    pub cause: String,
}

/// Returns the line that tells of objects of a kind that could not be judged: what it is about, and why; none where there
/// are none.
pub fn told<'a>(kind: &str, objects: impl Iterator<Item = &'a Unjudged>) -> Option<(String, String)> {
    let mut objects: Vec<&Unjudged> = objects.collect();
    objects.sort_unstable();
    let named = objects.iter().take(NAMED).map(|object| match object.namespace.as_str() {
        "" => format!("{}: {}", object.name, object.cause),
        namespace => format!("{namespace}/{}: {}", object.name, object.cause),
    });
    let named = named.collect::<Vec<_>>().join("; ");
    let more = objects.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let about = match objects.len() {
        0 => return None,
        1 => format!("{kind} (1 object)"),
        count => format!("{kind} ({count} objects)"),
    };
    Some((about, named + &more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_few_and_counts_the_rest() {
        let of = |namespace: &str, name: &str| Unjudged {
            namespace: namespace.into(),
            name: name.into(),
            cause: "too deep".into(),
        };
        let line = |objects: &[Unjudged]| told("core/Pod", objects.iter());
        assert_eq!(line(&[]), None);
        let one = line(&[of("", "a")]);
        assert_eq!(one, Some(("core/Pod (1 object)".into(), "a: too deep".into())));
        let many = line(&["e", "d", "c", "b", "a"].map(|name| of("shop", name)));
        let told = "shop/a: too deep; shop/b: too deep; shop/c: too deep; and 2 more";
        assert_eq!(many, Some(("core/Pod (5 objects)".into(), told.into())));
    }
}
