//! Objects that cannot be judged.

use super::*;

/// Returns a Pod that is nested deeper than what is read.
pub(super) fn deep(name: &str) -> Json {
    let mut pod = pod(name, "x:latest");
    pod["spec"]["more"] = (0..200).fold(json!(1), |inner, _| json!([inner]));
    pod
}

#[tokio::test]
async fn an_object_that_cannot_be_judged_is_named_and_keeps_no_other_from_being_judged() {
    let answers = || {
        cluster(vec![
            ("", page(&[pod("a", "x:latest"), deep("deep")], "t1")),
            ("?t1", page(&[pod("b", "x:latest")], "")),
        ])
    };
    let (rules, mut memory, mut notes) = (rules(), Memory::default(), Notes::default());
    for evaluated in [2, 0] {
        notes.listed.clear();
        let outcome = run(client(answers()).0, &rules, &mut memory, &mut notes).await;
        assert_eq!((outcome.objects, outcome.evaluated, counted(&outcome)), (3, evaluated, vec![("shop", 0, 2)]));
        assert_eq!(notes.listed, [("Pod".to_owned(), 3)], "it counts as there");
        assert!(outcome.covered.iter().any(|part| part.kind == "Pod"), "the rest of its kind is known");
        let told: Vec<_> = outcome.unread.keys().filter(|about| about.starts_with("core/Pod")).collect();
        assert_eq!(told, ["core/Pod (1 object)"]);
        let cause = &outcome.unread["core/Pod (1 object)"];
        assert!(cause.starts_with("shop/deep: it cannot be read: recursion limit"), "{cause}");
    }
    assert_eq!(notes.failing, ["a", "b"]);
}

#[tokio::test]
async fn an_object_without_a_name_closes_nothing_and_the_list_goes_on() {
    let nameless = json!({"metadata": {"name": 5}});
    let answers = cluster(vec![("", page(&[nameless], "t1")), ("?t1", page(&[pod("b", "x:latest")], ""))]);
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client(answers).0, &rules(), &mut memory, &mut notes).await;
    assert_eq!((notes.failing, notes.listed), (vec!["b".to_owned()], vec![]));
    assert!(outcome.unread["core/Pod"].starts_with("an object: its metadata"), "{:?}", outcome.unread);
}

#[tokio::test]
async fn odd_labels_hide_no_object() {
    let mut odd = pod("odd", "x:latest");
    odd["metadata"]["labels"] = json!(["a"]);
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client(cluster(vec![("", page(&[odd], ""))])).0, &rules(), &mut memory, &mut notes).await;
    assert_eq!(notes.listed, [("Pod".to_owned(), 1)]);
    assert!(outcome.unread["core/Pod (1 object)"].starts_with("shop/odd: its metadata"), "{:?}", outcome.unread);
}
