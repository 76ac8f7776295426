//! Image references that come apart and together again.

use super::*;

fn reassembled(found: &image::ImageReference<'_>) -> String {
    let registry = found.registry.map_or(String::new(), |registry| format!("{registry}/"));
    let tag = found.tag.map_or(String::new(), |tag| format!(":{tag}"));
    let digest = found.digest.map_or(String::new(), |digest| format!("@{digest}"));
    format!("{registry}{}{tag}{digest}", found.repository)
}

proptest! {
    #[test]
    fn any_text_that_is_read_is_its_parts_again(text in prop_oneof![".{0,40}", "[a-zA-Z0-9./:@_\\[\\]-]{0,40}"]) {
        if let Some(found) = image::parse(&text) {
            prop_assert_eq!(reassembled(&found), text);
        }
    }

    #[test]
    fn a_reference_made_by_the_grammar_is_read_as_it_was_made(
        registry in proptest::option::of("(localhost|[a-z0-9]{1,5}\\.[a-z]{2,3})(:[0-9]{1,5})?"),
        repository in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}){0,2}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        digest in proptest::option::of("sha256:[0-9a-f]{64}"),
    ) {
        // Without a registry, a first part with a dot would be taken for one.
        prop_assume!(registry.is_some() || !repository.split_once('/').is_some_and(|(first, _)| first.contains('.')));
        let made = image::ImageReference {
            registry: registry.as_deref(), repository: &repository, tag: tag.as_deref(), digest: digest.as_deref(),
        };
        let text = reassembled(&made);
        prop_assert_eq!(image::parse(&text), Some(made), "{}", text);
    }
}
