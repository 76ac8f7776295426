//! Parameters of a rule: checked against its JSON Schema, defaults filled in.

use serde_json::{Map, Value};

use crate::policy::{Rule, nearest};

/// Returns a rule's parameters with defaults filled in, none for a rule that takes none.
///
/// The error names the parameter, what it is, and what was expected.
pub fn check(rule: &Rule, given: &Map<String, Value>) -> Result<Option<Value>, String> {
    let Some(schema) = &rule.parameters else {
        return match given.keys().next() {
            None => Ok(None),
            Some(name) => Err(format!("rule \"{}\" takes no parameters, found \"{name}\"", rule.id)),
        };
    };
    refuse_unknown(rule, schema, given)?;
    let parameters = with_defaults(schema, given);
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| format!("rule \"{}\": its parameters are no JSON Schema: {error}", rule.id))?;
    let faults: Vec<String> = validator
        .iter_errors(&parameters)
        .map(|error| {
            let place = error.instance_path().to_string();
            format!("parameters{}: {error}", place.replace('/', "."))
        })
        .collect();
    if faults.is_empty() { Ok(Some(parameters)) } else { Err(format!("rule \"{}\": {}", rule.id, faults.join("; "))) }
}

fn refuse_unknown(rule: &Rule, schema: &Value, given: &Map<String, Value>) -> Result<(), String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    if schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
        return Ok(());
    }
    let Some(unknown) = given.keys().find(|name| !properties.contains_key(*name)) else { return Ok(()) };
    let hint = nearest(unknown, properties.keys().map(String::as_str))
        .map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
    Err(format!("rule \"{}\": there is no parameter \"{unknown}\"{hint}", rule.id))
}

/// Returns the given parameters, and the schema's defaults for those left out.
pub fn with_defaults(schema: &Value, given: &Map<String, Value>) -> Value {
    let mut parameters = given.clone();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in properties {
        if let Some(default) = property.get("default") {
            parameters.entry(name.clone()).or_insert_with(|| default.clone());
        }
    }
    Value::Object(parameters)
}
