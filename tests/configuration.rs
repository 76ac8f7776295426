//! The guide to the configuration, held to what the program takes.

use std::fmt::Write as _;
use std::process::Command;

use gatepost::config::{Scalar, scalars};

use crate::support::generated::check_generated;

const GUIDE: &str = "docs/configuration.md";
const START: &str = "<!-- settings: written by the tests -->\n";
const END: &str = "<!-- end of settings -->\n";

fn row(scalar: &Scalar) -> String {
    let default: Vec<String> = scalar.default.iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let default = match scalar.key.as_str() {
        "workers" => "one a core".to_owned(),
        "scanWorkers" => "one for two cores".to_owned(),
        _ if default.is_empty() => "none".to_owned(),
        _ => default.join(", "),
    };
    let help = scalar.help.split(" [").next().unwrap_or_default();
    let live = if scalar.is_live { "at once" } else { "restart" };
    format!("| `{}` | `{}`<br>`{}` | {help} | {default} | {live} |", scalar.key, scalar.flag, scalar.variable)
}

#[test]
fn the_guide_lists_every_setting() {
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).expect("a guide");
    let (before, rest) = guide.split_once(START).expect("where the settings begin");
    let (_, after) = rest.split_once(END).expect("where they end");
    let mut table = String::from("| Key | Flag, variable | | Default | A change holds |\n|---|---|---|---|---|\n");
    for scalar in scalars() {
        writeln!(table, "{}", row(scalar)).expect("a String takes all");
    }
    check_generated(GUIDE, &format!("{before}{START}{table}{END}{after}"));
}

#[test]
fn every_flag_of_serve_is_a_setting() {
    let help = Command::new(env!("CARGO_BIN_EXE_gatepost")).args(["serve", "--help"]).output().expect("help");
    let help = String::from_utf8(help.stdout).expect("text");
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--")).map(|line| {
        let end = line.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(line.len());
        format!("--{}", &line[..end])
    });
    let others: Vec<String> = flags.filter(|flag| !scalars().iter().any(|scalar| scalar.flag == *flag)).collect();
    assert_eq!(others, ["--config", "--print-config"]);
}

#[test]
fn prints_the_configuration_and_ends() {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::write(root.path().join("gatepost.yaml"), "queue: 9\ndefaults: {warn: baseline}\n").expect("a file");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.current_dir(root.path()).arg("serve").args(arguments).env("GATEPOST_CONFIG", "gatepost.yaml");
        let output = command.env("GATEPOST_DEFAULTS_AUDIT", "off").output().expect("an end");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, printed, _) = run(&["--print-config", "--workers=3"]);
    assert_eq!(code, Some(0));
    let value: serde_json::Value = serde_saphyr::from_str(&printed).expect("YAML");
    assert_eq!(
        (&value["queue"], &value["workers"], &value["defaults"]["warn"]),
        (&9.into(), &3.into(), &"baseline".into())
    );
    for line in [
        ("queue: 9", "gatepost.yaml:1"),
        ("workers: 3", "flag --workers"),
        ("  warn: baseline", "gatepost.yaml:2"),
        ("  audit: \"off\"", "environment GATEPOST_DEFAULTS_AUDIT"),
        ("judgeOwned: false", "default"),
    ] {
        let (value, origin) = line;
        let is_it = |found: &str| found.starts_with(value) && found.ends_with(&format!("# {origin}"));
        assert!(printed.lines().any(is_it), "{line:?} is missing in\n{printed}");
    }
    let (code, _, said) = run(&["--print-config", "--config=none.yaml"]);
    assert!(code == Some(2) && said.starts_with("error: none.yaml: cannot be read: "), "{said}");
}
