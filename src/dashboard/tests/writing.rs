//! Modes that are written from a page, and what is told where they cannot be.

use super::*;
use crate::store::{ModeChanged, ModeKeys};

/// A change by somebody hostile.
pub fn change() -> ModeChanged {
    let keys = |value: &str| ModeKeys {
        labels: BTreeMap::from([("gatepost.dev/enforce".to_owned(), value.to_owned())]),
        annotations: BTreeMap::new(),
    };
    ModeChanged {
        id: 0,
        time: Timestamp::now(),
        namespace: SCRIPT.into(),
        user: SCRIPT.into(),
        reason: SCRIPT.into(),
        before: ModeKeys::default(),
        after: keys(SCRIPT),
        takes_back: Some(7),
    }
}

#[tokio::test]
async fn the_history_is_shown_and_offers_nothing_to_whoever_has_no_token_of_the_cluster() {
    let dashboard = Dashboard::of(&[], true).await;
    let page = dashboard.page("/modes").await;
    assert!(page.contains("What was changed from here") && page.contains("nothing of its own"), "{page}");
    assert!(!page.contains("Take back"), "{page}");
    let page = dashboard.page("/modes?namespace=shop").await;
    assert!(!page.contains("What was changed from here"), "it is of another namespace: {page}");
    let page = dashboard.page("/modes?namespace=shop&enforce=baseline").await;
    assert!(page.contains("kubectl label namespace shop") && !page.contains("Write it to"), "{page}");
}

#[tokio::test]
async fn a_form_writes_only_for_a_page_of_ours_and_says_why_it_does_not() {
    let dashboard = Dashboard::of(&[], true).await;
    let ours = [(ORIGIN.as_str(), "http://localhost:8080")];
    let form = |enforce: &str, more: &str| format!("namespaces=shop&enforce={enforce}&reason=clean{more}");
    for (path, body, headers, status, said) in [
        ("/modes", form("baseline", ""), &ours, 409, "writes to no cluster"),
        ("/modes/back", "id=1".to_owned(), &ours, 409, "writes to no cluster"),
        ("/modes", form("baselin", ""), &ours, 422, "did you mean &#34;baseline&#34;?"),
        ("/modes", form("baseline", "&severity=grave"), &ours, 422, "grave"),
        ("/modes", form("baseline", "&from=soon"), &ours, 422, "soon"),
        ("/modes", form("baseline", "&other=1"), &ours, 400, "the form cannot be read"),
        ("/modes", form("baseline", ""), &[(ORIGIN.as_str(), "https://evil.example")], 403, "another page"),
    ] {
        let (answered, _, page) = dashboard.send(Method::POST, path, headers, body.clone()).await;
        assert_eq!(answered.as_u16(), status, "{path} {body}: {page}");
        assert!(page.contains(said), "{path} {body}: {page}");
        assert_eq!(page.contains("Back to the modes"), status != 403, "{path} {body}: {page}");
    }
}
