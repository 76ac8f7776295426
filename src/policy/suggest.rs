//! The nearest known name to one that is not known.

/// Returns the candidate that a misspelt name most likely meant, or none when nothing is near.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Adds the nearest known field to what serde says of an unknown one: "unknown field `x`, expected one of a, b".
pub fn with_nearest_field(cause: &str) -> String {
    let plain = cause.replace('`', "");
    let near = plain.split_once("unknown field ").and_then(|(_, rest)| {
        let (unknown, known) = rest.split_once(", expected ")?;
        let known = known.split(" at line ").next()?.trim_start_matches("one of ").trim_start_matches("either ");
        nearest(unknown, known.split([',', ' ']).filter(|word| !word.is_empty() && *word != "or")).map(str::to_owned)
    });
    near.map_or_else(|| cause.to_owned(), |near| format!("{cause}; did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_name_that_was_meant() {
        let known = ["baseline", "recommended", "strict"];
        assert_eq!(nearest("baselin", known), Some("baseline"));
        assert_eq!(nearest("recomended", known), Some("recommended"));
        assert_eq!(nearest("zzz", known), None);
    }
}
