//! Lists of objects that weigh much.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body as Answer, Bytes};
use futures::stream::unfold;

use super::*;

/// Bytes of an answer that are sent at a time.
const CHUNK: usize = 64 << 10;

/// How much is sent and not yet let go of.
#[derive(Debug, Default)]
struct Flying {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// An answer on its way, until it was read or is given up.
struct Sending {
    text: Bytes,
    sent: usize,
    flying: Arc<Flying>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.flying.now.fetch_sub(self.sent, Ordering::SeqCst);
    }
}

fn sent(text: String, flying: &Arc<Flying>) -> Answer {
    let sending = Sending { text: text.into(), sent: 0, flying: flying.clone() };
    Answer::from_stream(unfold(sending, async |mut sending| {
        let end = sending.text.len().min(sending.sent + CHUNK);
        let chunk = sending.text.slice(sending.sent..end);
        (!chunk.is_empty()).then_some(())?;
        sending.sent = end;
        let now = sending.flying.now.fetch_add(chunk.len(), Ordering::SeqCst) + chunk.len();
        sending.flying.most.fetch_max(now, Ordering::SeqCst);
        Some((Ok::<_, Infallible>(chunk), sending))
    }))
}

/// Returns an API server with these Pods, which it lists as it is asked to; it writes down how many objects are asked for.
fn server(pods: Vec<String>, flying: &Arc<Flying>) -> (Client, Arc<Mutex<Vec<usize>>>) {
    let (others, pods, flying) = (cluster(Vec::new()), Arc::new(pods), flying.clone());
    let limits = Arc::new(Mutex::new(Vec::new()));
    let log = limits.clone();
    let answer = move |request: Request<Body>| {
        let query: BTreeMap<String, usize> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
            .collect();
        let (code, text) = if request.uri().path() == "/api/v1/pods" {
            let (limit, start) = (query["limit"], query.get("continue").copied().unwrap_or_default());
            log.lock().unwrap().push(limit);
            let end = pods.len().min(start + limit);
            let next = if end == pods.len() { String::new() } else { end.to_string() };
            let items = pods[start..end].join(",");
            (200, format!("{{\"metadata\":{{\"continue\":\"{next}\"}},\"items\":[{items}]}}"))
        } else {
            let known = others.get(request.uri().path()).map(|answers| answers[0].clone());
            let (code, json) = known.unwrap_or_else(|| status(404, ""));
            (code, json.to_string())
        };
        let body = sent(text, &flying);
        async move { Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()) }
    };
    (Client::new(service_fn(answer), "default"), limits)
}

fn heavy(name: &str, bytes: usize) -> String {
    let mut pod = pod(name, "x:1");
    pod["metadata"]["annotations"] = json!({"note": "x".repeat(bytes)});
    pod.to_string()
}

#[tokio::test]
async fn what_is_held_of_a_list_does_not_grow_with_its_objects() {
    let light = (0..150).map(|number| pod(&format!("light-{number}"), "x:latest").to_string());
    let heavy_ones = (0..40).map(|number| heavy(&format!("heavy-{number}"), 1 << 20));
    let pods: Vec<String> = light.chain(heavy_ones).chain([heavy("heaviest", 17 << 20)]).collect();
    let flying = Arc::new(Flying::default());
    let (client, limits) = server(pods, &flying);
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client, &rules(), &mut memory, &mut notes).await;
    assert_eq!((outcome.objects, notes.failing.len()), (191, 150));
    assert_eq!(notes.listed, [("Pod".to_owned(), 191)]);
    let limits = limits.lock().unwrap();
    assert_eq!(limits[..3], [100, 400, 100], "the second page is too heavy: {limits:?}");
    assert!(limits.contains(&1), "the heaviest comes alone: {limits:?}");
    let most = flying.most.load(Ordering::SeqCst);
    assert!((17 << 20..18 << 20).contains(&most), "a page of 16 MB, or the one object: {most} bytes");
}
