//! Audits that go on from what was followed since the one before.

use axum::body::Body as Answer;
use futures::stream::unfold;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::unjudged::deep;
use super::*;

/// An API server with Pods in one namespace, whose watch says what it is told.
pub(super) struct Server {
    pods: Arc<Mutex<BTreeMap<String, Json>>>,
    asked: Arc<Mutex<Vec<String>>>,
    watches: Arc<Mutex<Vec<UnboundedSender<String>>>>,
    pub(super) client: Client,
}

fn lines(receiver: UnboundedReceiver<String>) -> Answer {
    Answer::from_stream(unfold(receiver, async |mut receiver| {
        let line = receiver.recv().await?;
        Some((Ok::<_, Infallible>(line + "\n"), receiver))
    }))
}

impl Server {
    pub(super) fn new(pods: &[Json]) -> Self {
        let named = pods.iter().map(|pod| (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod.clone()));
        let pods = Arc::new(Mutex::new(named.collect::<BTreeMap<_, _>>()));
        let (asked, watches) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let mut others = cluster(Vec::new());
        others.remove("/api/v1/pods");
        others.insert("/api/v1/replicationcontrollers".into(), vec![page(&[], "")]);
        let (held, log, opened) = (pods.clone(), asked.clone(), watches.clone());
        let answer = move |request: Request<Body>| {
            let at = request.uri().path_and_query().unwrap().to_string();
            let path = request.uri().path().to_owned();
            let is_watch = at.contains("watch=true");
            log.lock().unwrap().push(if is_watch { format!("{path} watch") } else { path.clone() });
            let held = held.lock().unwrap();
            let json = |code: u16, json: &Json| (code, Answer::from(serde_json::to_vec(json).unwrap()));
            let (code, body) = match path.strip_prefix("/api/v1/namespaces/shop/pods/") {
                _ if is_watch => {
                    let (sender, receiver) = unbounded_channel();
                    opened.lock().unwrap().push(sender);
                    (200, lines(receiver))
                }
                Some(name) => match held.get(name) {
                    Some(pod) => json(200, pod),
                    None => json(404, &status(404, "").1),
                },
                None if path == "/api/v1/pods" || path == "/api/v1/namespaces/shop/pods" => {
                    let items: Vec<&Json> = held.values().collect();
                    json(200, &json!({"metadata": {"resourceVersion": "7"}, "items": items}))
                }
                None => match others.get(&path) {
                    Some(answers) => json(answers[0].0, &answers[0].1),
                    None => json(404, &status(404, "").1),
                },
            };
            async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()) }
        };
        Self { pods, asked, watches, client: Client::new(service_fn(answer), "default") }
    }

    /// Changes or removes a Pod without a word.
    fn set(&self, name: &str, pod: Option<Json>) {
        let mut pods = self.pods.lock().unwrap();
        match pod {
            Some(pod) => _ = pods.insert(name.to_owned(), pod),
            None => _ = pods.remove(name),
        }
    }

    /// Has the watch say something.
    fn say(&self, kind: &str, object: &Json) {
        let line = json!({"type": kind, "object": object}).to_string();
        self.watches.lock().unwrap().last().unwrap().send(line).unwrap();
    }

    /// Waits for watches to be opened, and gives them time to take in what was said.
    async fn settled(&self, watches: usize) {
        while self.watches.lock().unwrap().len() < watches {
            tokio::task::yield_now().await;
        }
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Returns what was asked for of Pods since the last time.
    fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().filter(|path| path.contains("/pods")).collect()
    }
}

fn changed(name: &str, image: &str, version: &str) -> Json {
    let mut pod = pod(name, image);
    pod["metadata"]["resourceVersion"] = version.into();
    pod
}

#[tokio::test]
async fn only_what_the_watch_told_is_read_again() {
    let all: Vec<Json> = ["a", "b", "c"].iter().map(|name| pod(name, "x:latest")).collect();
    let server = Server::new(&all);
    let (rules, mut memory, mut notes) = (rules(), Memory::following(), Notes::default());
    let mut first = run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    server.settled(1).await;
    assert_eq!((first.objects, first.evaluated, server.asked().len()), (3, 3, 2), "a list and a watch");
    notes.listed.clear();

    let second = run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    assert_eq!((second.objects, second.evaluated), (3, 0));
    first.counts.sort_by(|a, b| a.rule.cmp(&b.rule));
    assert_eq!(counted(&second), counted(&first), "what is as it was counts as it did");
    assert_eq!(server.asked(), [""; 0], "nothing is read of what is as it was");

    let mended = changed("b", "x:1", "2");
    server.set("b", Some(mended.clone()));
    server.set("c", None);
    server.say("MODIFIED", &mended);
    server.say("DELETED", &pod("c", "x:latest"));
    server.settled(1).await;
    let third = run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    assert_eq!(server.asked(), ["/api/v1/namespaces/shop/pods/b"]);
    assert_eq!((third.objects, third.evaluated, counted(&third)), (2, 1, vec![("shop", 1, 1)]));
    assert!(notes.listed.contains(&("Pod".to_owned(), 1)), "one is gone: {:?}", notes.listed);
}

#[tokio::test]
async fn a_watch_that_missed_something_is_made_up_for_by_metadata() {
    let server = Server::new(&[pod("a", "x:latest"), pod("b", "x:latest"), pod("c", "x:latest")]);
    let (rules, mut memory, mut notes) = (rules(), Memory::following(), Notes::default());
    run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    server.settled(1).await;
    server.say("ERROR", &json!({"kind": "Status", "code": 410}));
    server.set("b", Some(changed("b", "x:1", "2")));
    server.set("c", None);
    server.settled(1).await;
    server.asked();
    let second = run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    server.settled(2).await;
    assert_eq!((second.objects, second.evaluated, counted(&second)), (2, 1, vec![("shop", 1, 1)]));
    let mut asked = server.asked();
    asked.sort();
    assert_eq!(asked, ["/api/v1/namespaces/shop/pods/b", "/api/v1/pods", "/api/v1/pods watch"]);
}

#[tokio::test]
async fn what_could_not_be_judged_is_tried_again_each_time() {
    let server = Server::new(&[pod("a", "x:1"), deep("deep")]);
    let (rules, mut memory, mut notes) = (rules(), Memory::following(), Notes::default());
    run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    server.settled(1).await;
    server.asked();
    let second = run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    assert_eq!(server.asked(), ["/api/v1/namespaces/shop/pods/deep"]);
    assert_eq!((second.objects, second.state), (2, Some(AuditState::Partial)));
    assert!(second.unread["core/Pod (1 object)"].starts_with("shop/deep: "), "{:?}", second.unread);
    server.set("deep", Some(pod("deep", "x:latest")));
    let third = run(server.client.clone(), &rules, &mut memory, &mut notes).await;
    assert_eq!((third.objects, third.state, notes.failing), (2, Some(AuditState::Complete), vec!["deep".to_owned()]));
}

#[tokio::test]
async fn what_judges_otherwise_has_its_namespace_read_again() {
    let server = Server::new(&[pod("a", "x:latest"), pod("b", "x:1")]);
    let (own, mut memory, mut notes) = (rules(), Memory::following(), Notes::default());
    run(server.client.clone(), &own, &mut memory, &mut notes).await;
    server.settled(1).await;
    server.asked();
    let excused = exempt(own, &[exemption("a", "2999-01-01")]);
    let second = run(server.client.clone(), &excused, &mut memory, &mut notes).await;
    assert_eq!((second.evaluated, with_exempt(&second)), (1, (1, 0, 1)));
    assert_eq!(
        server.asked().first().map(String::as_str),
        Some("/api/v1/pods"),
        "a list, for any object may be excused"
    );
}
