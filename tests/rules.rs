//! Every built-in rule on its fixtures: clean or as in its snapshot, and the same on VM, interpreter and OPA.
//!
//! `GATEPOST_UPDATE=1` writes the snapshots and the list of rules that run on the VM.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use gatepost::admission::fixture::reviews;
use gatepost::engine::kept::looked_up;
use gatepost::engine::rego::{self, Library};
use gatepost::engine::review::Needs;
use gatepost::engine::{
    Backend, BackendChoice, Budget, Bundle, Catalogue, Fields as _, Input, Limits, Machines, ProgramCache, Review,
    Value, judge, parameters,
};
use gatepost::policy::{Provenance, Rule};
use serde_json::{Value as Json, json};

use crate::support::generated::check_generated;
use crate::support::opa::Opa;

const LIMITS: Limits = Limits { time: Duration::from_secs(10), instructions: 10_000_000 };

/// What one rule says of one fixture: a `{violation, skip}` a document.
type Answer = Vec<Json>;

fn catalogue() -> Catalogue {
    Catalogue::read(&[]).expect("the built-in policies are whole")
}

fn inputs(rule: &Rule, text: &str) -> Vec<Value> {
    let parameters = rule.parameters.as_ref().map(|schema| parameters::with_defaults(schema, &serde_json::Map::new()));
    let parameters = parameters.map(Value::from);
    let needs = Needs {
        parameters: parameters.as_ref(),
        strings: catalogue().uses_strings(rule),
        secret_data: rule.reads_secret_data,
    };
    let reviews = reviews(rule, text).expect("a fixture can be read");
    reviews.iter().map(|review| Input::new(review).for_rule(needs)).collect()
}

fn answer(catalogue: &Catalogue, rule: &Rule, text: &str, backend: Backend) -> Result<Answer, String> {
    let library = Library::new(&catalogue.libraries(Provenance::BuiltIn)).map_err(|error| error.to_string())?;
    let program = rego::compile(&library, &rule.source, backend).map_err(|error| error.to_string())?;
    let mut machines = Machines::default();
    let run = |input| {
        let found = program.run(&mut machines, input, LIMITS).map_err(|error| error.to_string())?;
        let list = |set: &Value| match set {
            Value::Undefined => json!([]),
            set => sorted(serde_json::to_value(set).expect("a value is JSON")),
        };
        Ok(json!({"violation": list(&found.violations), "skip": list(&found.skips)}))
    };
    inputs(rule, text).into_iter().map(run).collect()
}

fn answer_of_opa(opa: &mut Opa, catalogue: &Catalogue, rule: &Rule, text: &str) -> Result<Answer, String> {
    let sources = catalogue.libraries(Provenance::BuiltIn);
    let modules: serde_json::Map<String, Json> =
        sources.iter().chain([&rule.source]).map(|source| (source.file.to_string(), json!(&*source.text))).collect();
    let modules = Json::Object(modules);
    let mut ask = |entry: &str, input: &Json| {
        let found = opa.ask(&modules, &format!("data.{}.{entry}", rule.package), input)?;
        Ok::<_, String>(if found.is_null() { json!([]) } else { sorted(found) })
    };
    let has_skip = rule.source.text.contains("\nskip contains");
    let run = |input: &Value| {
        let input = serde_json::to_value(input).expect("an input is JSON");
        let skip = if has_skip { ask("skip", &input)? } else { json!([]) };
        Ok(json!({"violation": ask("violation", &input)?, "skip": skip}))
    };
    inputs(rule, text).iter().map(run).collect()
}

fn sorted(list: Json) -> Json {
    let Json::Array(mut items) = list else { return list };
    items.sort_by_key(ToString::to_string);
    Json::Array(items)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[test]
fn finds_nothing_in_what_passes_and_the_snapshot_in_what_fails() {
    let catalogue = catalogue();
    for rule in catalogue.rules().values() {
        let mut found = BTreeMap::new();
        for fixture in &rule.fixtures {
            let name = file_name(&fixture.source.file);
            let said = answer(&catalogue, rule, &fixture.source.text, Backend::Interpreter)
                .unwrap_or_else(|error| panic!("{}: {error}", fixture.source.file));
            assert!(!said.is_empty(), "{} holds no object", fixture.source.file);
            let violations = said.iter().filter(|one| one["violation"] != json!([])).count();
            if fixture.passes {
                assert_eq!(violations, 0, "{}: {said:#?}", fixture.source.file);
            } else {
                assert!(violations > 0, "{} has no violation", fixture.source.file);
                found.insert(name, said);
            }
        }
        let file = Path::new("policies").join(&*rule.source.file).with_file_name("violations.json");
        let text = serde_json::to_string_pretty(&found).expect("JSON") + "\n";
        check_generated(&file.to_string_lossy(), &text);
    }
}

#[test]
fn says_the_same_of_looked_up_objects_that_are_trimmed_to_what_it_reads() {
    let catalogue = catalogue();
    let bundle = Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::default()).expect("it compiles");
    let mut trimmed_something = 0;
    for compiled in bundle.rules().values().filter(|compiled| !compiled.rule.inventory.is_empty()) {
        let rule = &compiled.rule;
        let answers = |review: &Review| {
            let policy = bundle.policy_of_rules("", std::slice::from_ref(rule));
            let input = Input::new(review);
            let checks = bundle.matching(review, input.has_template(), &[&policy]);
            let budget = Budget { limits: LIMITS, remaining: &|| Duration::from_mins(1) };
            let said = judge(&input, &checks, &mut Machines::default(), &budget);
            said.into_iter().map(|said| said.outcome).collect::<Vec<_>>()
        };
        let mut judged = 0;
        for fixture in &rule.fixtures {
            for review in reviews(rule, &fixture.source.text).expect("a fixture can be read") {
                let all = bundle.reads();
                let trim = |(kind, objects): (&String, &Value)| {
                    let trimmed: Vec<Value> = objects.items().map(|object| looked_up(&all[kind], object)).collect();
                    (kind.clone(), Value::from(trimmed))
                };
                let inventory = review.inventory.iter().map(trim).collect();
                let trimmed = Review { inventory, ..review.clone() };
                trimmed_something += usize::from(trimmed.inventory != review.inventory);
                assert_eq!(answers(&trimmed), answers(&review), "{}", fixture.source.file);
                judged += 1;
            }
        }
        assert!(judged > 0, "{}", rule.id);
    }
    assert!(trimmed_something > 0, "no fixture has more than what is read");
}

#[test]
fn runs_on_the_vm_only_what_vm_interpreter_and_opa_agree_on() {
    let catalogue = catalogue();
    let Some(mut opa) = Opa::start() else { return };
    let mut proven = BTreeMap::new();
    for rule in catalogue.rules().values() {
        let mut agree = true;
        for fixture in &rule.fixtures {
            let text = &fixture.source.text;
            let interpreter = answer(&catalogue, rule, text, Backend::Interpreter);
            let opa = answer_of_opa(&mut opa, &catalogue, rule, text);
            assert_eq!(interpreter, opa, "{}: interpreter and OPA differ", fixture.source.file);
            let vm = answer(&catalogue, rule, text, Backend::Vm);
            if vm != interpreter {
                eprintln!("{}: the VM differs: {vm:?} instead of {interpreter:?}", fixture.source.file);
                agree = false;
            }
        }
        if agree {
            proven.insert(rule.id.to_string(), catalogue.program_digest(rule));
        }
    }
    let text = serde_json::to_string_pretty(&proven).expect("JSON") + "\n";
    check_generated("policies/vm.json", &text);
}

/// Returns what the diff of a rule does, and what it leaves over.
fn fix_in_words(rule: &Rule) -> String {
    let steps: Vec<String> = rule.mend.iter().map(gatepost::report::mend::in_words).collect();
    let choices: Vec<&str> =
        rule.mend.iter().map(|step| step.choose.as_str()).filter(|choice| !choice.is_empty()).collect();
    let chosen = if choices.is_empty() { String::new() } else { format!("; a person chooses: {}", choices.join(", ")) };
    match (steps.is_empty(), rule.by_hand.as_str()) {
        (true, why) => format!("none. {why}"),
        (false, "") => format!("{}{chosen}.", steps.join(", ")),
        (false, rest) => format!("{}{chosen}. {rest}", steps.join(", ")),
    }
}

#[test]
fn the_catalogue_of_rules_is_as_generated() {
    let catalogue = catalogue();
    let mut text = String::from(
        "# Rules\n\nGenerated from the METADATA of each rule; `gatepost explain RULE` says more.\n\n\
         | Rule | Severity | Effort | What it asks | Fix |\n|---|---|---|---|---|\n",
    );
    for rule in catalogue.rules().values() {
        let cells = [rule.title.as_str(), rule.fix.as_str()].map(|cell| cell.replace('\n', " ").replace('|', "\\|"));
        let [title, fix] = cells;
        let (severity, effort) = (rule.severity, rule.effort.as_str());
        writeln!(text, "| [`{id}`](#{id}) | {severity} | {effort} | {title} | {fix} |", id = rule.id)
            .expect("a String takes all");
    }
    let by_steps = catalogue.rules().values().filter(|rule| !rule.mend.is_empty()).count();
    let all = catalogue.rules().len();
    writeln!(text, "\n{by_steps} of {all} rules say how to mend what they find as a diff; each below, or why not.")
        .expect("a String takes all");
    for rule in catalogue.rules().values() {
        let aliases: Vec<String> = rule.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        writeln!(text, "\n## {}\n\n{}", rule.id, rule.description).expect("a String takes all");
        writeln!(text, "\nImpact: {}", rule.impact).expect("a String takes all");
        if !aliases.is_empty() {
            writeln!(text, "\nAlso known as {}.", aliases.join(", ")).expect("a String takes all");
        }
        writeln!(text, "\nThe fix as a diff: {}", fix_in_words(rule)).expect("a String takes all");
        if let Some(differs) = &rule.differs {
            writeln!(text, "\nDiffers from Datree's: {}", differs.trim()).expect("a String takes all");
        }
    }
    check_generated("docs/rules.md", &text);
}

#[test]
fn ships_policies_that_contain_each_other() {
    use gatepost::engine::{BackendChoice, Bundle, ProgramCache};
    let bundle = Bundle::build(catalogue(), &ProgramCache::default(), BackendChoice::Proven).expect("builds");
    let rules = |name: &str| {
        let policy = bundle.policy(name).expect("ships");
        let checks = policy.entries.keys().filter_map(|id| bundle.checks().get(*id));
        checks.map(|check| check.rule_id().to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(rules("datree-default").len(), 21);
    assert_eq!(rules("recommended"), rules("datree-default"));
    assert!(rules("baseline").is_subset(&rules("recommended")) && rules("baseline").len() < 21);
    assert!(rules("recommended").is_subset(&rules("strict")));
}
