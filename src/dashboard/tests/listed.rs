//! What lists and pages hold when there is much, and what leads from one to another.

use super::*;

/// Returns a finding of a rule on an object of a namespace.
fn on(kind: &str, namespace: &str, name: &str) -> Finding {
    let plain = finding("container-image-tag", Action::Warn);
    let group = if kind == "Namespace" { String::new() } else { "apps".to_owned() };
    let object =
        ObjectKey { cluster: String::new(), group, kind: kind.into(), namespace: namespace.into(), name: name.into() };
    let (id, application) = (Fingerprint::new(&object, &plain.rule, "/spec"), None);
    Finding {
        id,
        object,
        application,
        owner: format!("{kind}/{name}"),
        place: "/spec".into(),
        brought_in: None,
        ..plain
    }
}

#[tokio::test]
async fn findings_are_exported_as_they_are_listed_and_every_filter_is_a_chip() {
    let dashboard = Dashboard::of(&[on("Deployment", "shop", "web")], true).await;
    let page = dashboard.page("/findings?since=7d&severity=high&group=rule").await;
    let path = "/api/v1/findings/export?severity=high&amp;since=7d&amp;mode=enforce,warn&amp;format=";
    let page_of = |page: &str| page.replace("&#38;", "&amp;");
    let text = page_of(&page);
    for format in ["csv", "ndjson", "sarif"] {
        assert!(text.contains(&format!("{path}{format}\" download")), "{format}: {text}");
    }
    assert!(text.contains("First seen since</span> 7d"), "{text}");
    let text = dashboard.page("/findings?owner=Deployment/web&policy=baseline").await;
    for expected in ["id=\"other-owner\"", "<span>Deployment/web</span>", "<span>baseline</span>", ">Policy <span"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let export = "/api/v1/findings/export?severity=high&since=7d&mode=enforce,warn&format=csv";
    let (status, _, csv) = dashboard.ask(Method::GET, export, &[]).await;
    assert!(status == StatusCode::OK && csv.contains("web"), "{csv}");
}

#[tokio::test]
async fn groups_beyond_those_that_are_shown_are_counted() {
    let mut findings: Vec<Finding> = (0..203).map(|number| on("Pod", &format!("team-{number}"), "a")).collect();
    findings.extend((0..2).map(|number| on("Pod", "team-202", &number.to_string())));
    let dashboard = Dashboard::of(&findings, true).await;
    let page = dashboard.page("/findings?group=namespace").await;
    assert_eq!(page.matches("<tr data-row>").count(), 200, "{page}");
    assert!(page.contains("and 3 more, with fewer findings each"), "{page}");
    assert_eq!(page.matches("1 high").count() + page.matches("3 high").count(), 200, "each has its severities: {page}");
    let page = dashboard.page("/findings?group=kind").await;
    assert!(!page.contains("with fewer findings each") && page.contains("205 high"), "{page}");
}

#[tokio::test]
async fn a_namespace_is_one_object_to_decisions_findings_and_its_page() {
    let own = on("Namespace", "", "shop");
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let now = Timestamp::now();
    let mut audit = store.begin_audit("", Trigger::Request, "p", now).await.unwrap();
    let contents = vec![Content { digest: "c0ffee".into(), text: "{}".into() }];
    store.change("", Changes { put: vec![own.clone()], contents, ..Changes::default() }, now).await.unwrap();
    (audit.state, audit.finished) = (AuditState::Complete, Some(now));
    store.end_audit(&audit, &[], &[]).await.unwrap();
    let mut batch = report();
    for decision in &mut batch.decisions {
        decision.uid = "of-shop".into();
        (decision.group, decision.kind) = (String::new(), "Namespace".into());
        (decision.namespace, decision.name, decision.cluster) = ("shop".into(), "shop".into(), String::new());
        for result in &mut decision.results {
            (result.rule, result.place) = ("container-image-tag".into(), "/spec".into());
        }
    }
    store.take_in(&batch).await.unwrap();
    let wanted = |namespaces| Wanted { label: "a".into(), scopes: vec![Scope::Read], namespaces, expires: None };
    let limited = tokens::make(wanted(vec!["shop".to_owned()]), now).unwrap();
    store.put_token(&limited.token).await.unwrap();
    let dashboard = Dashboard::new(directory, Door::Open, Some(kept(store)));
    let page = dashboard.page("/decisions/of-shop").await;
    assert!(page.contains(&format!("/findings/{}", own.id)), "{page}");
    assert!(page.contains("href=\"/resources/Namespace/-/shop\""), "{page}");
    let page = dashboard.page("/resources/Namespace/-/shop").await;
    assert!(page.contains("/decisions/of-shop") && page.contains(&format!("/findings/{}", own.id)), "{page}");
    let page = dashboard.page("/namespaces/shop").await;
    assert!(page.contains("What is wrong with the Namespace itself") && page.contains(&own.id.to_string()), "{page}");
    let bearer = format!("Bearer {}", limited.secret);
    let (_, _, page) = dashboard.ask(Method::GET, "/namespaces/shop", &[("authorization", &bearer)]).await;
    assert!(!page.contains(&own.id.to_string()), "it is outside any namespace: {page}");
    let (_, _, page) = dashboard.ask(Method::GET, "/decisions/of-shop", &[("authorization", &bearer)]).await;
    assert!(page.contains("<a href=\"/namespaces/shop\">Everything known"), "{page}");
}

#[tokio::test]
async fn what_is_announced_is_not_enforced_yet() {
    let change = |from: &'static str| {
        move |in_force: &mut InForce| {
            let text = format!("defaults: {{enforce: baseline, from: \"{from}\"}}\n");
            in_force.config = Arc::new(Config::parse(std::path::Path::new("config.yaml"), &text).unwrap());
        }
    };
    for (from, counted, announced) in [("2099-01-01", "0", true), ("2020-01-01", "2", false)] {
        let directory = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::with(directory, Door::Open, None, change(from));
        let page = dashboard.page("/").await;
        let enforced = format!("enforce</span><strong>{counted}</strong>");
        assert!(page.contains(&enforced), "{from}: {page}");
        assert_eq!(page.contains(", 2 announced"), announced, "{from}: {page}");
    }
}

#[tokio::test]
async fn many_namespaces_are_offered_in_order_while_one_writes() {
    let change = |in_force: &mut InForce| {
        let mut surroundings = Surroundings::new([]);
        let names = (0..70).rev().map(|number| format!("team-{number:02}"));
        surroundings.add_namespaces(&names.map(|name| (name.clone(), NamespaceMeta::named(&name))).collect());
        in_force.surroundings = Arc::new(surroundings);
    };
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path(), None).await.unwrap();
    let dashboard = Dashboard::with(directory, Door::Open, Some(kept(store)), change);
    let offered = "<option value=\"team-00\"></option><option value=\"team-01\">";
    for path in ["/feed", "/decisions", "/playground"] {
        let page = dashboard.page(path).await;
        assert!(page.contains(offered), "{path}: {page}");
    }
    let page = dashboard.page("/decisions?namespace=team-07&state=denied").await;
    assert!(page.contains("type=\"hidden\" name=\"namespace\" value=\"team-07\""), "{page}");
}

#[tokio::test]
async fn applications_of_one_name_are_told_apart() {
    let of = |kind: &str, namespace: &str, name: &str| {
        let application = Application { kind: kind.into(), namespace: namespace.into(), name: "shop".into() };
        Finding { application: Some(application), ..on("Deployment", "shop", name) }
    };
    let findings =
        [of("Kustomization", "flux-system", "a"), of("HelmRelease", "team", "b"), of("HelmRelease", "team", "c")];
    let dashboard = Dashboard::of(&findings, true).await;
    let page = dashboard.page("/applications").await.replace("&#38;", "&");
    for (kind, namespace, total) in [("Kustomization", "flux-system", 1), ("HelmRelease", "team", 2)] {
        let href = format!("/applications/shop?kind={kind}&in={namespace}");
        assert!(page.contains(&href), "{href}: {page}");
        let one = dashboard.page(&href).await;
        assert!(one.contains(&format!("Flux {kind} in {namespace}")), "{href}: {one}");
        assert!(one.contains(&format!("{total} open finding")), "{href}: {one}");
        assert_eq!(one.matches("<tr data-row>").count(), total, "{href}: {one}");
        assert!(one.contains("Something else has this name"), "{href}: {one}");
    }
    let (status, ..) = dashboard.ask(Method::GET, "/applications/shop?kind=Application", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(dashboard.page("/applications/shop").await.contains("Something else has this name"));
}
