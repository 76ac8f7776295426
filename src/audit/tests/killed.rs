//! Audits of a process that is killed (SIGKILL) on the way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::report::finding::{CloseReason, Finding, State};
use crate::store::{self, Facet, Filter, PageQuery, TimeSort};

/// Where the process that is killed keeps what it finds, and which of its Pods are faulty.
const DIRECTORY: &str = "GATEPOST_TEST_STORE";
const ROUND: &str = "GATEPOST_TEST_ROUND";

const PAGES: usize = 12;
const OF_A_PAGE: usize = 3;
const GONE: usize = 5;

/// Returns pages of Pods of which some are faulty, after the first ones of which there are more, if asked.
fn pods(is_faulty: impl Fn(usize) -> bool, with_gone: bool) -> Answers {
    let image = |number| if is_faulty(number) { "x:latest" } else { "x:1" };
    let pages = (0..PAGES).map(|at| {
        let numbers = at * OF_A_PAGE..(at + 1) * OF_A_PAGE;
        let mut items: Vec<Json> = numbers.map(|number| pod(&format!("pod-{number}"), image(number))).collect();
        if with_gone && at == 0 {
            items.extend((0..GONE).map(|number| pod(&format!("gone-{number}"), "x:latest")));
        }
        let next = if at + 1 == PAGES { String::new() } else { format!("t{}", at + 1) };
        let key = if at == 0 { String::new() } else { format!("?t{at}") };
        (key, page(&items, &next))
    });
    let pages: Vec<_> = pages.collect();
    cluster(pages.iter().map(|(key, answer)| (key.as_str(), answer.clone())).collect())
}

/// Audits to the end.
async fn audited(store: &Arc<dyn Store>, answers: Answers) {
    let before = states(&**store).await.len();
    let stop = start(rules(), store.clone(), client(answers).0);
    let ended = async {
        while states(&**store).await.get(before) != Some(&AuditState::Partial) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), ended).await.unwrap();
    stop.send_replace(true);
}

/// Returns how audits ended, the oldest first.
async fn states(store: &dyn Store) -> Vec<AuditState> {
    let query = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: None, limit: 100 };
    store.audits(&query).await.unwrap().items.into_iter().rev().map(|audit| audit.state).collect()
}

async fn findings(store: &dyn Store) -> Vec<Finding> {
    let filter = Filter { rule: vec!["no-latest".into()], ..Filter::default() };
    let query = PageQuery { filter, sort: store::FindingSort::Object, cursor: None, limit: 1000 };
    store.findings(&query).await.unwrap().items
}

fn is_gone(finding: &Finding) -> bool {
    finding.object.name.starts_with("gone-")
}

/// The process that is killed: it begins an audit, writes a line for each page, and waits for ever at the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started and killed by the test below"]
async fn an_audit_of_its_own() {
    let (Ok(directory), Ok(round)) = (std::env::var(DIRECTORY), std::env::var(ROUND)) else { return };
    let round: usize = round.parse().unwrap();
    let store = store::open(Path::new(&directory), None).await.unwrap();
    let answers = Arc::new(pods(|number| number % 2 == round % 2, false));
    let answer = move |request: Request<Body>| {
        let at = request.uri().path_and_query().unwrap().to_string();
        let key = match at.split_once("continue=") {
            Some((_, token)) => format!("{}?{token}", request.uri().path()),
            None => request.uri().path().to_owned(),
        };
        let (code, body) = answers.get(&key).map_or_else(|| status(404, ""), |list| list[0].clone());
        async move {
            if at.contains("/pods") {
                writeln!(std::io::stderr(), "page").unwrap();
            }
            if key.ends_with(&format!("?t{}", PAGES - 1)) {
                std::future::pending::<()>().await;
            }
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    };
    let _stop = start(rules(), store, Client::new(service_fn(answer), "default"));
    tokio::time::sleep(Duration::from_mins(2)).await;
}

/// Starts that process and kills it when it has asked for so many pages.
fn kill_after(pages: usize, round: usize, directory: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "audit::tests::killed::an_audit_of_its_own"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).filter(|line| line == "page").take(pages).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, pages, "it ended by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_in_an_audit_closes_nothing_that_it_did_not_look_at() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let first = store::open(&path, None).await.unwrap();
    audited(&first, pods(|_| true, true)).await;
    let before = findings(&*first).await;
    assert_eq!(before.len(), PAGES * OF_A_PAGE + GONE);
    drop(first);
    for (round, pages) in [1, 2, 3, 5, 7, 9, 11, PAGES].into_iter().enumerate() {
        let at = path.clone();
        tokio::task::spawn_blocking(move || kill_after(pages, round, &at)).await.unwrap();
        let store = store::open(&path, None).await.unwrap();
        assert_eq!(*states(&*store).await.last().unwrap(), AuditState::Running);
        let found = findings(&*store).await;
        assert_eq!(found.len(), before.len());
        for finding in &found {
            let is_fixed = finding.closed_because == Some(CloseReason::Fixed);
            assert!(finding.state == State::Open || is_fixed && !is_gone(finding), "round {round}: {finding:?}");
        }
        let open = found.iter().filter(|finding| finding.state == State::Open).count();
        let filter = Filter { rule: vec!["no-latest".into()], ..Filter::default() };
        let counted: BTreeMap<String, u64> = store.facet(&filter, Facet::State, 9).await.unwrap().into_iter().collect();
        assert_eq!(counted["open"], u64::try_from(open).unwrap(), "round {round}");
        let seen = |findings: &[Finding]| findings.iter().find(|finding| is_gone(finding)).unwrap().last_seen;
        assert_eq!(seen(&found), seen(&before), "what was not looked at was not seen");
    }
    let store = store::open(&path, None).await.unwrap();
    audited(&store, pods(|_| true, false)).await;
    let found = findings(&*store).await;
    let deleted = found.iter().filter(|finding| finding.closed_because == Some(CloseReason::Deleted));
    assert_eq!(deleted.filter(|finding| is_gone(finding)).count(), GONE);
    assert_eq!(found.iter().filter(|finding| finding.state == State::Open).count(), PAGES * OF_A_PAGE);
    let mut expected = vec![AuditState::Abandoned; 10];
    (expected[0], expected[9]) = (AuditState::Partial, AuditState::Partial);
    assert_eq!(states(&*store).await, expected);
}
