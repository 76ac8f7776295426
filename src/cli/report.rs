//! `gatepost scan --report`: sends what was judged to a Gatepost that remembers it.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::UsageError;
use crate::config::Receiver;
use crate::policy::Severity;
use crate::report::Tally;
use crate::scan::client::{Client, NotTaken};
use crate::scan::record::{self, Gathered, Judged};

/// How often a report is sent that nobody takes.
const ATTEMPTS: u32 = 3;
/// The wait after the first attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Where CI systems say what is built, and of which commit: GitHub, GitLab, Bitbucket, Azure, Buildkite, CircleCI,
/// Drone, Jenkins.
const SOURCES: [&str; 8] = [
    "GITHUB_REPOSITORY",
    "CI_PROJECT_PATH",
    "BITBUCKET_REPO_FULL_NAME",
    "BUILD_REPOSITORY_NAME",
    "BUILDKITE_PIPELINE_SLUG",
    "CIRCLE_PROJECT_REPONAME",
    "DRONE_REPO",
    "JOB_NAME",
];
const COMMITS: [&str; 8] = [
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
    "BUILDKITE_COMMIT",
    "CIRCLE_SHA1",
    "DRONE_COMMIT_SHA",
    "GIT_COMMIT",
];

/// Where a verdict is sent to.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Send the verdict to a Gatepost that remembers it, beside printing it
    #[arg(long, value_name = "URL", env = "GATEPOST_REPORT")]
    report: Option<Receiver>,
    /// Who judges, for its history [default: ci/ and the repository in CI, else cli/ and the machine]
    #[arg(long, value_name = "LABEL", requires = "report")]
    report_source: Option<String>,
    /// The commit that is judged [default: what CI says]
    #[arg(long, value_name = "COMMIT", requires = "report")]
    report_commit: Option<String>,
    /// Token of scope report
    #[arg(long, value_name = "FILE", requires = "report", env = "GATEPOST_REPORT_TOKEN_FILE")]
    report_token_file: Option<PathBuf>,
    /// Authorities in PEM that vouch for the receiver; if not given, those of the machine
    #[arg(long, value_name = "FILE", requires = "report", env = "GATEPOST_REPORT_CA")]
    report_ca: Option<PathBuf>,
}

impl ReportArgs {
    /// Returns whether there is anywhere to send to.
    pub fn is_asked_for(&self) -> bool {
        self.report.is_some()
    }

    /// Sends a verdict; the error says why it was not taken in.
    pub fn send(
        &self,
        gathered: Gathered,
        tally: &Tally,
        policies: &str,
        fail_on: Option<Severity>,
    ) -> anyhow::Result<()> {
        let Some(receiver) = &self.report else { return Ok(()) };
        let batch = record::batch(self.judged(policies, fail_on), gathered, tally);
        let body = Bytes::from(serde_json::to_vec(&batch)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = Client::new(receiver.clone(), self.report_token_file.clone(), self.report_ca.as_deref());
            let client = client.map_err(UsageError)?;
            Ok(deliver(&client, body).await?)
        })
    }

    fn judged(&self, policies: &str, fail_on: Option<Severity>) -> Judged {
        Judged {
            source: self.report_source.clone().unwrap_or_else(|| source(&variable)),
            commit: self.report_commit.clone().or_else(|| first(&COMMITS, &variable)).unwrap_or_default(),
            policies: policies.to_owned(),
            fail_on,
        }
    }
}

async fn deliver(client: &Client, body: Bytes) -> Result<(), NotTaken> {
    let mut attempt = 1;
    let mut wait = FIRST_WAIT;
    loop {
        match client.report(body.clone()).await {
            Err(NotTaken::Later { after, .. }) if attempt < ATTEMPTS => {
                tokio::time::sleep(after.unwrap_or(wait)).await;
                wait = wait.saturating_mul(2);
                attempt = attempt.saturating_add(1);
            }
            answer => return answer,
        }
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn first(names: &[&str], variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    names.iter().find_map(|name| variable(name))
}

fn source(variable: &dyn Fn(&str) -> Option<String>) -> String {
    let machine = || format!("cli/{}", variable("HOSTNAME").as_deref().unwrap_or("local"));
    first(&SOURCES, variable).map_or_else(machine, |repository| format!("ci/{repository}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_says_who_judges_and_what() {
        let table = [
            ("", "cli/local", None),
            ("HOSTNAME=laptop", "cli/laptop", None),
            ("GITHUB_REPOSITORY=acme/shop GITHUB_SHA=c0ffee", "ci/acme/shop", Some("c0ffee")),
            ("CI_PROJECT_PATH=acme/bank CI_COMMIT_SHA=beef", "ci/acme/bank", Some("beef")),
        ];
        for (variables, expected, commit) in table {
            let variable = |name: &str| {
                let mut pairs = variables.split(' ').filter_map(|pair| pair.split_once('='));
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
            };
            assert_eq!(source(&variable), expected);
            assert_eq!(first(&COMMITS, &variable).as_deref(), commit);
        }
    }
}
