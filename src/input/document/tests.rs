use super::*;

fn chunk(text: &str) -> Chunk {
    Chunk { text: text.into(), first_line: 1, index: 0 }
}

fn value_of(yaml: &str) -> String {
    match read_yaml(&format!("v: {yaml}\n")) {
        Ok((value, _)) => value.field("v").unwrap().to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn reads_scalars_as_kubectl_does() {
    let table = [
        ("0644", "420"),
        ("0o755", "493"),
        ("0x1F", "31"),
        ("0b11", "3"),
        ("1_000", "1000"),
        ("08", "8"),
        ("1.0", "1"),
        ("1.5", "1.5"),
        ("1e3", "1000"),
        ("-7", "-7"),
        ("yes", "true"),
        ("No", "false"),
        ("on", "true"),
        ("y", "true"),
        ("\"yes\"", "\"yes\""),
        ("~", "null"),
        ("", "null"),
        ("null", "null"),
        ("\"null\"", "\"null\""),
        ("2001-01-01", "\"2001-01-01\""),
        ("12:30", "\"12:30\""),
        ("1.27.3", "\"1.27.3\""),
        ("!!str 8", "\"8\""),
        ("!!binary aGk=", "\"hi\""),
        ("500m", "\"500m\""),
        ("18446744073709551615", "18446744073709551615"),
        ("{a: 1, 2: b, y: c, 1.5: d}", "{\"1.5\":\"d\",\"2\":\"b\",\"a\":1,\"true\":\"c\"}"),
    ];
    for (yaml, expected) in table {
        assert_eq!(value_of(yaml), expected, "{yaml}");
    }
    for refused in [".nan", ".inf", "{~: 1}", "{[a]: 1}", "*nowhere"] {
        assert!(value_of(refused).starts_with("error: "), "{refused}: {}", value_of(refused));
    }
}

#[test]
fn merges_keys() {
    let yaml = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\nc:\n  <<: [{x: 7}, *a]\n";
    let (value, duplicate) = read_yaml(yaml).unwrap();
    assert_eq!(value.field("b").unwrap().to_string(), "{\"true\":2,\"x\":3}");
    assert_eq!(value.field("c").unwrap().to_string(), "{\"true\":2,\"x\":7}");
    assert!(duplicate.is_none());
}

#[test]
fn the_last_of_two_equal_keys_counts_and_is_a_fault() {
    for text in [
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n",
        "{\"apiVersion\": \"v1\",\n\"kind\": \"Pod\",\n\"metadata\": {\n\"name\": \"a\",\n\"name\": \"b\"}}",
    ] {
        let parsed = parse(&chunk(text));
        assert_eq!(parsed.manifests.len(), 1, "{:?}", parsed.faults);
        assert_eq!(parsed.manifests[0].object.at(&["metadata", "name"]).unwrap().as_text(), Some("b"));
        assert_eq!(parsed.faults.len(), 1);
        assert_eq!(parsed.faults[0].line, Some(5), "{:?}", parsed.faults);
        assert!(parsed.faults[0].cause.contains("name"), "{:?}", parsed.faults);
    }
}

#[test]
fn bombs_are_refused() {
    let mut laughs = vec!["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]".to_owned()];
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        laughs.push(format!("a{level}: &a{level} [{}]", [below.as_str(); 9].join(", ")));
    }
    let laughs = laughs.join("\n");
    let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
    let mut block = String::new();
    for depth in 0..3000 {
        block.push_str(&" ".repeat(depth));
        block.push_str("a:\n");
    }
    let refused = move || [laughs, deep, block].map(|text| parse(&chunk(&text)).faults.len());
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(refused).unwrap();
    assert_eq!(thread.join().unwrap(), [1, 1, 1]);
}

#[test]
fn large_documents_are_read() {
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:".to_owned();
    let line = |line| format!("  key-{line}: a value of some length that stands for any other");
    let text = std::iter::once(head).chain((0..200_000).map(line)).collect::<Vec<_>>().join("\n");
    let parsed = parse(&chunk(&text));
    assert_eq!(parsed.faults, []);
    assert_eq!(parsed.manifests.len(), 1);
}

#[test]
fn many_json_values_in_a_row_are_read_in_one_pass() {
    let one = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}\n";
    let started = std::time::Instant::now();
    let chunk = chunk(&one.repeat(30_000));
    let parsed = parse(&chunk);
    assert_eq!(parsed.manifests.len(), 30_000);
    let last = parsed.manifests.last().unwrap();
    assert_eq!(Lines::of(&chunk).line(last, &Path::of_keys(&["kind"])), 30_000);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_long_comment_before_a_key_is_read() {
    let text = format!("apiVersion: v1\n{}kind: Pod\n", "# line\n".repeat(500));
    assert_eq!(parse(&chunk(&text)).manifests.len(), 1);
}

#[test]
fn opens_lists() {
    let yaml = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Service}]}\n";
    let parsed = parse(&chunk(yaml));
    let places: Vec<String> = parsed.manifests.iter().map(|found| found.place.to_string()).collect();
    assert_eq!(places, ["/items/0", "/items/1/items/0"]);
    let typed = parse(&chunk("{\"apiVersion\":\"apps/v1\",\"kind\":\"DeploymentList\",\"items\":[{\"metadata\":{}}]}"));
    assert_eq!(typed.manifests[0].object.text("kind"), Some("Deployment"));
    assert_eq!(typed.manifests[0].object.text("apiVersion"), Some("apps/v1"));
    assert!(parse(&chunk("apiVersion: v1\nkind: List\n")).manifests.is_empty());
    assert_eq!(parse(&chunk("apiVersion: x/v1\nkind: AllowList\nspec: {}\n")).manifests.len(), 1);
}

#[test]
fn counts_what_is_not_kubernetes() {
    let table = [
        ("replicas: 3\n", 0, 1),
        ("just text\n", 0, 1),
        ("---\n", 0, 0),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", 0, 1),
        ("apiVersion: v1\nkind: Config\nusers: []\n", 0, 1),
        ("apiVersion: v2\nname: chart\n", 0, 1),
        ("[{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}]", 0, 1),
        ("{apiVersion: v1, kind: Pod}", 1, 0),
        ("{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", 2, 0),
        ("--- {\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n", 1, 0),
    ];
    for (text, manifests, skipped) in table {
        let parsed = parse(&chunk(text));
        assert_eq!((parsed.manifests.len(), parsed.skipped, &parsed.faults), (manifests, skipped, &vec![]), "{text}");
    }
}

#[test]
fn faults_name_line_and_column_and_no_values() {
    let broken = Chunk { text: "---\na: 1\nb: [s3cr3t\nc: 2\n".into(), first_line: 10, index: 1 };
    let faults = parse(&broken).faults;
    assert_eq!(faults.len(), 1);
    assert!(faults[0].line.is_some_and(|line| (12..=14).contains(&line)), "{faults:?}");
    assert!(!faults[0].cause.contains("s3cr3t") && !faults[0].cause.contains("line"), "{faults:?}");
    let template = parse(&chunk("metadata:\n  name: {{ .Values.name }}\n  {{- if x }}\n")).faults;
    assert!(template[0].cause.contains("template"), "{template:?}");
    for (text, cause) in [
        ("a: 1\na: 2\n", "the key a stands twice, and the last one counts"),
        ("a: 1e400\n", "a number is too large, or is no number that Kubernetes knows"),
        ("a: {~: 1}\n", "a key is empty or null, and must be text"),
        ("a: {[b]: 1}\n", "a list stands where a key must be text"),
        ("a: !!binary /w==\n", "!!binary scalar is not valid UTF-8"),
    ] {
        assert_eq!(parse(&chunk(text)).faults.first().map(|fault| &*fault.cause), Some(cause), "{text}");
    }
    let tab = parse(&chunk("a:\n\tb: 1\n")).faults;
    assert_eq!(tab[0].line, Some(2), "{tab:?}");
    let json = parse(&chunk("{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n{\"a\": }\n"));
    assert_eq!((json.manifests.len(), json.faults[0].line), (1, Some(2)), "{:?}", json.faults);
}
