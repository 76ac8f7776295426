//! Texts of a target's own: Jinja templates over what the message would tell.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, Output, State, Value};
use serde::Serialize;
use serde_json::json;

/// Steps that a template may take: enough for thousands of lines, and no endless loop.
const STEPS: u64 = 200_000;

/// How a template writes values down, so that they mean nothing to the receiver but themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// As they are.
    Plain,
    /// With Slack's three characters escaped.
    Slack,
    /// As JSON, a text with its quotes.
    Json,
}

/// One text of a target's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    writing: Writing,
}

impl Template {
    /// Reads one, and tries it once on a message that has everything.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with its line.
    pub fn new(source: &str, writing: Writing) -> Result<Self, String> {
        let template = Self { source: source.to_owned(), writing };
        let text = template.render(&sample())?;
        match writing {
            Writing::Json => serde_json::from_str::<serde_json::Value>(&text)
                .map_err(|error| format!("makes no JSON: {error}"))
                .map(drop)?,
            Writing::Plain | Writing::Slack if text.trim().is_empty() => return Err("says nothing".into()),
            Writing::Plain | Writing::Slack => (),
        }
        Ok(template)
    }

    /// Writes a message.
    ///
    /// # Errors
    ///
    /// What this message does not have, with the line that asks for it.
    pub fn render(&self, message: &impl Serialize) -> Result<String, String> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(STEPS));
        let writing = self.writing;
        environment.set_auto_escape_callback(move |_| match writing {
            Writing::Json => AutoEscape::Json,
            Writing::Plain | Writing::Slack => AutoEscape::None,
        });
        if writing == Writing::Slack {
            environment.set_formatter(for_slack);
        }
        environment.render_str(&self.source, Value::from(Serde(message))).map_err(|error| told(&error))
    }
}

fn for_slack(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match () {
        () if value.is_undefined() || value.is_none() => Ok(()),
        () if value.is_safe() => output.write_str(&value.to_string()).map_err(Into::into),
        () => output.write_str(&escaped(&value.to_string())).map_err(Into::into),
    }
}

/// Returns a text with the three characters escaped that mean something to Slack.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn told(error: &Error) -> String {
    let cause = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("line {line}: {cause}"),
        None => cause,
    }
}

/// Returns a message that has everything that one can have.
pub fn sample() -> serde_json::Value {
    json!({
        "apiVersion": "gatepost.dev/v1", "kind": "Notification", "id": "msg_1", "target": "chat", "event": "findings", "time": "2026-12-01T08:00:00Z", "cluster": "prod",
        "recipient": "#team-shop", "owner": "team-shop", "title": "1 new finding", "count": 1, "severities": {"high": 1},
        "namespaces": ["shop"], "more": 1, "url": "https://gatepost.example.com/findings", "resolved": false,
        "items": [{
            "text": "Deployment web: app: write a fixed tag", "severity": "high", "namespace": "shop",
            "rule": "container-image-tag", "url": "https://gatepost.example.com/findings/1",
        }],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn values_mean_nothing_but_themselves() {
        let message = json!({"title": "<!channel> \"a\" & b"});
        let written = |source: &str, writing| Template::new(source, writing).unwrap().render(&message).unwrap();
        assert_eq!(written("*{{ title }}*", Writing::Slack), "*&lt;!channel&gt; \"a\" &amp; b*");
        assert_eq!(written("{{ title }}", Writing::Plain), "<!channel> \"a\" & b");
        let document: serde_json::Value =
            serde_json::from_str(&written("{\"text\": {{ title }}}", Writing::Json)).unwrap();
        assert_eq!(document, json!({"text": "<!channel> \"a\" & b"}));
        // What a message has not got is nothing.
        assert_eq!(written("a{{ owner }}{% for item in items %}{{ item.text }}{% endfor %}", Writing::Slack), "a");
    }

    #[test]
    fn faults_name_their_line() {
        for (source, writing, cause) in [
            ("a\n{{ title", Writing::Plain, "line 2: unexpected end of input"),
            ("a\n{% for item in title %}{% endif %}", Writing::Plain, "line 2: "),
            ("{{ title | shout }}", Writing::Plain, "line 1: filter shout is unknown"),
            ("{{ nobody.text }}", Writing::Plain, "line 1: undefined value"),
            (" ", Writing::Plain, "says nothing"),
            ("{\"text\": \"{{ title }}\"}", Writing::Json, "makes no JSON: "),
            (
                "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
                Writing::Plain,
                "line 1: ",
            ),
        ] {
            let error = Template::new(source, writing).unwrap_err();
            assert!(error.starts_with(cause), "{source}: {error}");
        }
    }
}
