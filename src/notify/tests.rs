//! What receivers get, over real connections, from a real store.

mod mail;
mod post;
mod scene;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use self::post::Post;
use self::scene::Scene;
use super::notice::{Item, Notice};
use super::webhook;
use crate::config::notifications::Event;
use crate::policy::Severity;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_audit_is_one_summary_and_the_next_one_tells_what_is_new() {
    let post = Post::open().await;
    let scene = Scene::new().await;
    let secret = scene.file("secret", SECRET);
    let desk = scene.notify(&format!(
        "- {{name: soc, kind: webhook, url: '{}/in', secretFile: {secret}, every: 1s}}",
        post.address
    ));
    let many: Vec<_> = (0..30)
        .map(|number| (["shop", "api", ""][number % 3], format!("web-{number}"), Severity::ALL[number % 5]))
        .collect();
    scene.audit(&many).await;
    let first = post.next().await;
    assert_eq!(first.path, "/in");
    assert_eq!(first.text("/event"), "findings");
    assert_eq!(
        first.text("/title"),
        "the first audit found 30 violations in 3 namespaces: 6 critical, 6 high, 6 medium, 6 low, 6 info"
    );
    assert_eq!(first.body["items"].as_array().unwrap().len(), 1, "by rule: {}", first.body);
    assert_eq!(first.text("/items/0/url"), "https://gate.example/findings?rule=container-image-tag");
    first.check_signature(SECRET);

    scene.audit(&[("shop", "one".to_owned(), Severity::High)]).await;
    let second = post.next().await;
    second.check_signature(SECRET);
    assert_eq!(second.text("/title"), "1 new finding in 1 namespace: 1 high");
    let id = Scene::id("shop", "one");
    assert_eq!(second.text("/items/0/url"), format!("https://gate.example/findings/{id}"));
    assert_eq!(second.text("/items/0/text"), "Deployment/one in shop: container-image-tag (high): no tag");
    assert_eq!(second.text("/url"), "https://gate.example/audits/2");
    assert_ne!(first.header("webhook-id"), second.header("webhook-id"));

    scene.audit(&[]).await;
    post.nothing().await;
    let status = serde_json::to_value(desk.status()).unwrap();
    assert_eq!((status[0]["delivered"].as_u64(), status[0]["dropped"].as_u64()), (Some(2), Some(0)), "{status}");
    assert!(status[0]["lastDelivery"].is_string() && status[0]["lastError"].is_null(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_say_by_their_annotation_who_hears_of_them() {
    let post = Post::open().await;
    let scene = Scene::new().await;
    scene.annotate("shop", "notify.gatepost.dev/chat", "#shop");
    scene.annotate("api", "notify.gatepost.dev/chat", "");
    scene.annotate("lab", "notify.gatepost.dev/chat", "off");
    let url = scene.file("url", &format!("{}/services/T0/B0/x\n", post.address));
    scene.notify(&format!("- {{name: chat, kind: slack, urlFile: {url}, namespaces: annotated, severity: medium}}"));
    let found = ["shop", "api", "lab", "other"].map(|namespace| (namespace, "web<&>".to_owned(), Severity::High));
    scene.audit(&found).await;
    scene.audit(&[("shop", "small".to_owned(), Severity::Low)]).await;
    let mut got = [post.next().await, post.next().await];
    got.sort_by_key(|got| got.body["channel"].as_str().map(str::to_owned));
    assert_eq!((got[0].body["channel"].as_str(), got[1].body["channel"].as_str()), (None, Some("#shop")));
    for got in &got {
        assert_eq!(got.path, "/services/T0/B0/x");
        assert!(got.text("/text").contains("in 1 namespace: 1 high"), "{}", got.body);
        assert!(got.text("/blocks/1/elements/0/text").starts_with("<https://gate.example/"), "{}", got.body);
    }
    post.nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_told_in_words_of_its_own() {
    let (chat, soc) = (Post::open().await, Post::open().await);
    let scene = Scene::new().await;
    // What the first audit of a store finds is told as a summary.
    scene.audit(&[("old", "web".to_owned(), Severity::Low)]).await;
    let url = scene.file("url", &chat.address);
    scene.notify(&format!(
        "- name: chat\n  kind: slack\n  urlFile: {url}\n  title: 'Look: {{{{ count }}}}'\n  text: |\n    \
         {{% for item in items %}}{{{{ item.namespace }}}}/{{{{ item.text }}}}{{% endfor %}}\n\
         - name: soc\n  kind: webhook\n  url: '{}/'\n  text: '{{\"msg\": {{{{ title }}}}, \"by\": {{{{ target }}}}, \"all\": {{{{ items | tojson }}}}}}'\n",
        soc.address,
    ));
    scene.audit(&[("shop", "<!channel>\"".to_owned(), Severity::High)]).await;
    let got = chat.next().await;
    assert_eq!(got.text("/text"), "Look: 1");
    let text = got.text("/blocks/0/text/text");
    assert!(text.starts_with("shop/") && text.contains("&lt;!channel&gt;\""), "{text}");
    let got = soc.next().await;
    assert!(got.text("/msg").starts_with("1 new finding") && got.text("/by") == "soc", "{}", got.body);
    assert!(got.text("/all/0/text").contains("<!channel>\""), "{}", got.body);
}

/// What templates are tried on must have what messages have, and nothing else.
#[test]
fn templates_are_tried_on_all_that_a_message_has() {
    let mut notice = Notice::new(Event::Findings, Timestamp::UNIX_EPOCH, "prod");
    notice.severities.insert(Severity::High, 1);
    notice.namespaces.push("shop".into());
    (notice.recipient, notice.owner, notice.url) = (Some("a".into()), Some("b".into()), Some("c".into()));
    let some = || Some("x".to_owned());
    notice.items.push(Item {
        severity: Some(Severity::Low),
        namespace: some(),
        rule: some(),
        url: some(),
        ..Item::new("x")
    });
    let document = serde_json::to_value(webhook::Document::new("chat", &notice, "msg_1")).unwrap();
    let keys = |value: &Json| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let sample = crate::config::notifications::template::sample();
    assert_eq!(keys(&document), keys(&sample));
    assert_eq!(keys(&document["items"][0]), keys(&sample["items"][0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_hears_later_with_the_same_id() {
    let post = Post::open().await;
    post.answer(&[503, 500]);
    let scene = Scene::new().await;
    let text = format!("- {{name: soc, kind: webhook, url: '{}/', every: 1s}}", post.address);
    let desk = scene.notify(&text);
    scene.audit(&[("shop", "web".to_owned(), Severity::High)]).await;
    let tried = post.next().await;
    let status = scene.until(|| {
        let status = serde_json::to_value(desk.status()).unwrap();
        status[0]["lastError"]["cause"].is_string().then_some(status)
    });
    let status = status.await;
    assert_eq!(status[0]["lastError"]["cause"], "503 Service Unavailable: as told", "{status}");
    assert_eq!((&status[0]["waiting"], &status[0]["delivered"]), (&Json::from(1), &Json::from(0)));
    assert!(status[0]["nextAttempt"].is_string(), "{status}");
    let again = post.next().await;
    let taken = post.next().await;
    for later in [&again, &taken] {
        assert_eq!(later.header("webhook-id"), tried.header("webhook-id"));
        assert_eq!(later.body, tried.body);
    }
    let metrics = scene.metrics();
    assert!(metrics.contains("gatepost_notification_failures_total{target=\"soc\"} 2"), "{metrics}");

    // Another process goes on where this one stood, and tells nothing twice.
    let told = || (serde_json::to_value(desk.status()).unwrap()[0]["delivered"] == 1).then_some(());
    scene.until(told).await;
    drop(desk);
    scene.stop();
    scene.audit(&[("shop", "new".to_owned(), Severity::Low)]).await;
    scene.notify(&text);
    let after = post.next().await;
    assert_eq!(after.text("/title"), "1 new finding in 1 namespace: 1 low");
    post.nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_are_as_alertmanager_takes_them() {
    let post = Post::open().await;
    let scene = Scene::new().await;
    let token = scene.file("token", "t0ken\n");
    let url = &post.address;
    let events = "[findings, audits]";
    scene.notify(&format!(
        "- {{name: alerts, kind: alertmanager, url: '{url}/am/', tokenFile: {token}, events: {events}}}"
    ));
    scene.audit(&[("shop", "web".to_owned(), Severity::Critical)]).await;
    let mut got = [post.next().await, post.next().await];
    got.sort_by_key(|got| got.text("/0/labels/alertname"));
    let [audit, findings] = &got;
    assert_eq!(findings.path, "/am/api/v2/alerts");
    assert_eq!(findings.header("authorization"), "Bearer t0ken");
    assert_eq!(
        findings.body[0]["labels"],
        serde_json::json!({"alertname": "GatepostNewFindings", "severity": "critical", "namespace": "shop"})
    );
    let time = |at: &str| findings.text(at).parse::<Timestamp>().unwrap();
    assert_eq!(time("/0/endsAt").duration_since(time("/0/startsAt")), SignedDuration::from_hours(4));
    assert!(findings.text("/0/generatorURL").starts_with("https://gate.example/"));
    assert_eq!(audit.text("/0/labels/alertname"), "GatepostAuditEnded");
    assert_eq!(audit.text("/0/annotations/summary"), "the audit looked at 7 objects: 1 new, 0 fixed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denials_are_told_together_also_those_that_come_late() {
    let post = Post::open().await;
    let scene = Scene::new().await;
    scene.notify(&format!("- {{name: soc, kind: webhook, url: '{}/', events: [denials]}}", post.address));
    let long_ago = Timestamp::now() - SignedDuration::from_hours(3);
    scene.deny("a", long_ago, &[("shop", "web", "jane"), ("shop", "web", "jane"), ("api", "job", "argo")]).await;
    let got = post.next().await;
    assert_eq!(got.text("/title"), "3 requests denied in 2 namespaces");
    let texts: Vec<&str> =
        got.body["items"].as_array().unwrap().iter().map(|item| item["text"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        [
            "Deployment/web in shop by jane, 2 times: container-image-tag",
            "Deployment/job in api by argo: container-image-tag"
        ]
    );
    assert_eq!(got.text("/items/0/url"), "https://gate.example/namespaces/shop");
    post.nothing().await;
}

#[tokio::test]
async fn exemptions_are_told_of_before_their_end_and_after_it() {
    let scene = Scene::new().await;
    scene.exempt("2026-06-20");
    scene.annotate("shop", "notify.gatepost.dev/soc", "team");
    let target = Scene::target("- {name: soc, kind: webhook, url: 'http://h', namespaces: annotated}");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut told = BTreeSet::new();
    for (after, now, expected) in [
        ("2026-06-01T00:00:00Z", "2026-06-05T00:00:00Z", None),
        ("2026-06-05T00:00:00Z", "2026-06-07T00:00:00Z", Some("1 exemption will end within two weeks")),
        ("2026-06-07T00:00:00Z", "2026-06-19T00:00:00Z", None),
        ("2026-06-19T00:00:00Z", "2026-06-22T00:00:00Z", Some("1 exemption ended; what they excused counts again")),
        ("2026-06-22T00:00:00Z", "2026-07-22T00:00:00Z", None),
    ] {
        let due = scene.source().due(&target, Event::Exemptions, (at(after), at(now)), &told).await.unwrap();
        told.extend(due.telling.into_iter().map(|(ending, _)| ending));
        let titles: Vec<&str> = due.notices.iter().map(|notice| notice.title.as_str()).collect();
        assert_eq!(titles.first().copied(), expected, "{after}");
        assert!(due.notices.iter().all(|notice| notice.recipient.as_deref() == Some("team")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_made_shortly_before_its_end_is_told_of_once() {
    let post = Post::open().await;
    let scene = Scene::new().await;
    let text = format!("- {{name: soc, kind: webhook, url: '{}/', every: 1s, events: [exemptions]}}", post.address);
    let desk = scene.notify(&text);
    let in_days = |days: i64| (Timestamp::now() + SignedDuration::from_hours(24 * days)).to_string();
    let end = in_days(3);
    scene.exempt(&end);
    let got = post.next().await;
    assert_eq!(got.text("/title"), "1 exemption will end within two weeks");
    assert_eq!(got.text("/url"), "https://gate.example/exemptions");
    assert!(got.text("/items/0/text").contains(&format!("old-images ends {end}")), "{}", got.body);
    scene.until(|| (serde_json::to_value(desk.status()).unwrap()[0]["delivered"] == 1).then_some(())).await;

    // Another process goes on where this one stood.
    drop(desk);
    scene.stop();
    scene.notify(&text);
    post.nothing().await;
    scene.exempt(&in_days(5));
    assert_eq!(post.next().await.text("/title"), "1 exemption will end within two weeks", "it has another end");
    scene.exempt(&in_days(30));
    post.nothing().await;
}

#[tokio::test]
async fn a_date_is_told_when_it_is_announced_a_week_and_a_day_before_and_when_it_has_come() {
    let scene = Scene::new().await;
    scene.annotate("shop", "notify.gatepost.dev/soc", "team");
    scene.enforce_from("shop", "2026-12-01T00:00:00Z");
    scene.enforce_from("hidden", "2026-12-01T00:00:00Z");
    scene.announce("shop", "2026-11-02T10:00:00Z", "2026-12-01").await;
    let target = Scene::target("- {name: soc, kind: webhook, url: 'http://h', namespaces: annotated}");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let none = BTreeSet::new();
    for (after, now, expected) in [
        ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", None),
        (
            "2026-11-02T00:00:00Z",
            "2026-11-02T12:00:00Z",
            Some("shop denies what baseline finds from 2026-12-01, in 28 days"),
        ),
        ("2026-11-02T12:00:00Z", "2026-11-23T00:00:00Z", None),
        (
            "2026-11-23T00:00:00Z",
            "2026-11-24T00:00:00Z",
            Some("shop denies what baseline finds from 2026-12-01, in 7 days"),
        ),
        (
            "2026-11-24T00:00:00Z",
            "2026-11-30T01:00:00Z",
            Some("shop denies what baseline finds from 2026-12-01, in 23 hours"),
        ),
        ("2026-11-30T01:00:00Z", "2026-12-01T00:00:00Z", Some("shop denies what baseline finds since 2026-12-01")),
        ("2026-12-01T00:00:00Z", "2026-12-31T00:00:00Z", None),
    ] {
        let due = scene.source().due(&target, Event::Enforcement, (at(after), at(now)), &none).await.unwrap();
        let titles: Vec<&str> = due.notices.iter().map(|notice| notice.title.as_str()).collect();
        assert_eq!(titles, Vec::from_iter(expected), "{after}");
        assert!(due.notices.iter().all(|notice| notice.recipient.as_deref() == Some("team")));
        assert!(due.notices.iter().all(|notice| notice.items[0].text.ends_with(": 0 findings of it open")));
    }
}

#[tokio::test]
async fn a_digest_tells_each_owner_of_their_own() {
    let scene = Scene::new().await;
    for (namespace, owner) in [("shop", "team-a"), ("cart", "team-a"), ("api", "team-b")] {
        scene.annotate(namespace, "gatepost.dev/owner", owner);
    }
    scene
        .audit(&[
            ("shop", "a".to_owned(), Severity::High),
            ("cart", "b".to_owned(), Severity::High),
            ("api", "c".to_owned(), Severity::Low),
            ("", "d".to_owned(), Severity::Low),
        ])
        .await;
    let target = Scene::target("- {name: post, kind: webhook, url: 'http://h', events: [digest]}");
    let none = BTreeSet::new();
    let now = Timestamp::now();
    let week = SignedDuration::from_hours(7 * 24);
    let due = scene.source().due(&target, Event::Digest, (now - week, now), &none).await.unwrap();
    let told: Vec<(Option<&str>, &str, u64)> =
        due.notices.iter().map(|notice| (notice.owner.as_deref(), notice.title.as_str(), notice.count)).collect();
    assert_eq!(
        told,
        [
            (None, "the week: 1 finding open (1 low), 1 new, 0 fixed", 1),
            (Some("team-a"), "the week of team-a: 2 findings open (2 high), 2 new, 0 fixed", 2),
            (Some("team-b"), "the week of team-b: 1 finding open (1 low), 1 new, 0 fixed", 1),
        ]
    );
    assert_eq!(due.notices[1].url.as_deref(), Some("https://gate.example/findings?namespace=cart,shop"));
    let again = scene.source().due(&target, Event::Digest, (due.through.unwrap(), now), &none).await.unwrap();
    assert!(again.notices.is_empty() && again.through.is_none(), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_reaches_a_target_or_says_why_not() {
    let post = Post::open().await;
    let scene = Scene::new().await;
    let desk = scene.notify(&format!(
        "- {{name: good, kind: webhook, url: '{}/'}}\n- {{name: bad, kind: slack, urlFile: /nowhere/url}}",
        post.address
    ));
    assert_eq!(desk.test("none").await, None);
    assert_eq!(desk.test("good").await, Some(Ok(())));
    let got = post.next().await;
    assert_eq!((got.text("/event"), got.text("/url")), ("test".to_owned(), "https://gate.example/".to_owned()));
    let cause = desk.test("bad").await.unwrap().unwrap_err().to_string();
    assert!(cause.starts_with("/nowhere/url: "), "{cause}");
}
