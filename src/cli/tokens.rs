//! `gatepost tokens`: makes tokens for the API, lists and revokes them, in the store itself.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use globset::Glob;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::output::{self, Format};
use super::place::StoreArgs;
use super::{UsageError, exit};
use crate::config::Lifetime;
use crate::scan::access::Scope;
use crate::scan::tokens::{Made, Wanted, make};
use crate::store::Token;

/// Arguments of `gatepost tokens`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token; what is printed is shown this once
    Create(Create),
    /// List tokens, without what their bearers show
    List(Place),
    /// Take a token away; it opens nothing from then on
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    label: String,
    /// What it is good for: read, report, write (read, too) or admin; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// Glob of namespaces that it may see; may be repeated. If not given, all, and what is outside any
    #[arg(long = "namespace", value_name = "GLOB")]
    namespaces: Vec<String>,
    /// How long it is valid
    #[arg(long, value_name = "TIME", default_value = "90d", conflicts_with = "permanent")]
    lifetime: Lifetime,
    /// Let it be valid until it is revoked
    #[arg(long)]
    permanent: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The token's id, as listed
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Where the tokens are, and how they are told.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    store: StoreArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Makes, lists or revokes; 5 if the store does not answer.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::in_runtime(async {
        match &args.command {
            Command::Create(create) => create.run().await,
            Command::List(place) => list(place).await,
            Command::Revoke(revoke) => revoke.run().await,
        }
    })
}

impl Create {
    async fn run(&self) -> anyhow::Result<ExitCode> {
        if self.label.trim().is_empty() {
            return Err(UsageError("--label says what the token is for: it must not be empty".into()).into());
        }
        for glob in &self.namespaces {
            Glob::new(glob)
                .map_err(|error| UsageError(format!("--namespace \"{glob}\" is no glob: {}", error.kind())))?;
        }
        let now = Timestamp::from_second(Timestamp::now().as_second())?;
        let end = now.checked_add(SignedDuration::from_secs(self.lifetime.seconds()));
        let end = end.map_err(|_| UsageError(format!("--lifetime {} ends in no calendar", self.lifetime)))?;
        let wanted = Wanted {
            label: self.label.clone(),
            scopes: self.scopes.clone(),
            namespaces: self.namespaces.clone(),
            expires: (!self.permanent).then_some(end),
        };
        let Made { token, secret } = make(wanted, now).ok_or_else(|| anyhow::anyhow!("there are no random numbers"))?;
        let place = &self.place;
        place.store.open().await?.put_token(&token).await?;
        let until = token.expires.map_or("until it is revoked".into(), |end| format!("until {end}"));
        if place.output == Format::Text {
            output::tell(&format!("Token {} is valid {until}. It is shown this once:", token.id));
        }
        output::print(&match place.output {
            Format::Text => format!("{secret}\n"),
            Format::Json => {
                let mut told = json!(token);
                if let Some(fields) = told.as_object_mut() {
                    fields.insert("token".into(), secret.into());
                }
                format!("{told:#}\n")
            }
        })
    }
}

async fn list(place: &Place) -> anyhow::Result<ExitCode> {
    let tokens = place.store.open().await?.tokens().await?;
    output::print(&match place.output {
        Format::Json => format!("{:#}\n", json!({"items": tokens, "next": null})),
        Format::Text => text(&tokens, Timestamp::now()),
    })
}

fn text(tokens: &[Token], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "There are no tokens: gatepost tokens create --label TEXT --scope SCOPE makes one.\n".into();
    }
    let mut text = String::new();
    for token in tokens {
        let end = match token.expires {
            None => "until revoked".to_owned(),
            Some(end) if end <= now => format!("ended {end}"),
            Some(end) => format!("until {end}"),
        };
        let namespaces = if token.namespaces.is_empty() { "all namespaces".into() } else { token.namespaces.join(",") };
        let Token { id, label, scopes, .. } = token;
        let line = format!("{id}  {end}  {}  {namespaces}  {label}", scopes.join(","));
        // What stands in a label must not steer the terminal.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(text, "{line}");
    }
    text
}

impl Revoke {
    async fn run(&self) -> anyhow::Result<ExitCode> {
        let store = self.place.store.open().await?;
        let mut code = ExitCode::SUCCESS;
        for id in &self.ids {
            if store.revoke(id).await? {
                output::tell(&format!("Token {id} is revoked."));
            } else {
                output::tell(&format!("error: there is no token {id}: gatepost tokens list shows them"));
                code = ExitCode::from(exit::USAGE);
            }
        }
        Ok(code)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_tokens_are_good_for_and_until_when() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let token = |id: &str, namespaces: &[&str], expires| Token {
            id: id.into(),
            label: "ci\u{1b}[31m".into(),
            hash: "never shown".into(),
            scopes: vec!["read".into(), "report".into()],
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            created: at("2026-01-01T00:00:00Z"),
            expires,
        };
        let tokens = [
            token("a1", &[], Some(at("2026-03-01T00:00:00Z"))),
            token("b2", &["team-*"], Some(at("2026-01-02T00:00:00Z"))),
            token("c3", &[], None),
        ];
        let expected = "a1  until 2026-03-01T00:00:00Z  read,report  all namespaces  ci [31m\n\
            b2  ended 2026-01-02T00:00:00Z  read,report  team-*  ci [31m\n\
            c3  until revoked  read,report  all namespaces  ci [31m\n";
        assert_eq!(text(&tokens, at("2026-02-01T00:00:00Z")), expected);
    }
}
