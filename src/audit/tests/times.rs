//! What ends or begins at a time counts otherwise from then on.

use jiff::SignedDuration;

use super::following::Server;
use super::*;
use crate::report::finding::State;
use crate::store::{self, Filter, PageQuery, TimeSort};

/// A moment, and what a pass at that time is to tell: objects evaluated, objects with findings, and what is enforced.
type Pass = (fn() -> Timestamp, u64, &'static [&'static str], usize);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_excused_is_found_when_the_exemption_ends_and_not_at_the_next_turn() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let server = Server::new(&[pod("a", "x:latest")]);
    let end = Timestamp::now() + SignedDuration::from_secs(3);
    let stop = start(exempt(rules(), &[exemption("a", &end.to_string())]), store.clone(), server.client.clone());
    let audits = async || {
        let query = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: None, limit: 100 };
        store.audits(&query).await.unwrap().items
    };
    let listed = async |state: &str| {
        let filter = Filter { state: vec![state.into()], ..Filter::default() };
        let query = PageQuery { filter, sort: store::FindingSort::Object, cursor: None, limit: 100 };
        let found = store.findings(&query).await.unwrap().items;
        found.into_iter().filter(|finding| finding.rule.as_str() == "no-latest").collect::<Vec<_>>()
    };
    let found = async |state: &str| {
        let found = async {
            loop {
                let found = listed(state).await;
                if let [found] = found.as_slice() {
                    return found.clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), found).await.unwrap()
    };
    let excused = found("exempt").await;
    let by = excused.exemption.clone().unwrap();
    assert_eq!((by.name.to_string(), &*by.reason, by.expires), ("Exemption shop/a".to_owned(), "r", Some(end)));
    assert!(store.content(&excused.content).await.unwrap().is_some(), "the object is kept");
    let opened = found("open").await;
    assert!(Timestamp::now() >= end, "it ended before its time");
    assert_eq!((&opened.id, opened.state, opened.first_seen), (&excused.id, State::Open, excused.first_seen));
    assert_eq!((opened.exemption, opened.closed_at), (None, None));
    let ended = async {
        while audits().await[0].finished.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
    let audits = audits().await;
    assert_eq!((audits.len(), audits[0].evaluated, audits[0].opened), (2, 0, 1), "{audits:?}");
    stop.send_replace(true);
}

#[tokio::test]
async fn a_date_that_comes_denies_what_was_found_without_a_new_evaluation() {
    let answers = || {
        let mut answers = cluster(vec![("", page(&[pod("a", "x:latest"), pod("b", "x:1")], ""))]);
        let namespace = &mut answers.get_mut("/api/v1/namespaces").unwrap()[0].1["items"][0]["metadata"];
        namespace["labels"] = json!({"gatepost.dev/enforce": "strict"});
        namespace["annotations"] = json!({"gatepost.dev/enforce-from": "2026-07-01"});
        answers
    };
    let june = || "2026-06-30T23:59:59Z".parse().unwrap();
    let july = || "2026-07-01T00:00:00Z".parse().unwrap();
    let august = || "2026-08-01T00:00:00Z".parse().unwrap();
    let (rules, mut memory, mut notes) = (rules(), Memory::default(), Notes::default());
    let passes: [Pass; 4] = [(june, 2, &["a"], 0), (june, 0, &[], 0), (july, 0, &["a"], 1), (august, 0, &[], 1)];
    for (number, (now, evaluated, told, enforced)) in passes.into_iter().enumerate() {
        let outcome = run_at(now, client(answers()).0, &rules, &mut memory, &mut notes).await;
        assert_eq!(outcome.evaluated, evaluated, "pass {number}");
        assert_eq!(std::mem::take(&mut notes.failing), told, "pass {number}");
        assert_eq!(outcome.enforcing.unwrap().len(), enforced, "pass {number}");
        let next = (enforced == 0).then(july);
        assert_eq!(memory.next_change(now()), next, "pass {number}");
    }
}
