//! Kinds that are read otherwise than most.

use super::super::kinds::discover;
use super::*;

/// Returns rules of which one looks up a kind.
fn rules_that_look_up(kind: &str) -> Rules {
    let rule = RULE.replace("#   fix: F\n", &format!("#   fix: F\n#   inventory: [{kind}]\n"))
        + &format!("violation contains {{\"message\": \"found\", \"path\": []}} if input.inventory[\"{kind}\"][0]\n");
    rules_of(&rule)
}

#[tokio::test]
async fn secrets_are_not_looked_up_unless_they_may_be_read() {
    let mut answers = cluster(vec![("", page(&[pod("a", "x:latest")], ""))]);
    let resources = answers.get_mut("/api/v1").unwrap()[0].1["resources"].as_array_mut().unwrap();
    resources.push(json!({"name": "secrets", "singularName": "", "kind": "Secret", "namespaced": true,
        "verbs": ["list", "watch"]}));
    answers.insert("/api/v1/secrets".into(), vec![page(&[pod("s", "x:1")], "")]);
    let (client, asked) = client(answers);
    let (mut memory, mut notes) = (Memory::default(), Notes::default());
    let outcome = run(client, &rules_that_look_up("core/Secret"), &mut memory, &mut notes).await;
    assert!(outcome.unread["core/Secret"].contains("--audit-secrets"), "{:?}", outcome.unread);
    assert_eq!(notes.listed, [("Pod".to_owned(), 1)], "the rest is judged");
    let asked = asked.lock().unwrap();
    assert!(!asked.iter().any(|at| at.contains("secrets")), "{asked:?}");
}

#[tokio::test]
async fn what_can_only_be_listed_is_listed_and_not_followed() {
    let answers = || {
        let mut answers = cluster(vec![]);
        let resources = answers.get_mut("/api/v1").unwrap()[0].1["resources"].as_array_mut().unwrap();
        resources.retain(|resource| resource["kind"] != "Pod");
        let core = |name: &str, kind: &str| {
            json!({"name": name, "singularName": "", "kind": kind,
            "namespaced": true, "verbs": ["list"]})
        };
        resources.extend([core("pods", "Pod"), core("componentstatuses", "ComponentStatus")]);
        let list = json!({"metadata": {"resourceVersion": "7"}, "items": [pod("a", "x:latest")]});
        answers.insert("/api/v1/pods".into(), vec![(200, list)]);
        answers
    };
    let (rules, mut memory, mut notes) = (rules(), Memory::following(), Notes::default());
    for evaluated in [1, 0] {
        let (client, asked) = client(answers());
        let outcome = run(client, &rules, &mut memory, &mut notes).await;
        assert_eq!((outcome.objects, outcome.evaluated), (1, evaluated));
        tokio::task::yield_now().await;
        let asked = asked.lock().unwrap();
        assert_eq!(asked.iter().filter(|at| at.starts_with("/api/v1/pods")).count(), 1, "{asked:?}");
        assert!(!asked.iter().any(|at| at.contains("watch") || at.contains("componentstatuses")), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_does_not_answer_costs_itself_and_one_that_is_never_listed_nothing() {
    let group = |name: &str, versions: &[&str]| {
        let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
        let all: Vec<_> = versions.iter().map(version).collect();
        json!({"name": name, "versions": all, "preferredVersion": all.last()})
    };
    let groups = json!({"groups": [group("gone.example", &["v1"]), group("shop.example", &["v1beta1", "v1"]),
        group("metrics.k8s.io", &["v1beta1"]), group("wgpolicyk8s.io", &["v1alpha2"])]});
    let widgets = json!({"groupVersion": "", "resources": [{"name": "widgets", "singularName": "", "kind": "Widget",
        "namespaced": true, "verbs": ["list", "watch"]}]});
    let mut answers = cluster(vec![]);
    answers.insert("/apis".into(), vec![(200, groups)]);
    answers.insert("/apis/gone.example/v1".into(), vec![status(503, "nobody is there")]);
    for version in ["v1", "v1beta1"] {
        answers.insert(format!("/apis/shop.example/{version}"), vec![(200, widgets.clone())]);
    }
    let (client, asked) = client(answers);
    let began = tokio::time::Instant::now();
    let served = discover(&client, &Lister::new(1000, Cost::default())).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(served.unread.keys().collect::<Vec<_>>(), ["gone.example/v1"]);
    let widget = served.kinds.iter().find(|listed| listed.kind.kind == "Widget").unwrap();
    assert_eq!(widget.kind.version, "v1", "the preferred version, whichever answered first");
    let asked = asked.lock().unwrap();
    assert!(!asked.iter().any(|at| at.contains("metrics.k8s.io") || at.contains("wgpolicyk8s.io")), "{asked:?}");
}
