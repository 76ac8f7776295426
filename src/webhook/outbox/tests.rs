//! What waits survives restarts, torn writes, full disks and absent receivers, in its order.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use http::StatusCode;
use jiff::Timestamp;

use super::courier::{OwnStore, Report};
use super::spool::{Most, Parcel};
use super::*;
use crate::scan::client::NotTaken;
use crate::scan::feed::Feed;
use crate::store::{self, Filter, PageQuery, Store, TimeSort};
use crate::telemetry::Metrics;

const MOST: Most = Most { decisions: 4, bytes: 1 << 20 };
const LIMIT: u64 = 1 << 20;

/// Decisions as they are told apart here: a number, with `c` before it if they are clean.
fn texts(words: &str) -> Vec<(Weight, Box<[u8]>)> {
    let weight = |word: &str| if word.starts_with('c') { Weight::Clean } else { Weight::Violation };
    words.split_whitespace().map(|word| (weight(word), word.as_bytes().into())).collect()
}

fn open(directory: &Path) -> Spool {
    Spool::open(directory, LIMIT, "id".into()).unwrap().0
}

fn commit(spool: &mut Spool, words: &str) {
    let (dropped, written) = spool.commit(texts(words), 1);
    assert_eq!((dropped, written.is_ok()), ([0, 0], true));
}

fn next(spool: &mut Spool) -> Option<Parcel> {
    spool.next(MOST, &mut Dropped::default()).unwrap()
}

fn words(parcel: &Parcel) -> String {
    parcel.decisions.iter().map(|json| String::from_utf8_lossy(json).into_owned()).collect::<Vec<_>>().join(" ")
}

/// Delivers everything, and returns it.
fn drain(spool: &mut Spool) -> String {
    let mut all = Vec::new();
    while let Some(parcel) = next(spool) {
        all.push(words(&parcel));
        spool.delivered(&parcel);
    }
    assert_eq!((spool.len(), spool.unwritten_bytes()), (0, 0));
    all.join(" ")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "frames"));
    files.sort();
    files
}

#[test]
fn what_comes_in_goes_out_in_its_order_whatever_it_weighs() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    commit(&mut spool, "1 c2 3 4");
    commit(&mut spool, "c5 c6 7");
    assert_eq!(spool.len(), 7);
    let first = next(&mut spool).unwrap();
    assert_eq!(words(&first), "1 c2 3 4");
    assert_eq!(next(&mut spool).unwrap(), first, "the same until it is delivered");
    spool.delivered(&first);
    commit(&mut spool, "8");
    assert_eq!(drain(&mut spool), "c5 c6 7 8");
    assert_eq!(next(&mut spool), None);
}

#[test]
fn a_restart_goes_on_where_the_process_stood_and_sends_the_same_again_under_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    commit(&mut spool, "1 2 c3 4 5 6");
    let first = next(&mut spool).unwrap();
    spool.delivered(&first);
    let under_way = next(&mut spool).unwrap();
    assert_eq!(words(&under_way), "5 6");
    commit(&mut spool, "7 8");
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!(next(&mut spool).unwrap(), under_way, "not with what came in later");
    commit(&mut spool, "9");
    assert_eq!(drain(&mut spool), "5 6 7 8 9");
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!(next(&mut spool), None);
    commit(&mut spool, "10");
    assert_ne!(next(&mut spool).unwrap().key, under_way.key);
}

#[test]
fn what_was_being_written_when_a_process_was_killed_spoils_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    commit(&mut spool, "1 2 3");
    drop(spool);
    let [file] = files(folder.path()).try_into().unwrap();
    let whole = fs::read(&file).unwrap();
    for cut in 1..29 {
        fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        let (mut spool, unreadable) = Spool::open(folder.path(), LIMIT, "id".into()).unwrap();
        assert!(unreadable > 0);
        assert_eq!(words(&next(&mut spool).unwrap()), "1 2", "{cut}");
    }
    let mut spool = open(folder.path());
    commit(&mut spool, "4");
    assert_eq!(drain(&mut spool), "1 2 4");
}

#[test]
fn when_it_is_full_the_oldest_without_violations_go_first_and_then_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let text = |word: &str| format!("{word:<8000}").into_bytes().into_boxed_slice();
    let mut dropped = Dropped::default();
    let mut dropped_before_violations = 0;
    for number in 0..400 {
        let clean = (Weight::Clean, text(&format!("c{number}")));
        let violation = (Weight::Violation, text(&number.to_string()));
        let (gone, written) = spool.commit([clean, violation], 1);
        written.unwrap();
        if dropped[1] == 0 && gone[1] > 0 {
            dropped_before_violations = dropped[0] + gone[0];
        }
        dropped = [dropped[0] + gone[0], dropped[1] + gone[1]];
        assert!(spool.bytes() <= LIMIT, "{}", spool.bytes());
    }
    assert!(dropped[1] > 0 && dropped_before_violations > 100, "{dropped:?}, {dropped_before_violations}");
    let left = drain(&mut spool);
    let left: Vec<&str> = left.split_whitespace().collect();
    let violations: Vec<usize> = left.iter().filter_map(|word| word.parse().ok()).collect();
    let first = *violations.first().unwrap();
    assert_eq!(violations, (first..400).collect::<Vec<_>>(), "the newest, without a gap");
    assert_eq!(u64::try_from(first).unwrap(), dropped[1]);
    assert_eq!(left.len() - violations.len(), usize::try_from(400 - dropped[0]).unwrap());
}

#[test]
fn a_disk_that_takes_nothing_costs_nothing_while_there_is_memory() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("outbox");
    let mut spool = open(&directory);
    // A directory stands where the first file should be.
    let obstacle = directory.join("violation-00000000000000000001.frames");
    fs::create_dir(&obstacle).unwrap();
    let (dropped, written) = spool.commit(texts("1 2 3 4 5"), 1);
    assert_eq!((dropped, written.is_err(), spool.len()), ([0, 0], true, 5));
    let parcel = next(&mut spool).unwrap();
    assert_eq!(words(&parcel), "1 2 3 4", "it is delivered all the same");
    fs::remove_dir(&obstacle).unwrap();
    commit(&mut spool, "6");
    assert_eq!(spool.unwritten_bytes(), 0, "it is written when it can be");
    spool.delivered(&parcel);
    assert_eq!(drain(&mut spool), "5 6");
}

#[test]
fn memory_is_bounded_while_no_disk_takes_anything() {
    let mut spool = Spool::in_memory("id".into());
    let big = |weight| (weight, vec![b'x'; 1 << 20].into_boxed_slice());
    let mut dropped = Dropped::default();
    for _ in 0..20 {
        let (gone, _) = spool.commit([big(Weight::Clean), big(Weight::Violation)], 1);
        dropped = [dropped[0] + gone[0], dropped[1] + gone[1]];
        assert!(spool.unwritten_bytes() <= 16 << 20);
    }
    assert_eq!(dropped, [20, 5], "all the clean ones first");
}

#[test]
fn a_file_that_is_damaged_while_it_waits_is_given_up_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    commit(&mut spool, "1 2 c3");
    let file = files(folder.path()).pop().unwrap();
    fs::write(&file, vec![0; 200]).unwrap();
    let mut dropped = Dropped::default();
    assert_eq!(words(&spool.next(MOST, &mut dropped).unwrap().unwrap()), "c3");
    assert_eq!(dropped, [0, 2]);
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let _spool = open(folder.path());
    let error = Spool::open(folder.path(), LIMIT, "id".into()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
}

fn entry(number: usize) -> Entry {
    let decision = store::Decision {
        uid: format!("{number:04}"),
        time: Timestamp::from_second(1_700_000_000 + i64::try_from(number).unwrap()).unwrap(),
        cluster: String::new(),
        operation: "CREATE".into(),
        group: String::new(),
        kind: "Pod".into(),
        namespace: "shop".into(),
        name: "web".into(),
        user: "jane".into(),
        verified: true,
        dry_run: false,
        allowed: false,
        reason: "judged".into(),
        duration_us: 1,
        break_glass: None,
        changes: Vec::new(),
        results: Vec::new(),
    };
    Entry { weight: Weight::Violation, decision }
}

/// A store behind a way that fails.
struct Faulty {
    store: Arc<dyn Store>,
    /// What becomes of each attempt, the last for all that follow.
    ways: Mutex<Vec<Way>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Open,
    Closed,
    /// It is taken in, and nobody hears of it.
    AnswerLost,
    /// The decision of a number is said to be wrong.
    Refuses(usize),
}

#[async_trait]
impl Destination for Faulty {
    async fn take(&self, report: Report<'_>) -> Result<(), NotTaken> {
        let way = {
            let mut ways = self.ways.lock().unwrap();
            if ways.len() > 1 { ways.remove(0) } else { ways[0] }
        };
        let later = || NotTaken::Later { cause: "away".into(), after: Some(Duration::from_millis(1)) };
        match way {
            Way::Closed => return Err(later()),
            Way::Refuses(number) => {
                let uid = format!("\"{number:04}\"");
                if report.parcel.decisions.iter().any(|json| String::from_utf8_lossy(json).contains(&uid)) {
                    return Err(NotTaken::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, cause: "wrong".into() });
                }
            }
            Way::Open | Way::AnswerLost => {}
        }
        OwnStore(self.store.clone(), Arc::new(Feed::new(String::new(), watch::channel(false).1))).take(report).await?;
        if way == Way::AnswerLost { Err(later()) } else { Ok(()) }
    }
}

fn queued(outbox: &Outbox) -> u64 {
    outbox.shared.waiting.load(Ordering::Acquire) + outbox.shared.spool().len()
}

/// Hands decisions in while the way is as it is, and returns the numbers that are kept in the end, the newest first.
async fn deliver(count: usize, ways: &[Way]) -> (Vec<usize>, String) {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let store = store::open(&folder.path().join("store"), None).await.unwrap();
    let outbox = Outbox::start(
        folder.path(),
        LIMIT,
        Source { name: "webhook/a".into(), cluster: "west".into() },
        metrics.outbox.clone(),
    )
    .unwrap();
    outbox.deliver_to(Arc::new(Faulty { store: store.clone(), ways: Mutex::new(ways.to_vec()) }));
    for number in 0..count {
        outbox.keep(entry(number));
    }
    let limit = Instant::now() + Duration::from_secs(30);
    while queued(&outbox) > 0 {
        assert!(Instant::now() < limit, "{:?}", outbox.shared);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    outbox.end().await;
    let query = PageQuery { filter: Filter::default(), sort: TimeSort::Newest, cursor: None, limit: 1000 };
    let kept = store.decisions(&query).await.unwrap().items;
    (kept.iter().map(|decision| decision.uid.parse().unwrap()).collect(), metrics.encode())
}

#[tokio::test]
async fn nothing_is_lost_while_the_receiver_is_away() {
    let (kept, metrics) = deliver(700, &[Way::Closed, Way::Closed, Way::Closed, Way::Open]).await;
    assert_eq!(kept, (0..700).rev().collect::<Vec<_>>());
    assert!(metrics.contains("gatepost_outbox_delivered_total 700\n"), "{metrics}");
    assert!(metrics.contains("gatepost_outbox_delivery_failures_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn what_was_taken_in_and_not_answered_is_kept_once() {
    let (kept, _) = deliver(20, &[Way::AnswerLost, Way::AnswerLost, Way::Open]).await;
    assert_eq!(kept, (0..20).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn one_that_is_refused_does_not_hold_up_the_others() {
    let (kept, metrics) = deliver(20, &[Way::Refuses(7)]).await;
    assert_eq!(kept, (0..20).rev().filter(|number| *number != 7).collect::<Vec<_>>());
    let series = "gatepost_outbox_dropped_total{kind=\"violation\",reason=\"refused\"} 1\n";
    assert!(metrics.contains(series), "{metrics}");
}
