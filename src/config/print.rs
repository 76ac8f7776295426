//! `--print-config`: every value and where it comes from, as YAML that would say the same again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::outline::SECTIONS;
use super::slots::GROUPS;
use super::{Origin, Read, Value};

/// Where comments begin, unless a value is longer.
const COMMENT: usize = 44;

impl Read {
    /// Returns the whole configuration as a configuration file, with the origin of each value behind it.
    pub fn to_yaml(&self) -> String {
        let mut text = String::from(
            "# Every setting, its value, and where it comes from.\n\
             # A flag counts more than a variable, a variable more than the file, the file more than the default.\n",
        );
        for value in self.values.iter().filter(|value| !value.key.contains('.')) {
            put(&mut text, "", &value.key, value);
        }
        for (group, _) in GROUPS {
            line(&mut text, &format!("{group}:"), "");
            let of_group = |value: &&Value| value.key.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
            for value in self.values.iter().filter(of_group) {
                put(&mut text, "  ", value.key.get(group.len().saturating_add(1)..).unwrap_or_default(), value);
            }
        }
        self.put_sections(&mut text);
        text
    }

    fn put_sections(&self, text: &mut String) {
        let file: BTreeMap<String, Json> =
            self.text.as_deref().and_then(|text| serde_saphyr::from_str(text).ok()).unwrap_or_default();
        for (name, empty) in SECTIONS {
            if name == "controllers" {
                self.put_controllers(text, file.get(name));
                continue;
            }
            let origin = self.config.places.get(name).unwrap_or(&Origin::Default).to_string();
            match file.get(name).filter(|value| !is_empty(value)).and_then(|value| serde_saphyr::to_string(value).ok())
            {
                Some(yaml) => {
                    line(text, &format!("{name}:"), &origin);
                    yaml.lines().for_each(|below| line(text, &format!("  {below}"), ""));
                }
                None => line(text, &format!("{name}: {empty}"), &origin),
            }
        }
    }

    /// The shipped controllers hold beside the file's, kind by kind.
    fn put_controllers(&self, text: &mut String, file: Option<&Json>) {
        let of_file = self.config.places.get("controllers").unwrap_or(&Origin::Default);
        line(text, "controllers:", "");
        for (kind, users) in &self.config.controllers.0 {
            let origin = if file.is_some_and(|file| file.get(kind).is_some()) { of_file } else { &Origin::Default };
            line(text, &format!("  {}: {}", quoted(kind), list(users)), &origin.to_string());
        }
    }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn put(text: &mut String, indent: &str, key: &str, value: &Value) {
    let written = match value.texts.first() {
        _ if value.is_list => list(&value.texts),
        Some(only) => quoted(only),
        None => "null".to_owned(),
    };
    line(text, &format!("{indent}{key}: {written}"), &value.origin.to_string());
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// Writes a value so that YAML reads it as it is: plain where that is safe, else in JSON's quotes, which YAML knows.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        // What some readers of YAML take for something else.
        && !["null", "on", "off", "yes", "no", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { Json::from(text).to_string() }
}

fn line(text: &mut String, yaml: &str, comment: &str) {
    // Writing to a String does not fail.
    let _ = match comment {
        "" => writeln!(text, "{yaml}"),
        comment => writeln!(text, "{yaml:COMMENT$} # {}", comment.replace('\n', " ")),
    };
}
