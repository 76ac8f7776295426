//! What a violation says: the policy's message where it has one, else the rule's.

use crate::engine::value::Fields;
use crate::engine::{Review, Violation};
use crate::policy::set::Entry;

/// Returns what is told of a violation: the policy's template with its placeholders filled in, or the rule's message.
///
/// The placeholders are `{{kind}}`, `{{name}}`, `{{namespace}}`, `{{container}}` and `{{path}}`, with or without blanks
/// inside; what the object lacks is empty, and any other name in braces stays as it is.
pub fn render_message(entry: &Entry, violation: &Violation, review: &Review) -> String {
    let Some(template) = &entry.message else { return violation.message.clone() };
    let mut rendered = String::with_capacity(template.len());
    let mut rest = &**template;
    while let Some((before, after)) = rest.split_once("{{") {
        rendered.push_str(before);
        let filled =
            after.split_once("}}").and_then(|(name, after)| Some((value(name.trim(), violation, review)?, after)));
        if let Some((value, after)) = filled {
            rendered.push_str(&value);
            rest = after;
        } else {
            rendered.push_str("{{");
            rest = after;
        }
    }
    rendered.push_str(rest);
    rendered
}

fn value(name: &str, violation: &Violation, review: &Review) -> Option<String> {
    match name {
        "kind" => Some(review.kind.kind.clone()),
        "name" => Some(review.name().to_owned()),
        "namespace" => Some(namespace_of(review).to_owned()),
        "container" => Some(violation.container.clone().unwrap_or_default()),
        "path" => Some(violation.path.to_string()),
        _ => None,
    }
}

/// Returns the name of the namespace that the object says it is in, or that it is judged in; empty for none.
pub fn namespace_of(review: &Review) -> &str {
    let own = review.object.at(&["metadata", "namespace"]).and_then(Fields::as_text).filter(|name| !name.is_empty());
    own.or_else(|| review.namespace.as_deref().map(|namespace| &*namespace.name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::{Path, Value};
    use crate::policy::Severity;
    use crate::policy::set::OnError;

    fn entry(message: Option<&str>) -> Entry {
        Entry {
            severity: Severity::High,
            message: message.map(Into::into),
            parameters: serde_json::Map::new(),
            on_error: OnError::Deny,
            at_most: None,
            mutate: false,
            exemptable: false,
        }
    }

    #[test]
    fn fills_in_placeholders() {
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        });
        let review = Review::of_file(Value::from(object), None, BTreeMap::new());
        let violation = Violation {
            message: "the rule's own".into(),
            path: Path::of_keys(&["spec", "a/b"]),
            container: Some("app".into()),
            patch: Vec::new(),
        };
        let table = [
            (None, "the rule's own"),
            (Some("fix it"), "fix it"),
            (Some("{{kind}}/{{name}} in {{ namespace }}"), "Pod/web in shop"),
            (Some("{{container}} at {{path}}"), "app at /spec/a~1b"),
            (Some("{{.Values.x}} {{kind"), "{{.Values.x}} {{kind"),
            (Some("{{ {{name}}"), "{{ web"),
        ];
        for (template, expected) in table {
            assert_eq!(render_message(&entry(template), &violation, &review), expected, "{template:?}");
        }
    }
}
