//! The engine: budgets, versions of Rego, the catalogue's faults, the index, and the input that rules share.

mod backends;
mod budgets;
mod cache;
mod catalogue;
mod images;
mod index;
mod input;
mod language;
mod reads;
mod secrets;
mod trial;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::image;
use super::rego::{self, Library, RegoVersion, version_of};
use super::review::{Needs, masked};
use super::template::templates;
use super::{
    Backend, BackendChoice, Budget, Bundle, Catalogue, Check, EvalError, Fields as _, Input, Judgement, Limits,
    Machines, Outcome, Path, ProgramCache, ResolvedPolicy, Review, Value, judge,
};
use crate::admission::request::{Means, NamespaceState};
use crate::admission::{Controllers, Envelope, Reason, Reviewer};
use crate::policy::set::Entry;
use crate::policy::{
    GroupVersionKind, KindSelector, Modes, NamespaceMeta, OnError, Operation, Origin, Rule, Severity, Source,
};

const BACKENDS: [Backend; 2] = [Backend::Vm, Backend::Interpreter];
/// Far more than any rule of these tests needs.
const AMPLE: Limits = Limits { time: Duration::from_mins(1), instructions: 10_000_000 };
/// Ten thousand million rounds: hours, if nothing stops it.
const ENDLESS: &str = "violation contains {\"message\": \"never\"} if {\n\tr := numbers.range(1, 100000)\n\t\
                       some x in r\n\tsome y in r\n\tx + y < 0\n}";
const ALWAYS: &str = "violation contains {\"message\": \"always\"}";

/// A rule of the tests: its METADATA, and its Rego below the package.
struct Own {
    id: &'static str,
    kinds: &'static str,
    more: &'static str,
    body: &'static str,
}

impl Own {
    const fn new(id: &'static str, body: &'static str) -> Self {
        Self { id, kinds: "'*'", more: "", body }
    }

    const fn of_kinds(id: &'static str, kinds: &'static str) -> Self {
        Self { id, kinds, more: "", body: ALWAYS }
    }

    /// Adds a line to `custom`.
    const fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    fn source(&self) -> Source {
        let Self { id, kinds, more, body } = self;
        let more = if more.is_empty() { String::new() } else { format!("#   {more}\n") };
        let package = id.replace('-', "_");
        Source::new(
            format!("own/{id}.rego"),
            format!(
                "# METADATA\n# title: t\n# custom:\n#   id: {id}\n#   severity: high\n#   category: test\n\
                 #   kinds: [{kinds}]\n#   fix: mend it\n{more}package gatepost.rules.{package}\n\n{body}\n"
            ),
        )
    }
}

fn policy(name: &str, spec: &str) -> Source {
    let text = format!("apiVersion: gatepost.dev/v1alpha1\nkind: Policy\nmetadata:\n  name: {name}\nspec:\n{spec}\n");
    Source::new(format!("own/{name}.yaml"), text)
}

fn module(text: &str) -> Source {
    Source::new("own/module.rego", format!("package own\n\n{text}\n"))
}

fn bundle_of(files: Vec<Source>) -> Bundle {
    let catalogue = Catalogue::read(&[files]).expect("the test's policies are whole");
    Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven).expect("the test's policies compile")
}

fn faults(files: Vec<Source>) -> Vec<String> {
    let built = Catalogue::read(&[files])
        .and_then(|catalogue| Bundle::build(catalogue, &ProgramCache::default(), BackendChoice::Proven));
    let faults = built.err().map(|error| error.faults).unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

fn run(text: &str, backend: Backend, input: Json, limits: Limits) -> Result<Json, EvalError> {
    let library = Library::new(&[]).expect("no modules");
    let program = rego::compile(&library, &module(text), backend).expect("the test's module compiles");
    let found = program.run(&mut Machines::default(), Value::from(input), limits)?;
    Ok(serde_json::to_value(found.violations).expect("JSON"))
}

fn review_of(object: Json) -> Review {
    Review::of_file(Value::from(object), None, BTreeMap::new())
}

fn checks_of(bundle: &Bundle, ids: &[&str]) -> Vec<Arc<Check>> {
    let one =
        |id: &&str| bundle.checks().iter().find(|check| check.rule_id().as_str() == *id).expect("a check").clone();
    ids.iter().map(one).collect()
}

fn judged(bundle: &Bundle, ids: &[&str], object: Json, limits: Limits) -> Vec<Judgement> {
    let remaining = || Duration::from_mins(1);
    let budget = Budget { limits, remaining: &remaining };
    judge(&Input::new(&review_of(object)), &checks_of(bundle, ids), &mut Machines::default(), &budget)
}

fn messages(judgement: &Judgement) -> Vec<&str> {
    judgement.violations().iter().map(|violation| violation.message.as_str()).collect()
}
