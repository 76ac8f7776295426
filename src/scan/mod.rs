//! The scan endpoint and the HTTP API.
//!
//! Each area is a file with its paths ([`endpoint::Endpoint`]) and handlers, added in [`routes`]. Who may ask and what a
//! query may hold is checked by the table before a handler runs ([`guard`]); handlers translate between HTTP and the
//! store or the engine. Nothing here decides what is wrong with an object.

pub mod acceptance;
pub mod access;
pub mod applications;
pub mod audits;
pub mod bearer;
mod cached;
mod catalogue;
pub mod client;
pub mod decisions;
pub mod documents;
pub mod endpoint;
pub mod evaluate;
pub mod exemptions;
mod export;
mod facets;
pub mod feed;
pub mod findings;
pub mod fixes;
pub mod guard;
mod lines;
pub(crate) mod lists;
pub mod messages;
pub mod mode_changes;
pub mod names;
mod namespaces;
pub mod notifications;
mod openapi;
mod plans;
pub mod preview;
pub mod problem;
pub mod random;
mod rate;
pub mod reached;
pub mod record;
mod reports;
pub mod requests;
pub mod standing;
mod stream;
pub mod suggestions;
pub mod tokens;
pub mod traffic;
pub mod trends;
pub mod way_in;

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tower::Layer as _;

use self::access::{Caller, Scope};
use self::bearer::Bearers;
use self::endpoint::Routes;
use self::feed::Feed;
use self::guard::Door;
use self::problem::Problem;
use self::rate::Rates;
use self::reached::Reached;
use crate::audit;
use crate::audit::ahead::Reader;
use crate::auth::{Person, SignIn, is_session};
use crate::cluster::applications::Applications;
use crate::cluster::identity::Identities;
use crate::cluster::modes::ModeWriter;
use crate::cluster::registration::live::Registered;
use crate::config::auth::{Oidc, Sight};
use crate::input::document::STACK_BYTES;
use crate::notify;
use crate::store::Store;
use crate::webhook::handlers::App;
use crate::webhook::health::Readiness;
use crate::webhook::workers::Workers;

/// Reports that are taken in at a time; the store writes one after the other.
const REPORTS: usize = 16;
/// Streams that may be open at a time.
const STREAMS: usize = 1024;

/// Previews that may read the cluster at a time.
const PREVIEWS: usize = 2;

/// What clients may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body and document of a scan.
    pub max_scan_bytes: usize,
    /// Requests of each caller in a second, twice as many in a burst; any number if that is 0.
    pub per_second: u32,
}

/// What every request to the API shares.
pub struct ApiState {
    /// What judges, and where namespaces are known from.
    pub app: Arc<App>,
    /// Who may come in.
    pub door: Door,
    /// The threads that judge documents: not the webhook's.
    pub pool: Workers,
    /// Scans that may be under way.
    pub scans: Arc<Semaphore>,
    /// Reports that may be taken in at a time.
    pub reports: Arc<Semaphore>,
    /// Streams that may be open.
    pub streams: Arc<Semaphore>,
    /// Largest body and document of a scan.
    pub max_scan_bytes: usize,
    /// How much each caller asks.
    pub rates: Rates,
    /// Who tells whose a token is.
    pub bearers: Bearers,
    /// Who has signed in with a provider, and who is about to.
    pub sign_in: SignIn,
    /// What is kept over time, where this process keeps anything.
    pub kept: Option<Kept>,
    /// What reads the cluster for previews, where this process may.
    pub reader: Option<Reader>,
    /// What writes modes as others, where there is a cluster.
    pub writer: Option<ModeWriter>,
    /// Previews that may read it at a time.
    pub previews: Arc<Semaphore>,
    /// How people reach the pages.
    pub reached: Reached,
    /// What is wrong with parts of this process.
    pub readiness: Arc<Readiness>,
    /// What tells whether the API server asks, where there is a cluster.
    pub registered: Option<Registered>,
    /// The folder of manifests that stands in for a cluster, where one does.
    pub manifests: Option<PathBuf>,
}

/// What is kept over time, and what finds it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where it is.
    pub store: Arc<dyn Store>,
    /// Tells whoever watches what is taken in.
    pub feed: Arc<Feed>,
    /// Whether this process answers the API server too, so that nobody does while it is away.
    pub answers_requests: bool,
    /// Who audits, where anybody does.
    pub auditor: Option<audit::Desk>,
    /// Who tells people what happens.
    pub notifier: notify::Desk,
    /// Argo CD's Applications, where there is a cluster.
    pub applications: Option<Arc<Applications>>,
    /// The cluster's name, empty where it has none.
    pub cluster: String,
}

impl ApiState {
    /// Starts the threads.
    pub fn new(
        app: Arc<App>,
        door: Door,
        threads: NonZeroUsize,
        Limits { max_scan_bytes, per_second }: Limits,
        kept: Option<Kept>,
        cluster: Option<Identities>,
    ) -> io::Result<Self> {
        let most = threads.get().saturating_mul(2);
        let pool = Workers::named("scan", STACK_BYTES, threads, most)?;
        let [scans, reports, streams] = [most, REPORTS, STREAMS].map(|most| Arc::new(Semaphore::new(most)));
        let bearers = Bearers::new(kept.as_ref().map(|kept| kept.store.clone()), cluster);
        let rates = Rates::new(per_second);
        let (reader, writer, previews) = (None, None, Arc::new(Semaphore::new(PREVIEWS)));
        let (reached, manifests) = (Reached::default(), None);
        Ok(Self {
            app,
            door,
            pool,
            scans,
            reports,
            streams,
            max_scan_bytes,
            rates,
            bearers,
            sign_in: SignIn::default(),
            kept,
            reader,
            writer,
            previews,
            reached,
            readiness: Arc::default(),
            registered: None,
            manifests,
        })
    }

    /// Returns what is kept; a problem where nothing is.
    pub fn kept(&self) -> Result<&Kept, Problem> {
        self.kept.as_ref().ok_or_else(Problem::nothing_kept)
    }

    /// Returns who shows a token, or the name of a session.
    pub async fn bearer(&self, token: &str) -> Result<Caller, Problem> {
        if is_session(token) {
            return self.signed_in(token);
        }
        let namespaces = || {
            let known = self.app.known_namespaces(&self.app.in_force.load());
            known.iter().map(|namespace| namespace.name.clone()).collect()
        };
        let auth = self.app.in_force.load().config.auth.clone();
        self.bearers.caller(token, &auth.audiences, namespaces).await
    }

    /// Returns whose session it is, and what the configuration in force lets them see.
    fn signed_in(&self, session: &str) -> Result<Caller, Problem> {
        let over = || Problem::unauthorized("your session is over");
        let person = self.sign_in.sessions.person(session, Timestamp::now()).ok_or_else(over)?;
        self.person(&person)
    }

    /// Returns somebody who has signed in as whoever asks: they read, and no more.
    pub fn person(&self, person: &Person) -> Result<Caller, Problem> {
        let auth = self.app.in_force.load().config.auth.clone();
        let is_vouched_for = |oidc: &Oidc| oidc.issuer == person.issuer && oidc.client_id == person.client;
        if !auth.oidc.as_ref().is_some_and(is_vouched_for) {
            return Err(Problem::unauthorized("your session is over: people sign in another way now"));
        }
        let globs = match auth.sight(&person.groups) {
            Sight::Everything => Vec::new(),
            Sight::Some(globs) => globs,
            Sight::Nothing => return Err(Problem::unauthorized(person.sees_nothing())),
        };
        Ok(Caller::new(person.name.clone(), vec![Scope::Read], &globs))
    }
}

/// Returns everything that is answered on `--listen-http`: the API, and the pages that are given, which check by themselves
/// where a request comes from.
pub fn routes(state: Arc<ApiState>, pages: Router) -> Router {
    let routes = Routes::new(state.clone());
    let routes = evaluate::routes(routes);
    let routes = findings::routes(routes);
    let routes = fixes::routes(routes);
    let routes = facets::routes(routes);
    let routes = export::routes(routes);
    let routes = plans::routes(routes);
    let routes = acceptance::routes(routes);
    let routes = applications::routes(routes);
    let routes = traffic::routes(trends::routes(audits::routes(routes)));
    let routes = namespaces::routes(routes);
    let routes = catalogue::routes(routes);
    let routes = suggestions::routes(routes);
    let routes = preview::routes(routes);
    let routes = mode_changes::routes(routes);
    let routes = messages::routes(routes);
    let routes = decisions::routes(routes);
    let routes = exemptions::routes(routes);
    let routes = reports::routes(routes);
    let routes = feed::routes(routes);
    let routes = notifications::routes(routes);
    let routes = openapi::routes(routes);
    let api = routes.finish().layer(from_fn_with_state(state.clone(), guard::check));
    let answering = api.merge(pages).layer(from_fn(guard::receive));
    if state.reached.base().is_empty() {
        return answering;
    }
    // Around the whole: within it a path has found its handler before anything is translated.
    Router::new().fallback_service(from_fn_with_state(state, reached::translate).layer(answering))
}
