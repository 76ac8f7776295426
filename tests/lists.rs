//! The lists of the API, on a store that was filled by hand.

use serde_json::{Value as Json, json};

use crate::support::seed::{Seeded, fill};
use crate::support::server::Server;

const CONFIG: &str = "defaults: {warn: recommended}\nstatic:\n  shop: {labels: {gatepost.dev/enforce: baseline}}\n  \
    bank: {}\n  kube-system: {}\n  argocd: {}\n";

fn filled() -> (Server, Seeded) {
    let server = Server::start(&[("config.yaml", CONFIG)], &["--config", "config.yaml"], &[]);
    let seeded = fill(&server.path("data"));
    (server, seeded)
}

fn get(server: &Server, path: &str) -> Json {
    let (status, body) = server.ask("GET", path, "", "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

/// Returns one field of each item, joined by spaces.
fn told(server: &Server, path: &str, field: &str) -> String {
    let list = get(server, path);
    let items = list["items"].as_array().expect("items");
    let text = |item: &Json| item.pointer(field).and_then(Json::as_str).unwrap_or("-").to_owned();
    items.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_list_is_narrowed_as_its_filters_say() {
    let (server, seeded) = filled();
    for (path, field, expected) in [
        ("decisions", "/uid", "allowed-1 denied-1"),
        ("decisions?state=denied", "/uid", "denied-1"),
        ("decisions?namespace=bank", "/uid", "allowed-1"),
        ("decisions?rule=CONTAINERS_MISSING_IMAGE_VALUE_VERSION&mode=enforce", "/uid", "denied-1"),
        ("decisions?rule=container-privileged", "/uid", ""),
        ("decisions?severity=low", "/uid", ""),
        ("decisions?since=1m", "/uid", ""),
        ("decisions?text=web&limit=1", "/uid", "allowed-1"),
        ("decisions?sort=oldest", "/uid", "denied-1 allowed-1"),
        ("decisions?application=front", "/uid", ""),
        ("checks", "/source", "ci/shop"),
        ("checks?source=ci/other", "/source", ""),
        ("checks?state=passed", "/source", ""),
        ("checks?state=failed&since=1d", "/commit", "abc"),
        ("resources", "/name", "dns db web"),
        ("resources?namespace=shop&severity=critical", "/name", "web"),
        ("resources?text=db", "/name", "db"),
        ("resources?sort=findings", "/name", "web db dns"),
        ("audits?sort=oldest&limit=1", "/state", "complete"),
        ("findings?namespace=shop&sort=object", "/resource/name", "db web web"),
        ("findings?state=fixed", "/resource/name", "old"),
        ("findings?namespace=sh*&sort=object", "/resource/name", "db web web"),
        ("findings?namespace=!shop", "/resource/name", "dns"),
        ("findings?namespace=none-*", "/resource/name", ""),
        ("decisions?namespace=*,!bank", "/uid", "denied-1"),
        ("findings?since=1m", "/resource/name", ""),
    ] {
        assert_eq!(told(&server, &format!("/api/v1/{path}"), field), expected, "{path}");
    }
    let first = get(&server, "/api/v1/decisions?limit=1");
    let next = first["next"].as_str().expect("another page");
    assert_eq!(told(&server, &format!("/api/v1/decisions?limit=1&cursor={next}"), "/uid"), "denied-1");
    let (status, problem) = server.ask("GET", &format!("/api/v1/checks?cursor={next}"), "", "");
    assert_eq!(status, 400, "{problem}");
    let (status, problem) = server.ask("GET", &format!("/api/v1/decisions?sort=oldest&cursor={next}"), "", "");
    assert_eq!(status, 400, "it is of the other order: {problem}");
    let (status, problem) = server.ask("GET", "/api/v1/decisions?sort=newset", "", "");
    assert!(status == 400 && problem.contains("newest"), "{problem}");
    assert!(get(&server, "/api/v1/checks")["items"][0].get("results").is_none());
    let check = get(&server, &format!("/api/v1/checks/{}", seeded.check));
    assert_eq!(check["results"][0]["rule"], "container-image-tag", "{check}");
    let (status, problem) = server.ask("GET", "/api/v1/checks/none", "", "");
    assert_eq!(status, 404, "{problem}");
}

#[test]
fn namespaces_tell_modes_with_their_origin_and_how_they_stand() {
    let (server, _) = filled();
    let list = get(&server, "/api/v1/namespaces");
    let of = |name: &str| {
        let items = list["items"].as_array().expect("items");
        items.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name}: {list}")).clone()
    };
    let shop = of("shop");
    let modes = json!([
        {"mode": "enforce", "policy": "baseline", "origin": "label", "scope": "new"},
        {"mode": "warn", "policy": "recommended", "origin": "default"},
        {"mode": "audit", "policy": "strict", "origin": "default"},
    ]);
    assert_eq!((&shop["modes"], &shop["group"]), (&modes, &json!("yours")), "{shop}");
    assert_eq!((&shop["open"], &shop["wouldBeDenied"]), (&json!({"high": 2, "critical": 1}), &json!(3)), "{shop}");
    // 100 × 100 / (100 + 10 × log2(1 + 1) + 5 × log2(1 + 2))
    assert_eq!(shop["score"], json!(84.7), "{shop}");
    assert_eq!((&of("bank")["score"], &of("bank")["open"]), (&json!(100.0), &json!({})), "judged, and nothing found");
    assert_eq!((&of("argocd")["score"], &of("argocd")["group"]), (&Json::Null, &json!("vendor")), "no data is not 100");
    assert_eq!(of("kube-system")["group"], "system");
    assert_eq!(list["cluster"]["score"], json!(84.7), "the system's own stays out");
    for (query, expected) in [
        ("?group=system,vendor", "argocd kube-system"),
        ("?mode=enforce", "shop"),
        ("?policy=baseline", "shop"),
        ("?text=an", "bank"),
        ("?limit=2", "argocd bank"),
        ("?namespace=*o*,!argocd", "shop"),
        ("?rule=CONTAINERS_MISSING_IMAGE_VALUE_VERSION", "shop"),
        ("?severity=critical&sort=name", "kube-system shop"),
        ("?sort=findings&limit=2", "shop kube-system"),
        ("?sort=wouldBeDenied&limit=1", "shop"),
        ("?sort=score&group=yours,vendor", "shop bank argocd"),
    ] {
        assert_eq!(told(&server, &format!("/api/v1/namespaces{query}"), "/name"), expected, "{query}");
    }
}

#[test]
fn rules_and_policies_tell_their_documentation_and_what_is_open() {
    let (server, _) = filled();
    let rule = get(&server, "/api/v1/rules/CONTAINERS_MISSING_IMAGE_VALUE_VERSION");
    assert_eq!((&rule["id"], &rule["open"]), (&json!("container-image-tag"), &json!({"high": 2})), "{rule}");
    for field in ["/title", "/description", "/impact", "/fix", "/source", "/examples/bad", "/examples/good"] {
        assert!(rule.pointer(field).and_then(Json::as_str).is_some_and(|text| !text.is_empty()), "{field}: {rule}");
    }
    let listed = get(&server, "/api/v1/rules?policy=baseline&severity=critical&text=privileged");
    let items = listed["items"].as_array().expect("items");
    assert!(items.iter().any(|rule| rule["id"] == "container-privileged"), "{listed}");
    let is_asked = |rule: &&Json| {
        rule["severity"] == "critical"
            && rule["policies"].as_array().is_some_and(|all| all.contains(&json!("baseline")))
    };
    assert_eq!(items.iter().filter(is_asked).count(), items.len(), "{listed}");
    assert_eq!(told(&server, "/api/v1/policies", "/name"), "baseline datree-default recommended strict");
    for (path, expected) in [
        ("policies?sort=rules", "datree-default recommended strict baseline"),
        ("policies?rule=CONTAINERS_MISSING_IMAGE_VALUE_VERSION&text=datree", "datree-default"),
        ("policies?policy=strict,none", "strict"),
    ] {
        assert_eq!(told(&server, &format!("/api/v1/{path}"), "/name"), expected, "{path}");
    }
    for (path, expected) in [
        ("rules?rule=CONTAINERS_MISSING_IMAGE_VALUE_VERSION", "container-image-tag"),
        ("rules?sort=findings&limit=2", "container-image-tag container-privileged"),
        (
            "rules?sort=severity&severity=critical,high&limit=1&rule=container-image-tag,container-privileged",
            "container-privileged",
        ),
    ] {
        assert_eq!(told(&server, &format!("/api/v1/{path}"), "/id"), expected, "{path}");
    }
    let policy = get(&server, "/api/v1/policies/recommended");
    let rules = policy["rules"].as_array().expect("rules");
    assert_eq!(policy["ruleCount"], json!(rules.len()));
    let tag = rules.iter().find(|rule| rule["id"] == "container-image-tag").expect("the rule");
    assert_eq!((&tag["open"], &tag["onError"]), (&json!({"high": 2}), &json!("deny")), "{tag}");
    assert_eq!(server.ask("GET", "/api/v1/policies/none", "", "").0, 404);
}

#[test]
fn trends_tell_what_came_and_went_by_audit() {
    let (server, seeded) = filled();
    let trend = get(&server, "/api/v1/trends");
    let points = trend["items"].as_array().expect("items");
    assert_eq!(points.len(), 2, "{trend}");
    let (now, before) = (&points[0], &points[1]);
    assert_eq!(now["audit"], json!(seeded.audit));
    assert_eq!(
        (&now["open"], &now["new"], &now["fixed"]),
        (&json!({"high": 2, "critical": 2}), &json!({}), &json!({"high": 1}))
    );
    assert_eq!(
        (&before["open"], &before["new"]),
        (&json!({"high": 3, "critical": 2}), &json!({"high": 3, "critical": 2}))
    );
    assert_eq!((&before["score"], &now["score"]), (&json!(83.3), &json!(84.7)), "{trend}");
    let forward = get(&server, "/api/v1/trends?sort=oldest");
    assert_eq!(forward["items"], json!([before, now]));
    let bank = get(&server, "/api/v1/trends?namespace=bank");
    assert_eq!((&bank["items"][0]["open"], &bank["items"][0]["score"]), (&json!({}), &json!(100.0)), "{bank}");
    let empty = get(&server, "/api/v1/trends?namespace=argocd");
    assert_eq!(empty["items"][0]["score"], Json::Null, "{empty}");
    let audit = get(&server, &format!("/api/v1/audits/{}?namespace=shop", seeded.audit));
    assert_eq!(audit["counts"].as_array().map(Vec::len), Some(1), "{audit}");
    assert_eq!((&audit["counts"][0]["failed"], &audit["state"]), (&json!(2), &json!("complete")), "{audit}");
    assert_eq!(told(&server, "/api/v1/audits?state=running", "/state"), "");
}

#[test]
fn facets_count_what_could_be_chosen_instead() {
    let (server, _) = filled();
    let counted = get(&server, "/api/v1/findings/facets?namespace=shop&facet=severity,namespace,mode,state");
    assert_eq!(counted["total"], json!(3), "{counted}");
    let facets = json!({
        "severity": [{"value": "high", "count": 2}, {"value": "critical", "count": 1}],
        "namespace": [{"value": "shop", "count": 3}, {"value": "kube-system", "count": 1}],
        "mode": [{"value": "warn", "count": 3}],
        "state": [{"value": "open", "count": 3}, {"value": "closed", "count": 1}],
    });
    assert_eq!(counted["facets"], facets);
    let all = get(&server, "/api/v1/findings/facets?limit=1&text=write");
    assert_eq!(all["facets"].as_object().map(serde_json::Map::len), Some(8), "{all}");
    assert_eq!(all["facets"]["rule"], json!([{"value": "container-image-tag", "count": 2}]), "{all}");
}

#[test]
fn exports_hold_exactly_what_the_filter_finds() {
    let (server, seeded) = filled();
    let export = |query: &str, header: &str| {
        let (status, body) = server.ask("GET", &format!("/api/v1/findings/export?{query}"), header, "");
        assert_eq!(status, 200, "{query}: {body}");
        body
    };
    let csv = export("namespace=shop", "");
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("id,state,severity,rule,"), "{csv}");
    assert_eq!(lines.len(), 5, "a head, three findings, and nothing after the last");
    assert!(csv.contains("\"'=write \"\"it\"\", now\""), "no cell is a formula: {csv}");
    let lines = export("state=open,closed", "Accept: application/x-ndjson\r\n");
    let ids: Vec<Json> =
        lines.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON")["id"].take()).collect();
    assert_eq!((ids.len(), ids.contains(&json!(seeded.finding))), (5, true), "{lines}");
    let sarif: Json = serde_json::from_str(&export("format=sarif&severity=high", "")).expect("SARIF");
    let run = &sarif["runs"][0];
    assert_eq!((&sarif["version"], run["results"].as_array().map(Vec::len)), (&json!("2.1.0"), Some(2)), "{sarif}");
    let result = &run["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("container-image-tag"), &json!("error")), "{result}");
    let rule = &run["tool"]["driver"]["rules"][0];
    assert_eq!(rule["id"], result["ruleId"]);
    assert!(rule["help"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
    let empty: Json = serde_json::from_str(&export("format=sarif&namespace=bank", "")).expect("SARIF");
    assert_eq!(empty["runs"][0]["results"], json!([]));
    assert_eq!(server.ask("GET", "/api/v1/findings/export?format=xml", "", "").0, 400);
}

#[test]
fn an_answer_that_is_known_is_not_sent_again_and_who_asks_too_much_waits() {
    let settings = ["--api-requests-per-second", "5"];
    let server = Server::start(&[], &settings, &[]);
    let head = |header: &str| server.ask_with_head("GET", "/api/v1/policies", header, "");
    let (status, first, body) = head("");
    assert_eq!(status, 200, "{body}");
    let tag = first.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_else(|| panic!("no tag: {first}"));
    let (status, _, body) = head(&format!("If-None-Match: {tag}\r\n"));
    assert_eq!((status, body.as_str()), (304, ""));
    assert_eq!(head("If-None-Match: \"other\"\r\n").0, 200);
    let answers: Vec<(u16, String, String)> = (0..30).map(|_| head("")).collect();
    let refused = answers.iter().find(|(status, ..)| *status == 429);
    let (_, head, problem) = refused.expect("a limit of ten at a time");
    assert!(head.lines().any(|line| line == "retry-after: 1"), "{head}");
    assert!(problem.contains("--api-requests-per-second"), "{problem}");
}
