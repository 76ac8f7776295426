//! `manifests/components/monitoring`: alerts and dashboard name what there is, and say it in PromQL that means something.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rusty_promql_parser::ast::Expr;
use rusty_promql_parser::expr as parse;
use rusty_promql_parser::parser::function::{ValueType, get_function};
use serde_json::{Value as Json, json};

use crate::support::server::{Server, creation};

/// Labels that collecting adds.
const TARGET: &[&str] = &["job", "namespace", "pod", "container", "instance", "endpoint"];

/// Metrics of others, with their types and labels as their documentation has them
/// (<https://kubernetes.io/docs/reference/instrumentation/metrics/>, kube-state-metrics' docs/metrics).
const OTHERS: &[(&str, &str, &[&str])] = &[
    ("up", "gauge", &[]),
    ("apiserver_admission_webhook_fail_open_count", "counter", &["name", "type"]),
    (
        "apiserver_admission_webhook_rejection_count",
        "counter",
        &["error_type", "name", "operation", "rejection_code", "type"],
    ),
    (
        "apiserver_admission_webhook_admission_duration_seconds",
        "histogram",
        &["name", "operation", "rejected", "type", "le"],
    ),
    (
        "apiserver_request_total",
        "counter",
        &["code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
    ),
    ("kube_pod_container_resource_limits", "gauge", &["node", "resource", "unit", "uid"]),
];

/// A metric that can be asked for.
#[derive(Debug, Default)]
struct Known {
    kind: String,
    labels: BTreeSet<String>,
}

/// Metrics by name, a counter's with `_total`, a histogram's without `_bucket`.
type Metrics = BTreeMap<String, Known>;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn component(file: &str) -> Json {
    let text = read(&format!("manifests/components/monitoring/{file}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Returns the metrics that a process shows after requests of all kinds, and those of others.
fn known() -> Metrics {
    let policy = "apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata: {name: mine}\nspec:\n  rules: [{id: container-image-tag}, {id: faulty}, {id: cronjob-starting-deadline, mutate: true}]\n";
    let faulty = "# METADATA\n# title: t\n# custom:\n#   id: faulty\n#   severity: high\n#   category: test\n#   kinds: [core/Pod]\n#   fix: mend it\npackage gatepost.rules.faulty\n\nviolation contains {\"path\": []}\n";
    let config = "static:\n  shop: {labels: {gatepost.dev/enforce: mine}}\nnotifications:\n- {name: soc, kind: webhook, url: 'http://127.0.0.1:9/'}\n";
    let files = [("policies/mine.yaml", policy), ("policies/faulty.rego", faulty), ("config.yaml", config)];
    let server = Server::start(&files, &["--config", "config.yaml", "--policies", "policies"], &[]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "nginx"}]}});
    assert_eq!(server.review(&creation("shop", &pod))["allowed"], false);
    // A mode that changes: the metrics of modes have no series before.
    let mut namespace = creation(
        "fresh",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh",
        "labels": {"gatepost.dev/enforce": "baseline"}}}),
    );
    namespace["operation"] = "UPDATE".into();
    namespace["oldObject"] = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fresh"}});
    assert_eq!(server.review(&namespace)["allowed"], true);
    let mut known = shown(&server.metrics());
    for (name, kind, labels) in OTHERS {
        let labels = labels.iter().map(ToString::to_string).collect();
        known.insert((*name).to_owned(), Known { kind: (*kind).to_owned(), labels });
    }
    known
}

/// Reads the OpenMetrics text.
fn shown(text: &str) -> Metrics {
    let mut known = Metrics::new();
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("# TYPE ") {
            let (name, kind) = named.split_once(' ').expect("a name and a type");
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            kind.clone_into(&mut known.entry(format!("{name}{suffix}")).or_default().kind);
        } else if let Some((series, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.rsplit_once('}').expect("an end").0;
            let names = labels.split("\",").map(|label| label.split_once("=\"").expect("a label").0.to_owned());
            let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part));
            let metric = if known.contains_key(series) { series } else { parts.unwrap_or(series) };
            known.get_mut(metric).unwrap_or_else(|| panic!("{metric} has no type")).labels.extend(names);
        }
    }
    known
}

/// What an expression asks, checked against what there is.
struct Checker<'a> {
    known: &'a Metrics,
    asked: BTreeSet<String>,
    faults: Vec<String>,
}

impl<'a> Checker<'a> {
    fn of(known: &'a Metrics, text: &str) -> Self {
        let mut checker = Self { known, asked: BTreeSet::new(), faults: Vec::new() };
        match parse(text) {
            Ok((rest, expression)) if rest.trim().is_empty() => {
                checker.expression(&expression, false);
            }
            Ok((rest, _)) => checker.faults.push(format!("does not go on with: {rest}")),
            Err(error) => checker.faults.push(format!("is no PromQL: {error}")),
        }
        checker
    }

    /// Checks an expression, and returns the labels that it may have. Counters have a meaning only over a range; `as_sets`
    /// holds where only it matters which series there are.
    fn expression(&mut self, expression: &Expr, as_sets: bool) -> BTreeSet<String> {
        match expression {
            Expr::Number(_) | Expr::String(_) => BTreeSet::new(),
            Expr::VectorSelector(selector) => {
                let (kind, labels) = self.selector(selector.name.as_deref(), &selector.matchers);
                if ["counter", "histogram"].contains(&kind.as_str()) && !as_sets {
                    self.faults.push(format!("{selector} is a {kind}: ask for its rate"));
                }
                labels
            }
            Expr::MatrixSelector(matrix) => {
                let (kind, labels) = self.selector(matrix.selector.name.as_deref(), &matrix.selector.matchers);
                if !["counter", "histogram"].contains(&kind.as_str()) {
                    self.faults.push(format!("{matrix} is a {kind}: it has no rate"));
                }
                labels
            }
            Expr::Call(call) => {
                let Some(function) = get_function(&call.name) else {
                    self.faults.push(format!("there is no function {}", call.name));
                    return BTreeSet::new();
                };
                let mut labels = BTreeSet::new();
                for (argument, wanted) in call.args.iter().zip(function.arg_types) {
                    let is_range = argument.is_range_vector();
                    if is_range != matches!(wanted, ValueType::Matrix) {
                        self.faults.push(format!("{} does not take {argument}", call.name));
                    }
                    labels = self.expression(argument, as_sets);
                }
                if call.name == "histogram_quantile" && !labels.remove("le") {
                    self.faults.push(format!("{call} has no le to take a quantile of"));
                }
                labels
            }
            Expr::Aggregation(aggregation) => {
                let labels = self.expression(&aggregation.expr, as_sets || aggregation.op == "count");
                let by: BTreeSet<String> =
                    aggregation.grouping.as_ref().map(|by| by.labels.iter().cloned().collect()).unwrap_or_default();
                let unknown: Vec<&String> = by.difference(&labels).collect();
                if !unknown.is_empty() {
                    self.faults.push(format!("{aggregation} is by labels that there are not: {unknown:?}"));
                }
                if aggregation.op == "topk" { labels } else { by }
            }
            Expr::Binary(binary) => {
                let left = self.expression(&binary.lhs, as_sets || binary.op.as_str() == "unless");
                let right = self.expression(&binary.rhs, as_sets || binary.op.as_str() == "unless");
                left.union(&right).cloned().collect()
            }
            Expr::Unary(unary) => self.expression(&unary.expr, as_sets),
            Expr::Paren(inner) => self.expression(inner, as_sets),
            Expr::Subquery(subquery) => self.expression(&subquery.expr, as_sets),
        }
    }

    fn selector(
        &mut self,
        name: Option<&str>,
        matchers: &[rusty_promql_parser::parser::selector::LabelMatcher],
    ) -> (String, BTreeSet<String>) {
        let name = name.unwrap_or_default();
        let metric = name.strip_suffix("_bucket").unwrap_or(name);
        let Some(Known { kind, labels }) = self.known.get(metric) else {
            self.faults.push(format!("there is no metric {name}"));
            return (String::new(), BTreeSet::new());
        };
        self.asked.insert(metric.to_owned());
        if (kind == "histogram") != name.ends_with("_bucket") {
            self.faults.push(format!("{name}: a histogram is asked for by its buckets"));
        }
        let labels: BTreeSet<String> = labels.iter().cloned().chain(TARGET.iter().map(ToString::to_string)).collect();
        for matcher in matchers.iter().filter(|matcher| !labels.contains(&matcher.name)) {
            self.faults.push(format!("{name} has no label {}", matcher.name));
        }
        (kind.clone(), labels)
    }
}

/// Returns name and definition of every alert.
fn alerts() -> Vec<(String, Json)> {
    let rule = component("prometheus-rule.yaml");
    let groups = rule["spec"]["groups"].as_array().expect("groups");
    let of = |group: &Json| group["rules"].as_array().expect("rules").clone();
    groups.iter().flat_map(of).map(|alert| (alert["alert"].as_str().expect("a name").to_owned(), alert)).collect()
}

/// Returns title and expressions of every panel, with Grafana's own variables filled in.
fn panels() -> Vec<(String, Json)> {
    let dashboard: Json = serde_json::from_str(&read("manifests/components/monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    panels.into_iter().map(|panel| (panel["title"].as_str().expect("a title").to_owned(), panel)).collect()
}

#[test]
fn alerts_and_panels_ask_for_metrics_and_labels_that_there_are() {
    let known = known();
    let mut asked = BTreeSet::new();
    let mut faults = Vec::new();
    let mut check = |place: &str, text: &str| {
        let checker = Checker::of(&known, text);
        faults.extend(checker.faults.iter().map(|fault| format!("{place}: {fault}\n  in {text}")));
        asked.extend(checker.asked);
    };
    for (name, alert) in alerts() {
        check(&name, alert["expr"].as_str().expect("an expression"));
    }
    for (title, panel) in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().expect("an expression");
            check(&title, &text.replace("$__rate_interval", "5m").replace("$__range", "6h"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(asked.iter().filter(|name| name.starts_with("gatepost_")).count() > 25, "{asked:?}");
}

#[test]
fn what_is_wrong_with_an_expression_is_seen() {
    let known = shown(
        "# TYPE gatepost_a counter\ngatepost_a_total{rule=\"x\"} 1\n# TYPE gatepost_g gauge\ngatepost_g 1\n\
         # TYPE gatepost_h histogram\ngatepost_h_bucket{le=\"1\",operation=\"CREATE\"} 1\n",
    );
    let table = [
        ("sum by (rule) (rate(gatepost_a_total{job=\"x\"}[5m])) > 0", ""),
        ("histogram_quantile(0.99, sum by (le) (rate(gatepost_h_bucket[5m])))", ""),
        ("gatepost_a_total unless gatepost_a_total offset 15m", ""),
        ("rate(gatepost_b_total[5m])", "there is no metric gatepost_b_total"),
        ("sum(gatepost_a_total)", "ask for its rate"),
        ("rate(gatepost_g[5m])", "it has no rate"),
        ("rate(gatepost_a_total)", "rate does not take"),
        ("gatepost_g{rule=\"x\"}", "has no label rule"),
        ("sum by (kind) (rate(gatepost_a_total[5m]))", "labels that there are not"),
        ("histogram_quantile(0.99, sum(rate(gatepost_h_bucket[5m])))", "has no le"),
        ("rate(gatepost_h[5m])", "by its buckets"),
        ("sum(gatepost_g", "is no PromQL"),
        ("gatepost_g > 0)", "does not go on with"),
    ];
    for (text, expected) in table {
        let faults = Checker::of(&known, text).faults.join("; ");
        assert!(if expected.is_empty() { faults.is_empty() } else { faults.contains(expected) }, "{text}: {faults}");
    }
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let runbooks = read("docs/runbooks.md");
    let sections: Vec<&str> = runbooks.split("\n## ").skip(1).collect();
    let of = |name: &str| sections.iter().find(|section| section.lines().next() == Some(name));
    let mut names = BTreeSet::new();
    for (name, alert) in alerts() {
        let section = of(&name).unwrap_or_else(|| panic!("docs/runbooks.md says nothing of {name}"));
        for part in ["**Means.**", "**Look at.**", "**Do.**"] {
            assert!(section.contains(part), "{name} has no {part}");
        }
        let url = alert["annotations"]["runbook_url"].as_str().unwrap_or_default();
        assert!(url.ends_with(&format!("/docs/runbooks.md#{}", name.to_lowercase())), "{name}: {url}");
        for text in ["summary", "description"] {
            assert!(alert["annotations"][text].as_str().is_some_and(|text| text.len() > 20), "{name} has no {text}");
        }
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap_or_default()), "{name}");
        assert!(names.insert(name.clone()), "{name} stands twice");
    }
    let described: BTreeSet<String> =
        sections.iter().filter_map(|section| section.lines().next()).map(str::to_owned).collect();
    assert_eq!(described, names);
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let kustomization = component("kustomization.yaml");
    let generated = &kustomization["configMapGenerator"][0];
    assert_eq!(generated["files"], json!(["gatepost.json=dashboard.json"]));
    assert_eq!(generated["options"]["labels"]["grafana_dashboard"], "1");
    let dashboard: Json = serde_json::from_str(&read("manifests/components/monitoring/dashboard.json")).expect("JSON");
    assert_eq!(dashboard["__inputs"][0]["pluginId"], "prometheus");
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (title, panel) in panels() {
        assert!(ids.insert(panel["id"].to_string()), "{title}: its id stands twice");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        let cells = (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)));
        assert!(at("x") + at("w") <= 24, "{title} is beside the grid");
        assert!(cells.into_iter().all(|cell| taken.insert(cell)), "{title} lies over another panel");
        let is_row = panel["type"] == "row";
        let sources = panel["targets"].as_array().into_iter().flatten().chain([&panel]).filter(|_| !is_row);
        for source in sources {
            assert_eq!(source["datasource"], json!({"type": "prometheus", "uid": "${datasource}"}), "{title}");
        }
        assert!(is_row || !panel["targets"].as_array().expect("targets").is_empty(), "{title} shows nothing");
    }
}
