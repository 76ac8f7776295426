//! What stands above a rule.

use super::*;
use crate::policy::metadata::Step;

fn source(custom: &str) -> String {
    let custom = format!("#   {}\n", custom.replace('\n', "\n#   "));
    format!("# Copyright\n\n# METADATA\n# title: Title\n# custom:\n{custom}package gatepost.rules.a\n")
}

const LEAST: &str = "id: a-rule\nseverity: high\ncategory: workload\nkinds: [workloads]\nfix: Mend it.";

#[test]
fn what_is_left_out_has_its_default() {
    let Metadata { title, custom, .. } = metadata::read(&source(LEAST)).unwrap();
    assert_eq!(title, "Title");
    let expected = Custom {
        id: "a-rule".into(),
        aliases: Vec::new(),
        severity: Severity::High,
        category: "workload".into(),
        impact: String::new(),
        effort: Effort::Medium,
        kinds: vec!["workloads".into()],
        operations: vec![Operation::Create, Operation::Update],
        places: vec![Origin::Admission, Origin::Audit, Origin::Files],
        fix: "Mend it.".into(),
        mend: Vec::new(),
        by_hand: None,
        parameters: None,
        inventory: Vec::new(),
        reads: None,
        dialect: Dialect::Gatepost,
        differs: None,
        at_most: None,
    };
    assert_eq!(custom, expected);
}

#[test]
fn a_step_that_mends_does_one_thing() {
    let read = |step: &str| metadata::read(&source(&format!("{LEAST}\nmend: [{step}]"))).map(|read| read.custom.mend);
    let steps =
        read("{set: {a: 1}, like: 1/b, choose: it}, {at: 1/c, remove: true}, {quote: true}, {version: v1}").unwrap();
    assert_eq!(steps.iter().map(|step| step.at.as_str()).collect::<Vec<_>>(), ["0", "1/c", "0", "0"]);
    assert!(matches!(&steps.first().unwrap().step, Step::Set { like: Some(like), .. } if like == "1/b"));
    assert_eq!(steps.last().unwrap().step, Step::Version("v1".into()));
    for wrong in ["{}", "{set: 1, remove: true}", "{remove: true, choose: it}", "{replace: 1}", "{remove: false}"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn everything_that_can_be_said_is_read() {
    let more = "aliases: [A, B]\neffort: easy\noperations: [DELETE]\nwhere: [files]\natMost: warn\nreads: secret-data\n\
                inventory: [autoscaling/HorizontalPodAutoscaler]\ndialect: gatepost\ndiffers: so\nimpact: >-\n  two\n  lines\n\
                parameters:\n  type: object\n  properties: {a: {type: integer, default: 1}}";
    let custom = metadata::read(&source(&format!("{LEAST}\n{more}"))).unwrap().custom;
    assert_eq!((custom.aliases, custom.effort), (vec!["A".to_owned(), "B".into()], Effort::Easy));
    assert_eq!((custom.operations, custom.places), (vec![Operation::Delete], vec![Origin::Files]));
    assert_eq!((custom.at_most, custom.impact.as_str()), (Some(AtMost::Warn), "two lines"));
    assert_eq!(custom.parameters.unwrap()["properties"]["a"]["default"], 1);
    assert!(custom.reads.is_some() && custom.differs.as_deref() == Some("so"));
}

#[test]
fn the_block_ends_with_its_comment_and_carriage_returns_do_no_harm() {
    let with_more = source(LEAST).replace("package", "\n# A comment: [of another kind\npackage");
    assert_eq!(metadata::read(&with_more).unwrap().custom.id, "a-rule");
    let from_windows = source(LEAST).replace('\n', "\r\n");
    assert_eq!(metadata::read(&from_windows).unwrap().custom.id, "a-rule");
}

#[test]
fn faults_name_the_line_of_the_source() {
    let table = [
        (LEAST.replace("high", "hgih"), 7, "unknown variant `hgih`"),
        (LEAST.replace("fix", "fixx"), 10, "unknown field `fixx`"),
        (LEAST.replace("category: workload", "category: ''"), 4, "custom.category is empty"),
        (LEAST.replace("a-rule", "a--rule"), 4, "custom.id \"a--rule\" is not in kebab-case"),
        (LEAST.replace("[workloads]", "[]"), 4, "custom.kinds is empty"),
        (format!("{LEAST}\noperations: []"), 4, "custom.operations is empty"),
        (format!("{LEAST}\nwhere: []"), 4, "custom.where is empty"),
        (format!("{LEAST}\nwhere: [here]"), 11, "unknown variant `here`"),
        (format!("{LEAST}\noperations: [create]"), 11, "unknown variant `create`"),
    ];
    for (custom, line, cause) in table {
        let error = metadata::read(&source(&custom)).unwrap_err();
        assert!(error.cause.starts_with(&format!("METADATA: {cause}")), "{error}");
        assert_eq!(error.line, line, "{error}");
        assert!(!error.cause.contains("at line ") || error.cause.contains(&format!("at line {line},")), "{error}");
    }
    assert_eq!(metadata::read("").unwrap_err().line, 1);
    assert_eq!(metadata::read("# A rule.\npackage a\n# METADATA\n").unwrap_err().line, 2);
}

#[test]
fn severities_are_ordered_and_read_as_they_are_written() {
    assert!(Severity::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    for severity in Severity::ALL {
        assert_eq!(severity.as_str().parse(), Ok(severity));
    }
    let error = "High".parse::<Severity>().unwrap_err().to_string();
    assert_eq!(error, "\"High\" is not one of critical, high, medium, low, info");
}

#[test]
fn kebab_case_is_words_joined_by_single_hyphens() {
    for (text, expected) in [
        ("a", true),
        ("container-image-tag", true),
        ("deprecated-api-1-16", true),
        ("", false),
        ("-a", false),
        ("a-", false),
        ("a--b", false),
        ("A", false),
        ("a_b", false),
        ("a b", false),
        ("ä", false),
    ] {
        assert_eq!(metadata::is_kebab_case(text), expected, "{text}");
    }
}
