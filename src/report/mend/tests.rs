#![allow(clippy::unwrap_used, reason = "a failing test is what it is for")]

use serde_json::json;

use super::*;

fn set(value: Value) -> Mend {
    Mend { at: "0".into(), step: Step::Set { value, like: None }, choose: String::new() }
}

fn removed(at: &str) -> Mend {
    Mend { at: at.into(), step: Step::Remove, choose: String::new() }
}

#[track_caller]
fn check(text: &str, place: &str, steps: &[Mend], expected: &str) {
    assert_eq!(mended(text, "", place, steps).as_deref(), Some(expected), "{place} in\n{text}");
}

#[test]
fn what_is_there_is_replaced_and_the_rest_of_the_line_stays() {
    check("a: 1  # why\nb: 2\n", "/a", &[set(json!(3))], "a: 3  # why\nb: 2\n");
    check("a: 'x'\n", "/a", &[set(json!("z"))], "a: z\n");
    check("a: 'x'\n", "/a", &[set(json!("y"))], "a: \"y\"\n");
    check("a:\nb: 2\n", "/a", &[set(json!(false))], "a: false\nb: 2\n");
    check("{\"a\": {\"b\": true}}\n", "/a/b", &[set(json!(false))], "{\"a\": {\"b\": false}}\n");
    check("a: {b: true, c: 1}\n", "/a/b", &[set(json!(false))], "a: {b: false, c: 1}\n");
}

#[test]
fn what_is_missing_is_put_in_where_its_like_stands() {
    let text = "spec:\n  containers:\n  # the web\n  - name: web\n    image: x # pinned\n  - name: side\n    args: |\n      one\n\n      two\n# end\n";
    check(
        text,
        "/spec/containers/0/resources/limits/cpu",
        &[set(json!("500m"))],
        &text.replace("# pinned\n", "# pinned\n    resources:\n      limits:\n        cpu: 500m\n"),
    );
    check(
        text,
        "/spec/containers/1/readOnly",
        &[set(json!(true))],
        &text.replace("      two\n", "      two\n    readOnly: true\n"),
    );
    check("a:\n  b: 1", "/a/c", &[set(json!(2))], "a:\n  b: 1\n  c: 2");
    check("a:\r\n  b: 1\r\n", "/a/c", &[set(json!(2))], "a:\r\n  b: 1\r\n  c: 2\r\n");
    check(
        "---\n# x\na:\n- b: {} # none\n  d: 1\n",
        "/a/0/b/c",
        &[set(json!(2))],
        "---\n# x\na:\n- b: # none\n    c: 2\n  d: 1\n",
    );
    check("a:\n  b:\n  d: 1\n", "/a/b/c", &[set(json!(2))], "a:\n  b:\n    c: 2\n  d: 1\n");
    check("a:\n- {b: 1}\n", "/a/0/c/d", &[set(json!(2))], "a:\n- {c: {\"d\":2}, b: 1}\n");
    check("a:\n- {}\n", "/a/0/c", &[set(json!(2))], "a:\n- {\"c\": 2}\n");
    check(
        "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n",
        "/a/c",
        &[set(json!("x"))],
        "{\n  \"a\": {\n    \"c\": \"x\",\n    \"b\": 1\n  }\n}\n",
    );
}

#[test]
fn what_goes_takes_its_line_along() {
    check("a:\n  b: 1\n  c: # why\n    d: 1\n  e: 2\n", "/a/c", &[removed("0")], "a:\n  b: 1\n  e: 2\n");
    check("a:\n- b: 1\n  c: 2\n", "/a/0/b", &[removed("0")], "a:\n- c: 2\n");
    check("a: {b: 1, c: 2}\n", "/a/b", &[removed("0")], "a: {c: 2}\n");
    check("a: {b: 1, c: 2}\n", "/a/c", &[removed("0")], "a: {b: 1}\n");
    check("a:\n  b: 1\n  c: 2", "/a/c", &[removed("0")], "a:\n  b: 1\n");
    let ports = "type: NodePort\nports:\n- port: 80\n  nodePort: 30080\n- nodePort: 30081\n  port: 81\n- port: 82\n";
    check(
        ports,
        "/type",
        &[set(json!("ClusterIP")), removed("1/ports/*/nodePort"), removed("1/none")],
        "type: ClusterIP\nports:\n- port: 80\n- port: 81\n- port: 82\n",
    );
}

#[test]
fn a_value_is_that_of_its_like_and_a_person_is_told_to_choose() {
    let step = Mend {
        at: "0".into(),
        step: Step::Set { value: json!("500m"), like: Some("2/requests/cpu".into()) },
        choose: "as measured".into(),
    };
    check(
        "resources:\n  requests:\n    cpu: \"2\"\n",
        "/resources/limits/cpu",
        std::slice::from_ref(&step),
        "resources:\n  requests:\n    cpu: \"2\"\n  limits:\n    cpu: \"2\" # choose: as measured\n",
    );
    check(
        "a: 1\n",
        "/resources/limits/cpu",
        &[step],
        "a: 1\nresources:\n  limits:\n    cpu: 500m # choose: as measured\n",
    );
}

#[test]
fn numbers_get_quotes_as_they_are_written_and_versions_keep_their_group() {
    let quote = Mend { at: "0".into(), step: Step::Quote, choose: String::new() };
    check("build: 1.10 # x\n", "/build", std::slice::from_ref(&quote), "build: \"1.10\" # x\n");
    check("on: true\n", "/on", std::slice::from_ref(&quote), "on: \"true\"\n");
    assert_eq!(mended("a: -x\n", "", "/a", &[quote]), None);
    let version = Mend { at: "0".into(), step: Step::Version("v1".into()), choose: String::new() };
    check("apiVersion: x.io/v1beta1\n", "/apiVersion", &[version], "apiVersion: x.io/v1\n");
}

#[test]
fn what_stands_elsewhere_or_in_another_object_is_left_alone() {
    let text = "a: &x\n  b: 1\nc: *x\n";
    assert_eq!(mended(text, "", "/a/d", &[set(json!(2))]), None);
    assert_eq!(mended(text, "", "/c/d", &[set(json!(2))]), None);
    assert_eq!(mended("a: text\n", "", "/a/b", &[set(json!(2))]), None);
    assert_eq!(mended("a: 1\n", "", "/a", &[set(json!(1))]), None);
    assert_eq!(mended("a: [\n", "", "/a", &[set(json!(1))]), None);
    assert_eq!(mended("items:\n- a: 1\n", "/items/0", "/a", &[removed("2/x")]), None);
    let items = mended("items:\n- a: 1\n- a: 1\n", "/items/1", "/b", &[set(json!(2))]);
    assert_eq!(items.as_deref(), Some("items:\n- a: 1\n- a: 1\n  b: 2\n"));
}

#[test]
fn diffs_name_the_file_and_only_one_that_git_takes() {
    let text = diff("deploy/web.yaml", "a: 1\nb: 2\n", "a: 1\nb: 3\n").unwrap();
    assert_eq!(text, "--- a/deploy/web.yaml\n+++ b/deploy/web.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n");
    assert!(diff("my web.yaml", "a\n", "b").unwrap().starts_with("--- a/my web.yaml\t\n"));
    for file in ["/etc/x.yaml", "../x.yaml", "a//b", "a\"b", "a\nb"] {
        assert_eq!(diff(file, "a\n", "b\n"), None, "{file}");
    }
}
