//! `gatepost dashboard`: the dashboard of a Gatepost in the cluster in one's own browser, with one's own rights.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use axum::body::Body;
use http::StatusCode;
use kube::{Client, Config};

use self::front::{Front, LINK_HOLDS};
use self::own::OwnOnly;
use super::doctor::DEFAULT_NAMESPACE;
use super::{UsageError, output};
use crate::cluster::tunnel::{self, Bearer, NoBearer, Tunnel};
use crate::config::WebAddress;

mod front;
mod own;

/// What shows whether somebody may read.
const ASKED: &str = "/api/v1/findings?limit=1";

/// Arguments of `gatepost dashboard`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Opens a tunnel to the scanner's Pod through the API server, as kubectl port-forward does (rights: list pods, create \
pods/portforward in its namespace), and prints a link that signs in once, within a minute, in a browser of this user on \
this machine. It lasts until Ctrl-C. Who you are is told by your kubeconfig's token; where it has none, or one that is \
not for Gatepost, by a token for a ServiceAccount that you name.

Exit codes: 0 it was ended; 2 the command line, or there is no token that lets you read; 5 the cluster or Gatepost is out \
of reach.

Examples:
  gatepost dashboard
  gatepost dashboard --context production --service-account people/jane
  gatepost dashboard --url http://127.0.0.1:8080")]
pub struct Args {
    /// The cluster [default: KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; if not given, the current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace that Gatepost is installed in
    #[arg(long, value_name = "NS", default_value = DEFAULT_NAMESPACE)]
    namespace: String,
    /// Sign in with a token for this ServiceAccount, [NAMESPACE/]NAME, instead of the kubeconfig's own
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// Port on 127.0.0.1; 0 is one that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Print the link, and open no browser
    #[arg(long)]
    no_browser: bool,
    /// Open the dashboard at this address, by no tunnel: that of a gatepost serve on this machine, or behind an Ingress
    #[arg(long, value_name = "URL", conflicts_with_all = ["kubeconfig", "context", "namespace", "service_account", "port"])]
    url: Option<WebAddress>,
}

/// Shows the dashboard until it is told to end.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.url {
        output::print(&format!("{url}/\n"))?;
        args.open(&format!("{url}/"));
        return Ok(ExitCode::SUCCESS);
    }
    super::in_runtime(args.serve())
}

impl Args {
    async fn serve(&self) -> anyhow::Result<ExitCode> {
        let config = tunnel::config(self.kubeconfig.as_deref(), self.context.as_deref()).await.map_err(|error| {
            let error = anyhow::Error::from(error);
            UsageError(format!("{error:#}. For a gatepost serve without a cluster: gatepost dashboard --url URL"))
        })?;
        let client = Client::try_from(config.clone())?;
        let bearer = self.bearer(&config, &client).map_err(|error| self.no_token(&error))?;
        // What cannot make one fails here, in words, and not in a browser.
        bearer.header().await.map_err(|error| self.no_token(&error))?;
        let tunnel = Tunnel::new(client, &self.namespace)?;
        let listener = OwnOnly::bind(self.port).await;
        let listener = listener.map_err(|error| UsageError(format!("--port {}: {error}", self.port)))?;
        let front = Front::new(listener.port()?, Box::new(bearer), tunnel.client::<Body>());
        let (front, link) = front.ok_or_else(|| anyhow::anyhow!("there are no random numbers"))?;
        let status = front.ask(ASKED).await.map_err(|cause| anyhow::anyhow!("{cause}"))?;
        self.may_read(status)?;
        output::print(&format!(
            "{link}\n\nThe link signs you in once, within {} seconds. The dashboard is there until Ctrl-C.\n",
            LINK_HOLDS.as_secs()
        ))?;
        self.open(&link);
        let serving = axum::serve(listener, front.router());
        tokio::select! {
            ended = serving.into_future() => ended?,
            signal = tokio::signal::ctrl_c() => signal?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn bearer(&self, config: &Config, client: &Client) -> Result<Bearer, NoBearer> {
        match &self.service_account {
            Some(account) => Ok(Bearer::of_account(client.clone(), &self.namespace, account)),
            None => Bearer::of_kubeconfig(config),
        }
    }

    /// Says what to do where there is no token.
    fn no_token(&self, error: &NoBearer) -> UsageError {
        let advice = match (error, &self.service_account) {
            (NoBearer::Account { .. }, _) => "making one takes the right to create serviceaccounts/token",
            (_, Some(_)) => "",
            (_, None) => ANOTHER,
        };
        UsageError(format!("{error}{}{advice}", if advice.is_empty() { "" } else { "; " }))
    }

    /// Says what to do where Gatepost does not take a token, or shows nothing for it.
    fn may_read(&self, status: StatusCode) -> anyhow::Result<()> {
        let whose = self
            .service_account
            .as_ref()
            .map_or("your kubeconfig's token".to_owned(), |name| format!("the token of ServiceAccount {name}"));
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED => Err(UsageError(format!(
                "Gatepost does not take {whose}, since the API server does not vouch for it for the audience gatepost; \
                 {ANOTHER}; or have whoever runs Gatepost name the token's own audience in auth.audiences"
            ))
            .into()),
            StatusCode::FORBIDDEN => Err(UsageError(format!(
                "Gatepost takes {whose}, but no role lets it read: that takes the verb get on findings in the API group \
                 gatepost.dev, by a ClusterRole for everything or a Role for single namespaces"
            ))
            .into()),
            status => Err(anyhow::anyhow!("Gatepost answers {status}")),
        }
    }

    /// Opens an address in the browser of this machine; where there is none, the address has been printed.
    fn open(&self, address: &str) {
        if self.no_browser {
            return;
        }
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let quiet = || Stdio::null();
        let started = Command::new(opener).arg(address).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
        if started.is_err() {
            output::tell("No browser could be opened: follow the link by hand.");
        }
    }
}

/// What there is instead of the kubeconfig's token.
const ANOTHER: &str = "name a ServiceAccount that may read findings, and for which you may create tokens: \
                       --service-account NAMESPACE/NAME";
