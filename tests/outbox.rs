//! What stays of decisions: from the webhook's answer to what is kept, whatever happens on the way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value as Json, json};

use crate::support::server::{Server, creation, eventually};

const CONFIG: &str = "defaults: {warn: off, audit: off}\nstatic:\n\
    \x20 shop: {labels: {gatepost.dev/enforce: tags, gatepost.dev/audit: strict}}\n\
    \x20 calm: {labels: {gatepost.dev/warn: tags}}\n";
const TAGS: &str = "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: tags}\n\
    spec: {rules: [{id: container-image-tag}]}\n";
const FILES: [(&str, &str); 2] = [("config.yaml", CONFIG), ("policies/tags.yaml", TAGS)];
const ARGUMENTS: [&str; 4] = ["--config", "config.yaml", "--policies", "policies"];

/// Returns the request of a Pod that is created; with a tag nothing is wrong with its image.
fn pod(uid: &str, namespace: &str, image: &str) -> Json {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"containers": [{"name": "app", "image": image}]},
    });
    let mut request = creation(namespace, &pod);
    request["uid"] = uid.into();
    request
}

/// Returns the decisions that a server keeps, the oldest first.
fn kept(server: &Server) -> Vec<Json> {
    let (mut items, mut next) = (Vec::new(), String::new());
    loop {
        let (status, body) = server.ask("GET", &format!("/api/v1/decisions?limit=1000{next}"), "", "");
        assert_eq!(status, 200, "{body}");
        let page: Json = serde_json::from_str(&body).expect("JSON");
        items.extend(page["items"].as_array().expect("items").iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    items.reverse();
    items
}

fn uids(decisions: &[Json]) -> Vec<String> {
    decisions.iter().map(|decision| decision["uid"].as_str().expect("a uid").to_owned()).collect()
}

/// Returns an address that nobody listens at, for a server that is yet to come.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Starts a webhook that reports to an address.
fn webhook(address: &str, more: &[&str]) -> (Server, Vec<String>) {
    let scanner = format!("http://{address}");
    let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).to_vec();
    arguments.extend(["--role", "webhook", "--scanner", &scanner].map(str::to_owned));
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    let given: Vec<&str> = arguments.iter().map(String::as_str).collect();
    (Server::start(&FILES, &given, &[]), arguments)
}

fn scanner(address: &str) -> Server {
    Server::start(&[], &["--role", "scanner", "--listen-http", address], &[])
}

fn delivered(server: &Server) {
    eventually("everything to be delivered", || (server.metric("gatepost_outbox_queued") == 0).then_some(()));
}

#[test]
fn decisions_that_matter_are_kept_with_what_was_told_and_what_only_records() {
    let server = Server::start(&FILES, &ARGUMENTS, &[]);
    assert_eq!(server.review(&pod("denied", "shop", "nginx"))["allowed"], false);
    assert_eq!(server.review(&pod("warned", "calm", "nginx"))["allowed"], true);
    assert_eq!(server.review(&pod("clean", "calm", "nginx:1.27.3"))["allowed"], true);
    let mut trial = pod("trial", "shop", "nginx");
    trial["dryRun"] = true.into();
    assert_eq!(server.review(&trial)["allowed"], false);
    let mut secret = pod("nothing-to-judge", "calm", "");
    secret["kind"] = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    secret["object"] = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "calm"}});
    assert_eq!(server.review(&secret)["allowed"], true);
    let recorded = |decision: &Json| {
        let results = decision["results"].as_array().expect("results");
        results.iter().any(|result| result["action"] == "record" && result["policy"] == "strict")
    };
    let kept = eventually("what was found after the answer", || {
        let kept = kept(&server);
        (kept.len() == 3 && recorded(&kept[0])).then_some(kept)
    });
    assert_eq!(uids(&kept), ["denied", "warned", "clean"]);
    let denied = &kept[0];
    let expected = json!({
        "rule": "container-image-tag", "policy": "tags", "severity": "high", "result": "fail", "action": "deny",
        "path": "/spec/containers/0/image", "place": "/spec/containers/[app]/image",
    });
    let told = &denied["results"][0];
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(&told[field], value, "{field}: {told}");
    }
    assert_eq!((&denied["allowed"], &denied["user"], &denied["kind"]), (&json!(false), &json!("jane"), &json!("Pod")));
    assert_eq!((&kept[2]["results"], &kept[2]["allowed"]), (&json!([]), &json!(true)));
}

const OLD: &str = "apiVersion: gatepost.dev/v1alpha1\nkind: ClusterExemption\nmetadata: {name: old}\n\
    spec: {rules: [container-image-tag], match: {names: [web]}, reason: r, owner: o, expires: 2099-01-01}\n";

#[test]
fn what_is_exempt_is_kept_with_what_excuses_it() {
    let files = [FILES[0], FILES[1], ("policies/old.yaml", OLD)];
    let server = Server::start(&files, &ARGUMENTS, &[]);
    assert_eq!(server.review(&pod("excused", "calm", "nginx"))["allowed"], true);
    assert_eq!(server.review(&pod("clean", "calm", "nginx:1.27.3"))["allowed"], true);
    let kept = eventually("both to be kept", || Some(kept(&server)).filter(|kept| kept.len() == 2));
    assert_eq!(kept[1]["results"], json!([]));
    let results = kept[0]["results"].as_array().expect("results");
    let expected = json!({
        "rule": "container-image-tag", "policy": "tags", "severity": "high", "result": "exempt", "action": "record",
        "path": "/spec/containers/0/image", "place": "/spec/containers/[app]/image",
        "exemption": "ClusterExemption old",
    });
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(&results[0][field], value, "{field}: {}", kept[0]);
    }
    assert_eq!((results.len(), results[0]["message"].as_str().map(str::is_empty)), (1, Some(false)));
}

#[test]
fn a_webhook_that_is_killed_loses_what_it_decided_within_the_last_moment_at_most() {
    let address = free_address();
    let (server, arguments) = webhook(&address, &[]);
    let answered: Vec<(String, Instant)> = (0..150)
        .map(|number| {
            let uid = format!("{number:03}");
            assert_eq!(server.review(&pod(&uid, "shop", "nginx"))["allowed"], false);
            (uid, Instant::now())
        })
        .collect();
    let killed = Instant::now();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = server.kill().start(&arguments);
    let scanner = scanner(&address);
    delivered(&server);
    let kept = uids(&kept(&scanner));
    let lost: Vec<Duration> =
        answered.iter().filter(|(uid, _)| !kept.contains(uid)).map(|(_, at)| killed.duration_since(*at)).collect();
    // 50 ms, and as much as threads of a busy machine wait for their turn.
    assert!(lost.iter().all(|before| *before < Duration::from_millis(300)), "{lost:?}");
    assert!(kept.len() > 100 && kept.is_sorted(), "{}: {kept:?}", kept.len());
    eprintln!("lost {} of {}, the oldest {:?} before the end", lost.len(), answered.len(), lost.first());
}

#[test]
fn nothing_is_lost_while_the_scanner_is_away_and_comes_back() {
    let address = free_address();
    let gone = scanner(&address);
    let (server, _) = webhook(&address, &[]);
    let decide = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            server.review(&pod(&format!("{number:03}"), "shop", "nginx"));
        }
    };
    decide(0..50);
    delivered(&server);
    assert_eq!(kept(&gone).len(), 50);
    decide(50..100);
    // Gone in the middle of what it is sent.
    let gone = gone.kill();
    decide(100..150);
    let back = gone.start(&["--role", "scanner", "--listen-http", &address]);
    decide(150..200);
    delivered(&server);
    assert_eq!(uids(&kept(&back)), (0..200).map(|number| format!("{number:03}")).collect::<Vec<_>>());
}

#[test]
fn a_webhook_that_stops_delivers_first() {
    let address = free_address();
    let scanner = scanner(&address);
    let (server, _) = webhook(&address, &[]);
    for number in 0..20 {
        server.review(&pod(&format!("{number:02}"), "shop", "nginx"));
    }
    server.stop();
    assert_eq!(kept(&scanner).len(), 20);
}

#[test]
fn a_full_disk_costs_no_decision_while_there_is_memory() {
    let address = free_address();
    let (server, _) = webhook(&address, &[]);
    server.review(&pod("before", "shop", "nginx"));
    eventually("something on disk", || (server.metric("gatepost_outbox_bytes") > 0).then_some(()));
    // Beyond it no file of the process grows from now on: what it writes fails as on a full disk.
    let pid = Pid::from_raw(i32::try_from(server.pid()).expect("a pid"));
    let most = |bytes: Option<u64>| {
        prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("another limit");
    };
    most(Some(0));
    for number in 0..20 {
        assert_eq!(server.review(&pod(&format!("{number:02}"), "shop", "nginx"))["allowed"], false);
    }
    eventually("a failure to be counted", || (server.metric("gatepost_outbox_write_errors_total") > 0).then_some(()));
    let scanner = scanner(&address);
    delivered(&server);
    assert_eq!(kept(&scanner).len(), 21);
    most(None);
    server.review(&pod("after", "shop", "nginx"));
    delivered(&server);
    assert_eq!(server.metric("gatepost_outbox_unwritten_bytes"), 0);
    assert_eq!(kept(&scanner).len(), 22);
}

/// Reads server-sent events, one after the other: id and uid of decisions, or the event's name.
fn watch(server: &Server, query: &str, header: &str) -> impl Iterator<Item = (String, String)> + use<> {
    let mut stream = TcpStream::connect(server.http()).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    let request = format!("GET /api/v1/decisions/stream{query} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(head[0].contains("200") && head.iter().any(|line| line.contains("text/event-stream")), "{head:?}");
    assert_eq!(lines.next().as_deref(), Some(": open"), "seen to be open before there is anything to tell");
    let mut event = Vec::new();
    lines.filter_map(move |line| {
        if !line.is_empty() {
            event.push(line);
            return None;
        }
        let event = std::mem::take(&mut event);
        let field = |name: &str| event.iter().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let data: Json = serde_json::from_str(&field("data:")?).expect("JSON");
        let uid = data["uid"].as_str().map_or_else(|| field("event:").unwrap_or_default(), str::to_owned);
        Some((field("id:").unwrap_or_default(), uid))
    })
}

#[test]
fn decisions_are_streamed_as_they_are_taken_in_and_a_stream_that_broke_off_goes_on() {
    let server = Server::start(&FILES, &ARGUMENTS, &[]);
    let mut everything = watch(&server, "", "");
    let mut denied = watch(&server, "?state=denied&namespace=shop", "");
    for (uid, namespace) in [("1", "shop"), ("2", "calm"), ("3", "shop")] {
        server.review(&pod(uid, namespace, "nginx"));
    }
    // What was found after an answer is told when it is known, under the same uid.
    let first: Vec<(String, String)> = everything.by_ref().take(3).collect();
    let mut uids: Vec<&str> = denied.by_ref().take(2).map(|(_, uid)| if uid == "1" { "1" } else { "3" }).collect();
    uids.dedup();
    assert!(uids.first() == Some(&"1"), "{uids:?}");
    drop(everything);
    server.review(&pod("4", "calm", "nginx"));
    let mut resumed = watch(&server, "", &format!("Last-Event-ID: {}\r\n", first[0].0));
    assert_eq!(resumed.next().as_ref(), Some(&first[1]), "what was missed");
    assert!(resumed.any(|(_, uid)| uid == "4"), "and what came since");
    let mut lost = watch(&server, "", "Last-Event-ID: other-7\r\n");
    assert_eq!(lost.next().map(|(_, name)| name).as_deref(), Some("gap"), "of another process nothing is known");
    assert_eq!(lost.next().as_ref(), Some(&first[0]));
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(10), "open streams hold up no end: {:?}", start.elapsed());
}
