//! Which fields of its input a rule reads, found in its Rego: of looked-up objects, and of the one that it judges.
//!
//! What is found is never too little: a place counts as read whole wherever a value leaves the sight of this reading, as an
//! argument, in a comparison or in what a rule gives back. Followed are names that stand for a place, fields, and steps
//! into lists and objects.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::kept::{Kept, Step};
use super::rego::Value;
use super::rego::ast::{AssignOp, Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleAssign, RuleHead};

/// What a rule reads of each kind that it looks up.
pub type Reads = BTreeMap<String, Kept>;

/// Steps that are followed; what lies deeper is kept whole.
const DEEPEST: usize = 24;
/// How often a rule is gone over until nothing new is found; one that takes longer reads everything.
const ROUNDS: usize = 32;
/// Fields of the input that this is about.
const INVENTORY: &str = "inventory";
const OBJECT: &str = "object";
const POD_TEMPLATES: &str = "podTemplates";

/// A place in the input, by the steps from it.
type Place = Vec<Step>;

/// Finds what modules, taken together, read of the input.
pub(super) fn input(modules: &[Ref<Module>]) -> Kept {
    let mut read = Kept::default();
    for module in modules {
        of_module(module, &mut read);
    }
    read
}

/// Returns what is read of these kinds, of all that is read of the input.
pub(super) fn of_kinds(input: &Kept, kinds: &[String]) -> Reads {
    let inventory = input.of_field(INVENTORY).unwrap_or_default();
    let of_objects = |kind: &String| inventory.of_field(kind).and_then(|list| list.of_items()).unwrap_or_default();
    kinds.iter().map(|kind| (kind.clone(), of_objects(kind))).collect()
}

/// Returns whether it is read who wrote which field of the object: a Pod's template is the Pod itself.
pub(super) fn has_managed_fields(input: &Kept) -> bool {
    let template = input.of_field(POD_TEMPLATES).and_then(|templates| templates.of_items());
    let metadata = [input.of_field(OBJECT), template].into_iter().flatten().filter_map(|of| of.of_field("metadata"));
    metadata.into_iter().any(|read| read.of_field("managedFields").is_some())
}

fn of_module(module: &Module, read: &mut Kept) {
    let mut imported = Sight { names: HashMap::new(), read };
    for import in &module.imports {
        let places = imported.value(&import.refr);
        let last = match import.refr.as_ref() {
            Expr::RefDot { field: (_, Value::String(name)), .. } | Expr::Var { value: Value::String(name), .. } => {
                name.to_string()
            }
            _ => String::new(),
        };
        let name = import.r#as.as_ref().map_or(last, |name| name.text().to_owned());
        imported.name(&name, &places);
    }
    let names = imported.names;
    for rule in &module.policy {
        let mut sight = Sight { names: names.clone(), read };
        for round in 0.. {
            let before = (sight.names.clone(), sight.read.clone());
            sight.rule(rule);
            if before == (sight.names.clone(), sight.read.clone()) {
                break;
            }
            if round == ROUNDS {
                sight.read.keep(&[], true);
                break;
            }
        }
    }
}

/// What the names of one rule stand for, and what has been read.
struct Sight<'a> {
    names: HashMap<String, BTreeSet<Place>>,
    read: &'a mut Kept,
}

impl Sight<'_> {
    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Spec { head, bodies, .. } => {
                self.head(head);
                for body in bodies {
                    self.given(body.assign.as_ref());
                    self.query(&body.query);
                }
            }
            Rule::Default { value, .. } => self.whole(value),
        }
    }

    /// What a rule gives back is read by others, who are not looked at.
    fn head(&mut self, head: &RuleHead) {
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                self.value(refr);
                self.given(assign.as_ref());
            }
            RuleHead::Set { refr, key, .. } => {
                self.value(refr);
                if let Some(key) = key {
                    self.whole(key);
                }
            }
            // What is handed to a function counts as read where it is called.
            RuleHead::Func { assign, .. } => self.given(assign.as_ref()),
        }
    }

    fn given(&mut self, assign: Option<&RuleAssign>) {
        if let Some(assign) = assign {
            self.whole(&assign.value);
        }
    }

    fn query(&mut self, query: &Query) {
        query.stmts.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &LiteralStmt) {
        // What stands in for the input is read elsewhere: it counts as read whole.
        statement.with_mods.iter().for_each(|with| self.whole(&with.r#as));
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                let items = self.step(collection, &Step::Each);
                if let Some(key) = key {
                    self.bind(key, &BTreeSet::new());
                }
                self.bind(value, &items);
            }
            Literal::Every { value, domain, query, .. } => {
                let items = self.step(domain, &Step::Each);
                self.name(value.text(), &items);
                self.query(query);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.whole(expr),
        }
    }

    /// Returns the places that an expression stands for, having read what it takes to come there; one that stands for no
    /// place in the input is read as a whole.
    fn value(&mut self, expr: &Ref<Expr>) -> BTreeSet<Place> {
        match expr.as_ref() {
            Expr::Var { value: Value::String(name), .. } if **name == *"input" => BTreeSet::from([Place::new()]),
            Expr::Var { value: Value::String(name), .. } => self.names.get(&**name).cloned().unwrap_or_default(),
            Expr::RefDot { refr, field: (_, Value::String(name)), .. } => self.step(refr, &Step::Field(name.clone())),
            Expr::RefBrack { refr, index, .. } => match index.as_ref() {
                Expr::String { value: Value::String(name), .. }
                | Expr::RawString { value: Value::String(name), .. } => self.step(refr, &Step::Field(name.clone())),
                _ => {
                    self.whole(index);
                    self.step(refr, &Step::Each)
                }
            },
            _ => {
                self.inside(expr);
                BTreeSet::new()
            }
        }
    }

    fn step(&mut self, from: &Ref<Expr>, step: &Step) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for mut place in self.value(from) {
            place.push(step.clone());
            // Any part of the input may be any other.
            if let Some(Step::Each) = place.first() {
                self.read.keep(&[], true);
            }
            let is_too_deep = place.len() >= DEEPEST;
            self.read.keep(&place, is_too_deep);
            if !is_too_deep {
                places.insert(place);
            }
        }
        places
    }

    /// Reads all of what an expression stands for.
    fn whole(&mut self, expr: &Ref<Expr>) {
        for place in self.value(expr) {
            self.read.keep(&place, true);
        }
    }

    /// Reads what an expression that stands for no place is made of.
    fn inside(&mut self, expr: &Ref<Expr>) {
        match expr.as_ref() {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
            Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| self.whole(item)),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.whole(key);
                    self.whole(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query);
                self.whole(term);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.query(query);
                self.whole(key);
                self.whole(value);
            }
            Expr::Call { fcn, params, .. } => {
                self.value(fcn);
                for param in params {
                    self.whole(param);
                }
            }
            Expr::UnaryExpr { expr, .. } => self.whole(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            // Of two that must be equal, both may have been something before.
            | Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                self.whole(lhs);
                self.whole(rhs);
            }
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => {
                let places = self.value(rhs);
                self.bind(lhs, &places);
            }
            Expr::Membership { key, value, collection, .. } => {
                key.iter().chain([value, collection]).for_each(|part| self.whole(part));
            }
            Expr::RefDot { .. } | Expr::RefBrack { .. } => self.read.keep(&[], true),
        }
    }

    /// Has a new name stand for places; whatever else they are held against reads them whole.
    fn bind(&mut self, pattern: &Ref<Expr>, places: &BTreeSet<Place>) {
        if let Expr::Var { value: Value::String(name), .. } = pattern.as_ref() {
            return self.name(name, places);
        }
        for place in places {
            self.read.keep(place, true);
        }
        self.whole(pattern);
    }

    fn name(&mut self, name: &str, places: &BTreeSet<Place>) {
        if name != "_" && !places.is_empty() {
            self.names.entry(name.to_owned()).or_default().extend(places.iter().cloned());
        }
    }
}
