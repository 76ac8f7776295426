//! `gatepost certs`: makes the webhook's certificates as `serve` would, and shows them. Keys are never shown.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{self, Format};
use super::{UsageError, exit};
use crate::cluster::installation::pod_namespace;
use crate::cluster::{self, Installation};
use crate::config::Lifetime;
use crate::webhook::certificates::x509::Certificate;
use crate::webhook::certificates::{
    Authority, CertificateError, Directory, Lifetimes, Plan, SecretStore, State, in_directory, in_secret, inspect,
    names,
};

/// Arguments of `gatepost certs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority and a serving certificate, or renew what is due, and show them
    Make(Make),
    /// Show who is trusted and what is served, and whether a client would accept it
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Make {
    #[command(flatten)]
    place: Place,
    /// Further DNS name or IP address; may be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// How long the authority is valid
    #[arg(long, value_name = "TIME", default_value = "10y")]
    ca_lifetime: Lifetime,
    /// How long the serving certificate is valid
    #[arg(long, value_name = "TIME", default_value = "365d")]
    tls_lifetime: Lifetime,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// A certificate chain in PEM, with ca.crt beside it
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    tls_cert: Option<PathBuf>,
}

/// Where certificates are.
#[derive(Debug, clap::Args)]
struct Place {
    /// The directory they are kept in where there is no cluster
    #[arg(long, alias = "out", value_name = "DIR", default_value = "gatepost-data")]
    data_dir: PathBuf,
    /// The cluster whose Secret gatepost-certificates is meant, in the namespace of --namespace
    #[arg(long, value_name = "FILE", requires = "namespace")]
    kubeconfig: Option<PathBuf>,
    /// Namespace that Gatepost is installed in; its Service's names go into what is made
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Makes or shows; 1 says that a client would refuse what is served.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let (place, state) = match &args.command {
        Command::Make(make) => (&make.place, runtime.block_on(make.run(now))),
        Command::Show(show) => (&show.place, runtime.block_on(show.run())),
    };
    let state = match state {
        Ok(state) => state,
        Err(error) => return fail(error),
    };
    let view = View::of(&state, now);
    output::write(&match place.output {
        Format::Text => view.text(),
        Format::Json => serde_json::to_string_pretty(&view)? + "\n",
    })?;
    Ok(if view.is_accepted { ExitCode::SUCCESS } else { ExitCode::from(exit::VIOLATIONS) })
}

/// Tells what is wrong, by the exit code too.
fn fail(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let code = match error.downcast_ref::<CertificateError>() {
        Some(CertificateError::OutOfReach { .. } | CertificateError::Refused { .. }) => exit::OUT_OF_REACH,
        Some(CertificateError::Name(_)) | None => return Err(error),
        Some(_) => exit::UNREADABLE,
    };
    output::tell(&format!("error: {error:#}"));
    Ok(ExitCode::from(code))
}

impl Place {
    /// Returns the Secret that is meant, if a cluster is named, or this is a Pod with a namespace.
    async fn secret(&self) -> anyhow::Result<Option<SecretStore>> {
        let namespace = self.namespace.clone().or_else(pod_namespace);
        let client = cluster::connect(self.kubeconfig.as_deref()).await?;
        let installation = client.zip(namespace).map(|(client, namespace)| Installation { client, namespace });
        Ok(installation.map(|installation| SecretStore::of(&installation)))
    }
}

impl Make {
    async fn run(&self, now: Timestamp) -> anyhow::Result<State> {
        let names = names(self.place.namespace.as_deref(), &self.names)?;
        let lifetimes = Lifetimes::new(self.ca_lifetime.seconds(), self.tls_lifetime.seconds(), None);
        let lifetimes = lifetimes.map_err(|fault| UsageError(fault.to_owned()))?;
        let plan = Plan { names: &names, lifetimes, is_published: &|_| true };
        Ok(match self.place.secret().await? {
            Some(secret) => in_secret(&secret, &plan, now).await?,
            None => in_directory(&Directory::open(&self.place.data_dir)?, None, &plan, now)?,
        })
    }
}

impl Show {
    async fn run(&self) -> anyhow::Result<State> {
        if let Some(path) = &self.tls_cert {
            return Ok(inspect(path)?);
        }
        let (place, contents) = match self.place.secret().await? {
            Some(secret) => (format!("Secret {}", secret.place()), secret.read().await?.contents.unwrap_or_default()),
            None => (self.place.data_dir.display().to_string(), Directory::at(&self.place.data_dir).read()?),
        };
        if contents.is_empty() {
            return Err(CertificateError::Nothing { place }.into());
        }
        Ok(State::read(&contents).map_err(|cause| CertificateError::Broken { place, cause })?)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    /// Whether a client that trusts the authorities accepts what is served.
    is_accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serving: Option<CertificateView>,
    authorities: Vec<AuthorityView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateView {
    subject: String,
    issuer: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    not_before: String,
    not_after: String,
    days_left: i64,
    fingerprint: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthorityView {
    #[serde(flatten)]
    certificate: CertificateView,
    /// Whether what is served is by it.
    has_issued: bool,
    /// Whether its key is there.
    has_key: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issues_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_until: Option<String>,
}

impl CertificateView {
    fn of(certificate: &Certificate, now: Timestamp) -> Self {
        let (subject, issuer) = certificate.subject_and_issuer();
        Self {
            subject,
            issuer,
            names: certificate.names(),
            not_before: certificate.begins.to_string(),
            not_after: certificate.ends.to_string(),
            days_left: certificate.remaining_seconds(now).div_euclid(24 * 60 * 60),
            fingerprint: certificate.fingerprint(),
        }
    }

    fn text(&self, text: &mut String) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  subject      {}\n  issuer       {}", self.subject, self.issuer);
        if !self.names.is_empty() {
            let _ = writeln!(text, "  names        {}", self.names.join(", "));
        }
        let days = match self.days_left {
            left if left < 0 => "expired".to_owned(),
            left => format!("{left} days left"),
        };
        let _ = writeln!(text, "  valid        {} to {}, {days}", self.not_before, self.not_after);
        let _ = writeln!(text, "  fingerprint  {}", self.fingerprint);
    }
}

impl View {
    fn of(state: &State, now: Timestamp) -> Self {
        let names = state.leaf.as_ref().map(crate::webhook::certificates::x509::Leaf::names).unwrap_or_default();
        let verify = |authority: &Authority| match &state.leaf {
            // Go's clients accept a certificate that is its own authority, whatever else it may do.
            Some(leaf) if leaf.certificate == authority.certificate && leaf.certificate.ends > now => Ok(()),
            Some(leaf) => leaf.is_accepted_by(&authority.certificate, &names, now).map_err(|error| error.to_string()),
            None => Err("there is no serving certificate with its key".to_owned()),
        };
        let has_issued = |authority: &Authority| verify(authority).is_ok() && !names.is_empty();
        let is_accepted = state.authorities.iter().any(has_issued);
        let cause = state.authorities.first().and_then(|first| verify(first).err());
        let authorities = state.authorities.iter().map(|authority| AuthorityView {
            certificate: CertificateView::of(&authority.certificate, now),
            has_issued: has_issued(authority),
            has_key: authority.key.is_some(),
            issues_from: authority.issues_from.map(|time| time.to_string()),
            trusted_until: authority.trusted_until.map(|time| time.to_string()),
        });
        Self {
            is_accepted,
            cause: cause.filter(|_| !is_accepted),
            serving: state.leaf.as_ref().map(|leaf| CertificateView::of(&leaf.certificate, now)),
            authorities: authorities.collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(serving) = &self.serving {
            text.push_str("Serving certificate\n");
            serving.text(&mut text);
        }
        for authority in &self.authorities {
            text.push_str("Authority that clients must trust\n");
            authority.certificate.text(&mut text);
            let _ = match (&authority.trusted_until, &authority.issues_from) {
                (Some(until), _) => writeln!(text, "  role         issued before; trusted until {until}"),
                (None, _) if authority.has_issued => writeln!(text, "  role         issued the serving certificate"),
                (None, Some(from)) => writeln!(text, "  role         issues from {from}"),
                (None, None) => writeln!(text, "  role         trusted"),
            };
        }
        let _ = match &self.cause {
            Some(cause) => writeln!(text, "A client would refuse the serving certificate: {cause}"),
            None if self.is_accepted => writeln!(text, "A client that trusts these authorities accepts it."),
            None => writeln!(text, "A client would refuse the serving certificate."),
        };
        text
    }
}
