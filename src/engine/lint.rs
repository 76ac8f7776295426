//! What the evaluator takes in without a word and then gets wrong, found in the text before it is compiled.
//!
//! A function that calls itself overflows the stack, which ends the process; OPA refuses it. A second body chained to
//! the first (`f(x) { … } { … }`, Rego v0) is taken for something else.

use std::collections::{BTreeMap, BTreeSet};

use super::rego::CompileError;
use crate::policy::Source;

/// A rule or function: its package and its name.
type Name = (String, String);

#[derive(Debug, Default)]
struct Definition {
    is_function: bool,
    place: Option<(usize, usize)>,
    refers_to: BTreeSet<Name>,
}

/// Finds functions of the modules, taken together, that end up calling themselves.
pub fn refuse_recursion(modules: &[&Source]) -> Result<(), CompileError> {
    let mut definitions: BTreeMap<Name, Definition> = BTreeMap::new();
    for (number, module) in modules.iter().enumerate() {
        collect(&plain(&module.text), number, &mut definitions);
    }
    for (name, definition) in definitions.iter().filter(|(_, definition)| definition.is_function) {
        let Some(path) = way_back(name, &definitions) else { continue };
        let Some((number, line)) = definition.place else { continue };
        let Some(module) = modules.get(number) else { continue };
        let cause = format!("recursion is not allowed: {}", path.join(" calls "));
        return Err(CompileError { file: module.file.clone(), line: Some(line), cause });
    }
    Ok(())
}

/// Deepest nesting of braces and brackets: rules have four or five levels, and each one doubles what the parser does.
const MAX_DEPTH: usize = 12;

/// Refuses a module that would take the evaluator's parser minutes to hours: it tries each brace and bracket as set,
/// object and comprehension, and so does twice the work for each one that stands in another.
pub fn refuse_deep_nesting(module: &Source) -> Result<(), CompileError> {
    let (mut depth, mut line) = (0_usize, 1_usize);
    for sign in plain(&module.text).chars() {
        match sign {
            '\n' => line = line.saturating_add(1),
            '{' | '[' => depth = depth.saturating_add(1),
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let cause = format!("braces and brackets are nested deeper than {MAX_DEPTH} levels");
            return Err(CompileError { file: module.file.clone(), line: Some(line), cause });
        }
    }
    Ok(())
}

/// Finds a second body chained to a first one.
pub fn refuse_chained_bodies(module: &Source) -> Result<(), CompileError> {
    let text = plain(&module.text);
    let mut open: Vec<bool> = Vec::new();
    let (mut before, mut line, mut closed_a_body) = (' ', 1_usize, false);
    for sign in text.chars() {
        match sign {
            '\n' => line = line.saturating_add(1),
            '{' if open.is_empty() && before == '}' && closed_a_body => {
                let cause = "a second body is chained to the first: write the head of the rule again before it".into();
                return Err(CompileError { file: module.file.clone(), line: Some(line), cause });
            }
            '{' | '(' | '[' => open.push(sign == '{' && !matches!(before, '=' | ':' | ',' | '(' | '[')),
            '}' | ')' | ']' => closed_a_body = open.pop().unwrap_or(false) && open.is_empty(),
            _ => {}
        }
        if !sign.is_whitespace() {
            before = sign;
        }
    }
    Ok(())
}

/// Returns the text with comments and strings blanked out, line by line where they were.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        let end = match sign {
            '#' => '\n',
            '"' | '`' => sign,
            _ => {
                plain.push(sign);
                continue;
            }
        };
        plain.push(if sign == '#' { ' ' } else { '"' });
        while let Some(inner) = signs.next() {
            if inner == '\\' && end == '"' {
                signs.next();
                continue;
            }
            if inner == '\n' {
                plain.push('\n');
            }
            if inner == end {
                break;
            }
        }
        if end != '\n' {
            plain.push('"');
        }
    }
    plain
}

fn collect(text: &str, module: usize, definitions: &mut BTreeMap<Name, Definition>) {
    let mut package = String::new();
    let mut imports = BTreeMap::new();
    let mut current: Option<Name> = None;
    let mut depth = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        if depth == 0 {
            if let Some(path) = line.strip_prefix("package ") {
                package = format!("data.{}", path.trim());
                continue;
            }
            if let Some(path) = line.strip_prefix("import ") {
                let (path, alias) = path.split_once(" as ").unwrap_or((path, path.rsplit('.').next().unwrap_or(path)));
                imports.insert(alias.trim().to_owned(), path.trim().to_owned());
                continue;
            }
            let head = line.strip_prefix("default ").unwrap_or(line);
            let word = word(head);
            if !word.is_empty() && word != "else" {
                let name = (package.clone(), word.to_owned());
                rest = head.get(word.len()..).unwrap_or_default();
                let definition = definitions.entry(name.clone()).or_default();
                definition.is_function |= rest.starts_with('(');
                definition.place.get_or_insert((module, number.saturating_add(1)));
                current = Some(name);
            }
        }
        if let Some(definition) = current.as_ref().and_then(|name| definitions.get_mut(name)) {
            definition.refers_to.extend(references(rest, &package, &imports));
        }
        for sign in rest.chars() {
            match sign {
                '{' | '(' | '[' => depth = depth.saturating_add(1),
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// Returns what a line may refer to: names of its own package, and of others by import or in full.
fn references(line: &str, package: &str, imports: &BTreeMap<String, String>) -> Vec<Name> {
    let is_part = |sign: char| sign.is_ascii_alphanumeric() || sign == '_' || sign == '.';
    let paths = line.split(|sign| !is_part(sign)).filter(|path| !path.is_empty() && !path.starts_with('.'));
    let name = |path: &str| -> Name {
        match path.rsplit_once('.') {
            None => (package.to_owned(), path.to_owned()),
            Some((holder, name)) => {
                let holder = imports.get(holder).map_or(holder, String::as_str);
                (holder.to_owned(), name.to_owned())
            }
        }
    };
    paths.map(name).collect()
}

fn word(text: &str) -> &str {
    let end = text.find(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_')).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Returns the names on a way from a function back to itself.
fn way_back(start: &Name, definitions: &BTreeMap<Name, Definition>) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start]];
    while let Some(way) = ways.pop() {
        let Some(definition) = way.last().and_then(|name| definitions.get(*name)) else { continue };
        for next in &definition.refers_to {
            if next == start {
                let names = way.iter().chain([&start]).map(|(_, name)| name.clone());
                return Some(names.collect());
            }
            if definitions.contains_key(next) && seen.insert(next) {
                ways.push(way.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recursion(text: &str) -> Option<String> {
        refuse_recursion(&[&Source::new("a.rego", text)]).err().map(|error| error.to_string())
    }

    #[test]
    fn nesting_that_would_take_the_parser_hours_is_refused() {
        let nested = |sign: char, depth: usize| {
            let signs: String = std::iter::repeat_n(sign, depth).collect();
            Source::new("a.rego", format!("package a\n# {{{{{{{{{{{{{{{{{{\nx := \"[[[[[[[[[[[[[[\"\nv := {signs}1"))
        };
        for sign in ['{', '['] {
            assert_eq!(refuse_deep_nesting(&nested(sign, MAX_DEPTH)), Ok(()));
            let error = refuse_deep_nesting(&nested(sign, MAX_DEPTH + 1)).unwrap_err();
            assert_eq!((error.line, error.cause.contains("12 levels")), (Some(4), true), "{error}");
        }
    }

    #[test]
    fn functions_that_call_themselves_are_found() {
        let table = [
            ("package p\nf(x) := y if {\n  y := f(x + 1)\n}\n", Some("a.rego:2: recursion is not allowed: f calls f")),
            ("package p\nf(x) := g(x)\ng(x) := f(x)\n", Some("a.rego:2: recursion is not allowed: f calls g calls f")),
            ("package p\nf(x) := a if x\na if f(1)\n", Some("a.rego:2: recursion is not allowed: f calls a calls f")),
            ("package p\nf(x) := data.p.f(x)\n", Some("a.rego:2: recursion is not allowed: f calls f")),
            ("package p\nf(x) := y if {\n  y := \"f(x)\" # f(x)\n}\nf(x) := 1 if x\n", None),
            ("package p\nf(x) := x.f\nok if f(f(1))\n", None),
            ("package p\nf(x) := g(x)\ng(x) := x\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(recursion(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn recursion_across_modules_is_found() {
        let lib = Source::new("lib.rego", "package gatepost.lib.l\nimport data.gatepost.rules.r\nh(x) := r.f(x)\n");
        let rule = Source::new(
            "r.rego",
            "package gatepost.rules.r\nimport data.gatepost.lib.l as other\nf(x) := other.h(x)\n",
        );
        assert!(refuse_recursion(&[&lib, &rule]).is_err());
        assert!(refuse_recursion(&[&rule]).is_ok());
    }

    #[test]
    fn chained_bodies_are_found() {
        let line = |text: &str| refuse_chained_bodies(&Source::new("a.rego", text)).err().and_then(|error| error.line);
        assert_eq!(line("package p\nok = x {\n  x := 1\n} {\n  x := 2\n}\n"), Some(4));
        assert_eq!(line("package p\nf(x) = {\"a\": 1} { x }\nv[{\"m\": m}] { m := {1} } \n"), None);
        assert_eq!(line("package p\na { true } else = 2 { false }\nb { true }\n\nc { true }\n"), None);
    }
}
