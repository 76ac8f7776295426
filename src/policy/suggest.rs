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
