//! Every setting by every way: flag over variable over file over default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args as _, Command, FromArgMatches as _};

use super::*;

const FILE: &str = "/etc/gatepost/config.yaml";

fn layers(arguments: &[&str], variables: &[(&str, &str)]) -> Layers {
    let command = Flags::augment_args(Command::new("serve").no_binary_name(true));
    let flags = command.try_get_matches_from(arguments).and_then(|matches| Flags::from_arg_matches(&matches)).unwrap();
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Layers::new(&flags, Some(PathBuf::from(FILE)), None, variables)
}

fn read(arguments: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Read, String> {
    layers(arguments, variables).resolve(Some(file)).map_err(|error| error.to_string())
}

fn value<'a>(read: &'a Read, key: &str) -> &'a Value {
    read.values.iter().find(|value| value.key == key).unwrap()
}

/// Returns three values that a setting can have beside its default, told apart by a number.
fn sample(scalar: &Scalar, number: usize) -> String {
    let word = |words: [&str; 3]| words[number].to_owned();
    match scalar.key.as_str() {
        key if key.starts_with("listen") => format!("127.0.0.1:{}", 7000 + number),
        "caLifetime" | "caOverlap" | "auditInterval" | "keepDecisions" | "keepHistory" | "tlsLifetime" => {
            format!("{}d", 20 + number)
        }
        "databaseUrl" => format!("postgres://name-{number}/gatepost"),
        "role" => word(["scanner", "all", "scanner"]),
        "externalUrl" => format!("https://name-{number}"),
        "scanner" => format!("https://name-{number}/"),
        "events" | "judgeOwned" | "auditSecrets" => word(["true", "false", "true"]),
        "registration" => word(["self", "none", "manifest"]),
        "failurePolicy" => word(["fail", "ignore", "fail"]),
        "policyReports" => word(["openreports", "off", "wgpolicyk8s"]),
        "logFormat" => word(["pretty", "json", "pretty"]),
        "logLevel" => word(["debug", "warn", "error"]),
        key if key.ends_with(".severity") => word(["high", "low", "medium"]),
        key if key.ends_with(".scope") => word(["new", "all", "new"]),
        key if key.ends_with(".from") => format!("2026-12-0{}", number + 1),
        _ if scalar.default.iter().all(|value| value.to_str().is_some_and(|text| text.parse::<u64>().is_ok())) => {
            (number + 1).to_string()
        }
        _ => format!("name-{number}"),
    }
}

/// Returns flags, variables or lines of the file that make a setting possible which needs another one.
fn companions(key: &str) -> Vec<&'static str> {
    match key {
        "tlsCert" => vec!["tlsKey"],
        "tlsKey" => vec!["tlsCert"],
        "clientName" => vec!["clientCa"],
        "scannerTokenFile" | "scannerCa" => vec!["scanner"],
        "databaseCa" => vec!["databaseUrlFile"],
        "defaults.severity" | "defaults.scope" | "defaults.from" => vec!["defaults.enforce"],
        key if key.starts_with("clusterScoped.") => vec!["clusterScoped.enforce"],
        _ => Vec::new(),
    }
}

fn in_file(key: &str, text: &str, is_list: bool) -> String {
    let text = if is_list { format!("[\"{text}\"]") } else { format!("\"{text}\"") };
    match key.split_once('.') {
        Some((group, entry)) => format!("{group}: {{{entry}: {text}}}\n"),
        None => format!("{key}: {text}\n"),
    }
}

#[test]
fn every_setting_is_a_flag_over_a_variable_over_a_key() {
    for scalar in scalars() {
        let texts: Vec<String> = (0..3).map(|number| sample(scalar, number)).collect();
        let others = companions(&scalar.key);
        let others: Vec<&Scalar> = scalars().iter().filter(|other| others.contains(&other.key.as_str())).collect();
        let mut arguments: Vec<String> = others
            .iter()
            .filter(|other| other.key != scalar.key)
            .map(|other| format!("{}={}", other.flag, sample(other, 0)))
            .collect();
        let file = in_file(&scalar.key, &texts[2], scalar.is_list);
        let mut variables: Vec<(&str, &str)> = Vec::new();
        let check = |arguments: &[String], variables: &[(&str, &str)], text: &str, origin: &str| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let read = read(&arguments, variables, &file).unwrap_or_else(|error| panic!("{}: {error}", scalar.key));
            let found = value(&read, &scalar.key);
            assert_eq!((found.texts.join(","), found.origin.to_string()), (text.to_owned(), origin.to_owned()));
            let printed = read.to_yaml();
            let name = scalar.key.rsplit('.').next().unwrap();
            let line = printed.lines().find(|line| {
                line.ends_with(&format!("# {origin}")) && line.trim_start().starts_with(&format!("{name}: "))
            });
            assert!(line.is_some_and(|line| line.contains(text)), "{}: {printed}", scalar.key);
        };
        check(&arguments, &variables, &texts[2], &format!("{FILE}:1"));
        variables.push((&scalar.variable, &texts[1]));
        check(&arguments, &variables, &texts[1], &format!("environment {}", scalar.variable));
        arguments.push(format!("{}={}", scalar.flag, texts[0]));
        check(&arguments, &variables, &texts[0], &format!("flag {}", scalar.flag));
    }
}

#[test]
fn names_follow_one_pattern() {
    let names = |key: &str| {
        let scalar = scalars().iter().find(|scalar| scalar.key == key).unwrap();
        (scalar.flag.as_str(), scalar.variable.as_str())
    };
    assert_eq!(names("ruleTimeoutMs"), ("--rule-timeout-ms", "GATEPOST_RULE_TIMEOUT_MS"));
    assert_eq!(names("defaults.warn"), ("--defaults-warn", "GATEPOST_DEFAULTS_WARN"));
    assert_eq!(names("clusterScoped.enforce"), ("--cluster-scoped-enforce", "GATEPOST_CLUSTER_SCOPED_ENFORCE"));
    let unique: std::collections::BTreeSet<_> = scalars().iter().map(|scalar| &scalar.variable).collect();
    assert_eq!(unique.len(), scalars().len());
}

#[test]
fn settings_hold_wherever_they_come_from() {
    let file = "queue: 7\njudgeOwned: true\npolicies: [a, b]\ndefaults: {enforce: baseline, severity: high}\n";
    let variables =
        [("GATEPOST_WORKERS", "3"), ("GATEPOST_TLS_NAME", "a.example, b.example"), ("GATEPOST_NAMESPACE", "")];
    let all = read(&["--rule-timeout-ms", "9", "--judge-owned=false"], &variables, file).unwrap();
    let settings = &all.settings;
    assert_eq!((settings.queue, settings.workers.get(), settings.rule_timeout_ms), (7, 3, 9));
    assert_eq!((settings.judge_owned, settings.namespace.clone()), (false, None));
    assert_eq!(settings.tls_name, ["a.example", "b.example"]);
    assert_eq!(settings.policies, [Path::new("a"), Path::new("b")]);
    assert_eq!(all.config.modes.defaults.severity, Some(crate::policy::Severity::High));
    assert!(read(&["--judge-owned"], &[], "").unwrap().settings.judge_owned);
    let off = read(&[], &[("GATEPOST_DEFAULTS_WARN", "off")], "").unwrap().config.modes.defaults;
    assert_eq!(off.warn, Some(crate::policy::modes::Slot::Off));
}

#[test]
fn errors_name_who_said_it() {
    let none: &[(&str, &str)] = &[];
    for (arguments, variables, file, expected) in [
        (
            &[][..],
            none,
            "\nqueue: many\n",
            "/etc/gatepost/config.yaml:2: queue: \"many\": invalid digit found in string",
        ),
        (&[], none, "logFormat: xml\n", "/etc/gatepost/config.yaml:1: logFormat: \"xml\": is none of json, pretty"),
        (&[], none, "ruleTimeoutMs: 0\n", "/etc/gatepost/config.yaml:1: ruleTimeoutMs: \"0\": 0 is not in 1.."),
        (&[], &[("GATEPOST_QUEUE", "-1")], "", "GATEPOST_QUEUE: queue: \"-1\": invalid digit found in string"),
        (&[], &[("GATEPOST_JUDGE_OWNED", "maybe")], "", "GATEPOST_JUDGE_OWNED: judgeOwned: \"maybe\": "),
        (&[], &[("GATEPOST_DEFAULTS_SCOPE", "all")], "", "GATEPOST_DEFAULTS_SCOPE: defaults.scope: goes with enforce"),
        (
            &["--defaults-enforce=x", "--defaults-from=soon"],
            none,
            "",
            "--defaults-from: defaults.from: \"soon\" is neither",
        ),
        (
            &["--tls-cert=c"],
            none,
            "",
            "--tls-cert: tlsCert: goes with tlsKey (--tls-key, GATEPOST_TLS_KEY), which is not set",
        ),
        (&["--client-name=c"], none, "", "--client-name: clientName: goes with clientCa"),
        (&["--scanner-ca=c"], none, "", "--scanner-ca: scannerCa: goes with scanner (--scanner, GATEPOST_SCANNER)"),
        (
            &[],
            none,
            "databaseUrl: mysql://u:s3cret@h/d\n",
            "/etc/gatepost/config.yaml:1: databaseUrl: is no URL such as ",
        ),
        (&["--database-url=s3cret"], none, "", "--database-url: databaseUrl: is no URL such as "),
        (&["--database-ca=c"], none, "", "--database-ca: databaseCa: goes with databaseUrl (--database-url, "),
        (&[], none, "role: webhook\n", "/etc/gatepost/config.yaml:1: role: webhook goes with scanner (--scanner, "),
        (
            &["--scanner=https://s"],
            &[("GATEPOST_ROLE", "scanner")],
            "",
            "--scanner: scanner: does not go with role: scanner (environment GATEPOST_ROLE)",
        ),
        (
            &[],
            none,
            "scanner: ftp://s\n",
            "/etc/gatepost/config.yaml:1: scanner: \"ftp://s\": is no URL such as https://",
        ),
        (
            &["--kubeconfig=k"],
            none,
            "manifests: m\n",
            "/etc/gatepost/config.yaml:1: manifests: does not go with kubeconfig (flag --kubeconfig)",
        ),
    ] {
        let error = read(arguments, variables, file).err().unwrap_or_default();
        assert!(error.starts_with(expected) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn what_was_started_with_two_files_of_a_pair_is_taken_from_two_places() {
    let read = read(&["--tls-cert=c"], &[("GATEPOST_TLS_KEY", "k")], "").unwrap();
    assert_eq!(read.settings.certificate(), Some(("c".into(), "k".into())));
}

#[test]
fn no_password_is_printed() {
    let read = read(&["--database-url=postgres://gatepost:s3cret@db/gatepost"], &[], "").unwrap();
    let printed = format!("{}{:?}{:?}", read.to_yaml(), read.settings, read.values);
    assert!(printed.contains("postgres://gatepost:***@db/gatepost") && !printed.contains("s3cret"), "{printed}");
    assert!(matches!(read.settings.database().unwrap().unwrap().address, crate::store::Address::Url(_)));
}

#[test]
fn a_pod_has_other_defaults() {
    let pod = Pod { namespace: Some("guard".into()) };
    let read = Layers::new(&Flags::default(), None, Some(&pod), []).resolve(None).unwrap();
    let settings = read.settings;
    assert_eq!(settings.listen_webhook, "0.0.0.0:8443".parse().unwrap());
    assert_eq!((settings.namespace.as_deref(), settings.shutdown_delay_seconds), (Some("guard"), 5));
    assert_eq!(read.values.iter().find(|value| value.key == "namespace").unwrap().origin, Origin::Default);
}

#[test]
fn what_is_printed_says_the_same_again() {
    let file = "defaults: {enforce: baseline, severity: high, warn: off}\n\
                listenWebhook: \"[::1]:0\"\nlogLevel: \"info,gatepost=debug\"\ntlsName: [\"*.example\", \"null\"]\n\
                namespaces:\n- match: {names: [\"team-*\"], labels: {env: \"yes\"}}\n  set: {enforce: baseline}\n\
                floors:\n- match: {labels: {env: prod}}\n  set: {enforce: baseline, scope: all}\n\
                static: {shop: {labels: {a: \"1\"}}}\ncontrollers: {apps/ReplicaSet: [\"system:x\"]}\n\
                audit: {policies: [baseline]}\n\
                modes: {admins: {users: [ann]}, mayNotWeaken: [\"system:serviceaccount:argocd:*\"]}\n";
    let first = read(&["--queue=3"], &[("GATEPOST_DATA_DIR", "/a b")], file).unwrap();
    let printed = first.to_yaml();
    let again = read(&[], &[], &printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    let texts = |read: &Read| -> BTreeMap<String, Vec<String>> {
        read.values.iter().map(|value| (value.key.clone(), value.texts.clone())).collect()
    };
    assert_eq!(texts(&first), texts(&again));
    assert_eq!(format!("{:?}", first.config.modes), format!("{:?}", again.config.modes));
    assert_eq!(first.config.static_namespaces, again.config.static_namespaces);
    assert_eq!(first.config.controllers.0, again.config.controllers.0);
    assert_eq!((first.config.audit.first(), &first.config.audit), ("baseline", &again.config.audit));
    for line in ["namespaces:", "floors:", "modes:", "  apps/ReplicaSet: [\"system:x\"]"] {
        let found = printed.lines().find(|found| found.starts_with(line)).unwrap();
        assert!(found.contains(&format!("# {FILE}:")), "{found}");
    }
}

#[test]
fn policies_that_do_not_exist_are_named_with_their_place() {
    use crate::engine::{BackendChoice, Bundle, Catalogue, ProgramCache};
    let bundle = Bundle::build(Catalogue::read(&[]).unwrap(), &ProgramCache::default(), BackendChoice::Proven).unwrap();
    let file = "\nnamespaces:\n- set:\n    warn: baselin\n";
    for (variables, file, expected) in [
        (
            &[][..],
            file,
            "/etc/gatepost/config.yaml:4: namespaces[0].set.warn: there is no policy \"baselin\", did you mean \"baseline\"?",
        ),
        (
            &[],
            "static:\n  shop: {labels: {gatepost.dev/warn: x}}\n",
            "/etc/gatepost/config.yaml:2: static.shop.labels: there is no policy \"x\"",
        ),
        (
            &[],
            "audit:\n  policies:\n  - strict\n  - strct\n",
            "/etc/gatepost/config.yaml:4: audit.policies[1]: there is no policy \"strct\", did you mean \"strict\"?",
        ),
        (&[("GATEPOST_DEFAULTS_AUDIT", "y")], "", "GATEPOST_DEFAULTS_AUDIT: defaults.audit: there is no policy \"y\""),
    ] {
        let config = read(&[], variables, file).unwrap().config;
        assert_eq!(config.check_policies(&bundle).unwrap_err().to_string(), expected);
    }
}
