//! `gatepost audit cancel`: has the audit that a Gatepost is at end before its time.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value as Json;

use super::{UsageError, output};
use crate::config::Receiver;
use crate::scan::client::{Client, detail};

/// Arguments of `gatepost audit cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 it was told to end; 2 there is no such audit, or it is not under way; 5 the Gatepost is out of reach.")]
pub struct Cancel {
    /// Number of the audit; if not given, the one that is under way
    #[arg(value_name = "ID")]
    id: Option<i64>,
    /// The Gatepost that audits, without the path of its API
    #[arg(long, value_name = "URL", env = "GATEPOST_SERVER", default_value = "http://127.0.0.1:8080")]
    server: Receiver,
    /// Token of scope write
    #[arg(long, value_name = "FILE", env = "GATEPOST_SERVER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Authorities in PEM that vouch for the server; if not given, those of the machine
    #[arg(long, value_name = "FILE", env = "GATEPOST_SERVER_CA")]
    ca: Option<PathBuf>,
}

impl Cancel {
    /// Cancels; the exit code says whether there was anything to cancel.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let client = Client::new(self.server.clone(), self.token_file.clone(), self.ca.as_deref());
        let client = client.map_err(UsageError)?;
        let id = match self.id {
            Some(id) => id,
            None => under_way(&client).await?,
        };
        let answer = client.ask(Method::POST, &format!("/api/v1/audits/{id}/cancel")).await?;
        told(answer)?;
        output::print(&format!("audit {id} ends after the page of objects that is being judged\n"))
    }
}

/// Returns the number of the audit that is under way.
async fn under_way(client: &Client) -> anyhow::Result<i64> {
    let text = told(client.ask(Method::GET, "/api/v1/audits?state=running&limit=1").await?)?;
    let answer: Json = serde_json::from_slice(&text)?;
    let id = answer.pointer("/items/0/id").and_then(Json::as_i64);
    id.ok_or_else(|| UsageError("no audit is under way".to_owned()).into())
}

/// Returns what was answered, unless it is a no.
fn told((status, text): (StatusCode, Bytes)) -> anyhow::Result<Bytes> {
    match status {
        status if status.is_success() => Ok(text),
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Err(UsageError(detail(&text)).into()),
        status => Err(anyhow::anyhow!("{status}: {}", detail(&text))),
    }
}
