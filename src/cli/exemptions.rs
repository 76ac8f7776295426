//! `gatepost exemptions`: who may break which rule, until when, and whether anybody does, as the API of a
//! `gatepost serve` tells it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::output::{self, Format};
use super::{UsageError, exit};
use crate::config::Receiver;
use crate::scan::client::{Client, NotTaken};

/// Arguments of `gatepost exemptions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List exemptions, with how they stand
    List(List),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 they were listed; 2 the command line, or the server does not take what was asked; 5 the server is out of \
reach.

Examples:
  gatepost exemptions list --state ending,unused
  gatepost exemptions list --url https://gatepost.example --token-file token --namespace shop -o json")]
struct List {
    /// Only those in these states: active, ending, expired, unused (in force, but no use of them is known), refused
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only those of these namespaces
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    namespace: Vec<String>,
    /// Only those that excuse these rules, given by id or another name
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    rule: Vec<String>,
    /// Only those that these answer for
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    owner: Vec<String>,
    /// The `gatepost serve` that is asked
    #[arg(long, value_name = "URL", env = "GATEPOST_URL", default_value = "http://127.0.0.1:8080")]
    url: Receiver,
    /// Token of scope read; on the server's own machine none is needed
    #[arg(long, value_name = "FILE", env = "GATEPOST_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Authorities in PEM that vouch for the server; if not given, those of the machine
    #[arg(long, value_name = "FILE", env = "GATEPOST_CA")]
    ca: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A page of what the API lists.
#[derive(Deserialize)]
struct Page {
    items: Vec<Json>,
    next: Option<String>,
}

/// Lists; 5 if the server does not answer.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::List(list) = &args.command;
    super::in_runtime(async {
        let client = Client::new(list.url.clone(), list.token_file.clone(), list.ca.as_deref()).map_err(UsageError)?;
        let mut items = Vec::new();
        let mut next = None;
        loop {
            let text = match client.get(&list.query(next.as_deref())).await {
                Ok(text) => text,
                Err(NotTaken::Refused { cause, .. }) => return Err(UsageError(cause).into()),
                Err(later) => {
                    output::tell(&format!("error: {}: {later}", list.url));
                    return Ok(ExitCode::from(exit::OUT_OF_REACH));
                }
            };
            let page: Page = serde_json::from_slice(&text)?;
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        output::print(&match list.output {
            Format::Json => format!("{:#}\n", json!({"items": items, "next": null})),
            Format::Text => text(&items),
        })
    })
}

impl List {
    fn query(&self, cursor: Option<&str>) -> String {
        let filters =
            [("state", &self.state), ("namespace", &self.namespace), ("rule", &self.rule), ("owner", &self.owner)];
        let mut query = Serializer::new("/api/v1/exemptions?".to_owned());
        query.append_pair("limit", "1000");
        for (name, values) in filters.into_iter().filter(|(_, values)| !values.is_empty()) {
            query.append_pair(name, &values.join(","));
        }
        query.extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
        query.finish()
    }
}

/// Returns one line for each: how it stands, until when, what it excuses, who answers for it, and why.
fn text(items: &[Json]) -> String {
    if items.is_empty() {
        return "There are no such exemptions.\n".into();
    }
    let mut text = String::new();
    for item in items {
        let word = |pointer: &str| item.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
        let state = match (word("/state"), word("/lastUsed")) {
            (state @ ("active" | "ending"), "") => format!("{state}, unused"),
            (state, _) => state.to_owned(),
        };
        let end = match word("/ends") {
            "" => "no end".to_owned(),
            end => format!("until {end}"),
        };
        let name = [word("/namespace"), word("/name")].into_iter().filter(|part| !part.is_empty());
        let name = format!("{} {}", word("/kind"), name.collect::<Vec<_>>().join("/"));
        let (owner, why) = (word("/spec/owner"), word("/spec/reason"));
        let cause = word("/cause");
        let why = if cause.is_empty() { why.to_owned() } else { format!("{why} (refused: {cause})") };
        let line = format!("{state}  {end}  {name}  {}  {owner}: {why}", rules(item));
        // What stands in a reason must not steer the terminal.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Returns what was written of rules; a family may stand for many.
fn rules(item: &Json) -> String {
    let lists = ["/spec/rules", "/spec/families"].into_iter().filter_map(|at| item.pointer(at)?.as_array());
    let named: Vec<&str> = lists.flatten().filter_map(Json::as_str).collect();
    if named.is_empty() { "no rule".to_owned() } else { named.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_an_exemption_stands() {
        let items = [
            json!({"kind": "Exemption", "namespace": "shop", "name": "legacy", "state": "ending",
                   "ends": "2026-03-01T00:00:00Z", "spec": {"rules": ["a", "b"], "owner": "team", "reason": "old\u{1b}[31m"}}),
            json!({"kind": "ClusterExemption", "name": "all", "state": "active", "lastUsed": "2026-02-01T00:00:00Z",
                   "spec": {"families": ["containers"], "owner": "platform", "reason": "nodes"}}),
            json!({"kind": "Exemption", "namespace": "shop", "name": "wrong", "state": "refused", "cause": "no expires",
                   "spec": {"rules": ["a"], "owner": "team", "reason": "x"}}),
        ];
        let expected = "ending, unused  until 2026-03-01T00:00:00Z  Exemption shop/legacy  a,b  team: old [31m\n\
            active  no end  ClusterExemption all  containers  platform: nodes\n\
            refused  no end  Exemption shop/wrong  a  team: x (refused: no expires)\n";
        assert_eq!(text(&items), expected);
    }
}
