//! Selecting namespaces.

use super::*;

#[test]
fn take_any_of_the_names_and_all_of_the_labels() {
    let table: &[(&[&str], Texts<'_>, bool)] = &[
        (&[], &[], true),
        (&["shop"], &[], true),
        (&["sh*", "other"], &[], true),
        (&["?hop"], &[], true),
        (&["{shop,bar}"], &[], true),
        (&["sho"], &[], false),
        (&["Shop"], &[], false),
        (&[], &[("env", "prod")], true),
        (&[], &[("env", "prod"), ("team", "a")], false),
        (&["shop"], &[("env", "test")], false),
        (&["other"], &[("env", "prod")], false),
    ];
    let namespace = NamespaceMeta { labels: labels(&[("env", "prod")]), ..NamespaceMeta::named("shop") };
    for (names, with, expected) in table {
        assert_eq!(selector(names, with).matches(&namespace), *expected, "{names:?} {with:?}");
    }
    assert!(selector(&["sh*"], &[("env", "test")]).could_match("shop"), "by its name alone");
    assert!(!selector(&["other"], &[]).could_match("shop"));
    let error = Selector::new(&["a[".to_owned()], BTreeMap::new()).unwrap_err().to_string();
    assert!(error.starts_with("\"a[\" is not a name pattern: "), "{error}");
}
