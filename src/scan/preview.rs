//! `/api/v1/preview`: what enforcing a policy in some namespaces would deny, of what stands and of the last requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;

use super::ApiState;
use super::access::Caller;
use super::applications;
use super::endpoint::{Endpoint, Parameter, Query, Routes, Values};
use super::problem::{Flaw, Problem};
use super::requests::{RequestsTold, requests};
use super::suggestions::{Chosen, SELECTOR};
use crate::admission::{Controllers, Reviewer, Told, What};
use crate::audit::ahead::{Ahead, Judging, ObjectAhead, Proposal};
use crate::audit::delivered::{Applications, delivered_by};
use crate::audit::patient;
use crate::engine::{Bundle, ResolvedPolicy};
use crate::policy::enforcement::{EnforceKeys, Enforcement};
use crate::policy::modes::{OFF, parse_from};
use crate::policy::{Mode, NamespaceMeta, Scope, Severity};
use crate::report::finding::Application;
use crate::report::judge::policy;
use crate::webhook::in_force::InForce;

/// Objects that are told one by one.
const TOLD: usize = 500;
/// Namespaces of one preview.
const NAMESPACES: usize = 500;

/// The policy that is looked at when nobody says.
const DEFAULT: &str = "baseline";

/// Severities from which on something is denied.
pub const FROM_SEVERITY: [&str; 5] = ["any", "low", "medium", "high", "critical"];

/// What would be enforced.
pub const ENFORCEMENT: &[Parameter] = &[
    Parameter::new("enforce", Values::Text, "The policy that would be enforced, or off; baseline if nobody says"),
    Parameter::new("severity", Values::OneOf(&FROM_SEVERITY), "Denies only from this severity on"),
    Parameter::new(
        "scope",
        Values::OneOf(&["new", "all"]),
        "Whether an UPDATE is denied for what was there; new if nobody says",
    ),
    Parameter::new("from", Values::Text, "The date (2026-12-01) or RFC 3339 instant from which it denies"),
];

const PREVIEW: Endpoint = Endpoint {
    path: "/api/v1/preview",
    about: "What enforcing a policy would deny: objects at their next change, and of the last requests; nothing is changed",
    parameters: &[ENFORCEMENT, SELECTOR],
    statuses: &[200, 404, 409, 429],
    answer: "Preview",
    ..Endpoint::GET
};

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&PREVIEW, answer)
}

/// Reads what would be enforced; nothing if no policy is named.
pub fn enforcement(bundle: &Bundle, query: &Query) -> Result<Option<Enforcement>, Problem> {
    let said = |name: &str| query.text(name).map(str::trim).filter(|text| !text.is_empty());
    let Some(name) = said("enforce") else { return Ok(None) };
    let flaw = |of: &str, detail: String| Problem::query(vec![Flaw::of_parameter(of, detail)]);
    if name != OFF {
        policy(bundle, name).map_err(|unknown| flaw("enforce", unknown.0))?;
    }
    let severity = said("severity").filter(|word| *word != "any").map(str::parse::<Severity>);
    let enforcement = Enforcement {
        policy: Some(name.to_owned()),
        severity: severity.transpose().map_err(|error| flaw("severity", error.to_string()))?,
        scope: if said("scope") == Some("all") { Scope::All } else { Scope::New },
        from: said("from").map(str::to_owned),
    };
    enforcement.check().map_err(|cause| flaw("from", format!("from: {cause}")))?;
    Ok(Some(enforcement))
}

/// What would be denied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The policy.
    pub enforce: String,
    /// The instant that is looked at: when it begins to deny.
    pub at: Timestamp,
    /// What becomes of each namespace.
    pub changes: Vec<ChangeTold>,
    /// What stands; none where no cluster can be read.
    pub objects: Option<ObjectsTold>,
    /// The last requests; none where none are kept.
    pub requests: Option<RequestsTold>,
    /// Why what is kept does not tell of requests for now.
    #[serde(skip)]
    pub away: Option<Problem>,
}

/// What becomes of a namespace.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeTold {
    /// Its name.
    pub namespace: String,
    /// What its labels say now.
    pub now: String,
    /// What they would say.
    pub then: String,
    /// Whether that is the same.
    pub is_so: bool,
    /// What delivers the Namespace, and would undo a change that is not committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<Application>,
    /// The command that writes it.
    pub command: String,
    /// The manifest to commit.
    pub manifest: String,
}

impl ChangeTold {
    /// Tells what some keys make of a namespace.
    pub fn of(namespace: &NamespaceMeta, keys: &EnforceKeys, applications: &Applications) -> Self {
        let now = EnforceKeys::of(namespace);
        Self {
            namespace: namespace.name.clone(),
            is_so: now == *keys,
            now: now.in_words(),
            then: keys.in_words(),
            managed_by: delivered_by(&namespace.labels, &namespace.annotations, applications),
            command: keys.command(namespace),
            manifest: keys.manifest(namespace),
        }
    }
}

/// How many there are of each value, most first.
pub type Counted = Vec<(String, u64)>;

/// What would be denied of what stands.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectsTold {
    /// Objects that were looked at.
    pub looked_at: u64,
    /// Of how many the next change would be denied, whatever it is.
    pub on_update: u64,
    /// How many would be denied if they were made anew.
    pub on_create: u64,
    /// How many of these are denied already, as things stand.
    pub denied_already: u64,
    /// Objects by rule.
    pub rules: Counted,
    /// Objects by owner.
    pub owners: Counted,
    /// Objects by what delivers them.
    pub applications: Counted,
    /// The first of them.
    pub items: Vec<ObjectTold>,
    /// Kinds that could not be read, so that numbers are at least what is told.
    pub unread: BTreeMap<String, String>,
}

/// An object that would be denied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectTold {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its top owner.
    pub owner: String,
    /// What delivers it.
    pub application: Option<Application>,
    /// Whether its next change would be denied, whatever it is.
    pub on_update: bool,
    /// Whether it would be denied if it were made anew.
    pub on_create: bool,
    /// Whether it is denied already.
    pub denied_already: bool,
    /// What it would be denied for.
    pub denials: Vec<Denial>,
}

/// What something would be denied for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Denial {
    /// The rule.
    pub rule: String,
    /// The policy.
    pub policy: String,
    /// Severity there.
    pub severity: Severity,
    /// The place by names.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl From<&Told> for Denial {
    fn from(told: &Told) -> Self {
        let message = match &told.what {
            What::Violation(violation) => violation.message.clone(),
            What::Error(error) => format!("could not be evaluated: {error}"),
        };
        let (rule, policy) = (told.rule.to_string(), told.policy.to_string());
        Self { rule, policy, severity: told.severity, place: told.place.clone(), message }
    }
}

/// Judges by what is in force, with the patience that threads need that give way.
struct Deciding(Arc<InForce>);

impl Judging for Deciding {
    fn reviewer(&self) -> Reviewer<'_> {
        Reviewer { limits: patient(self.0.limits), ..self.0.reviewer() }
    }

    fn bundle(&self) -> &Bundle {
        &self.0.bundle
    }

    fn controllers(&self) -> &Controllers {
        &self.0.config.controllers
    }
}

async fn answer(State(state): State<Arc<ApiState>>, caller: Caller, query: Query) -> Result<Json<Preview>, Problem> {
    let in_force = state.app.in_force.load();
    let default = || Enforcement { policy: Some(DEFAULT.to_owned()), ..Enforcement::default() };
    let enforcement = enforcement(&in_force.bundle, &query)?.unwrap_or_else(default);
    let chosen = Chosen::of(&state, &caller, &in_force, &query)?;
    let preview = preview(&state, &in_force, &enforcement, &chosen).await?;
    // A program that is told of no requests would take it that none would have been denied.
    preview.away.clone().map_or(Ok(Json(preview)), Err)
}

/// Looks what an enforcement would deny in the chosen namespaces.
pub async fn preview(
    state: &ApiState,
    in_force: &Arc<InForce>,
    enforcement: &Enforcement,
    chosen: &Chosen,
) -> Result<Preview, Problem> {
    if chosen.namespaces.len() > NAMESPACES {
        let detail = format!("more than {NAMESPACES} namespaces: name some, or a label");
        return Err(Problem::query(vec![Flaw::of_parameter("namespace", detail)]));
    }
    let now = Timestamp::now();
    let from = enforcement.from.as_deref().and_then(|from| parse_from(from).ok());
    let at = from.map_or(now, |from| from.max(now));
    let keys = enforcement.keys();
    let known = applications::known(state).await;
    let changes = chosen.namespaces.iter().map(|namespace| ChangeTold::of(namespace, &keys, &known)).collect();
    let objects = objects(state, in_force, &keys, (chosen, known), at).await?;
    let (requests, away) = match &state.kept {
        Some(kept) => match requests(&*kept.store, in_force, &keys, chosen, at).await {
            Ok(requests) => (Some(requests), None),
            Err(error) => (None, Some(Problem::from(error))),
        },
        None => (None, None),
    };
    let enforce = enforcement.policy.clone().unwrap_or_default();
    Ok(Preview { enforce, at, changes, objects, requests, away })
}

async fn objects(
    state: &ApiState,
    in_force: &Arc<InForce>,
    keys: &EnforceKeys,
    (chosen, known): (&Chosen, Applications),
    at: Timestamp,
) -> Result<Option<ObjectsTold>, Problem> {
    let Some(reader) = &state.reader else { return Ok(None) };
    let permit = state.previews.clone().try_acquire_owned();
    let _permit = permit.map_err(|_| Problem::too_many("another preview reads the cluster: try again in a moment"))?;
    let proposal = |namespace: &Arc<NamespaceMeta>| {
        let proposal = Proposal {
            now: namespace.clone(),
            then: Arc::new(keys.applied(namespace)),
            inventory: state.app.watched_inventory(&namespace.name),
        };
        (namespace.name.clone(), proposal)
    };
    let proposals: BTreeMap<String, Proposal> = chosen.namespaces.iter().map(proposal).collect();
    let policies = enforced(in_force, proposals.values().map(|proposal| &*proposal.then));
    if policies.is_empty() {
        return Ok(Some(ObjectsTold::default()));
    }
    let ahead = reader.look(Arc::new(Deciding(in_force.clone())), &policies, proposals, known, at).await;
    Ok(Some(told(ahead)))
}

/// Returns the policies that namespaces enforce, floors included.
fn enforced<'a>(in_force: &InForce, namespaces: impl Iterator<Item = &'a NamespaceMeta>) -> Vec<Arc<ResolvedPolicy>> {
    let grants = namespaces.flat_map(|namespace| in_force.config.modes.grants(namespace, &*in_force.bundle).grants);
    let enforcing = grants.filter(|grant| grant.mode == Mode::Enforce);
    let names: BTreeSet<Arc<str>> = enforcing.map(|grant| grant.policy).collect();
    names.iter().filter_map(|name| in_force.bundle.policy(name).cloned()).collect()
}

fn told(ahead: Ahead) -> ObjectsTold {
    let mut told = ObjectsTold { looked_at: ahead.looked_at, unread: ahead.unread, ..ObjectsTold::default() };
    let (mut rules, mut owners, mut applications) = (Counts::default(), Counts::default(), Counts::default());
    for object in ahead.objects {
        let object = object_told(object);
        told.on_update = told.on_update.saturating_add(u64::from(object.on_update));
        told.on_create = told.on_create.saturating_add(u64::from(object.on_create));
        told.denied_already = told.denied_already.saturating_add(u64::from(object.denied_already));
        let broken: BTreeSet<&str> = object.denials.iter().map(|denial| denial.rule.as_str()).collect();
        for rule in broken {
            rules.add(rule);
        }
        owners.add(&format!("{} {}", object.namespace, object.owner));
        if let Some(application) = &object.application {
            applications.add(&application.name);
        }
        if told.items.len() < TOLD {
            told.items.push(object);
        }
    }
    ObjectsTold { rules: rules.sorted(), owners: owners.sorted(), applications: applications.sorted(), ..told }
}

fn object_told(ahead: ObjectAhead) -> ObjectTold {
    let ObjectAhead { object, owner, application, foreseen, is_denied_now } = ahead;
    // Whatever an UPDATE is denied for, making it anew is denied for, too, but for rules about updates.
    let mut denials: Vec<Denial> = foreseen.on_create.iter().map(Denial::from).collect();
    let is_told = |denial: &Denial, told: &Told| denial.rule == told.rule.as_str() && denial.place == told.place;
    let more: Vec<Denial> = foreseen
        .on_update
        .iter()
        .filter(|told| !denials.iter().any(|denial| is_told(denial, told)))
        .map(Denial::from)
        .collect();
    denials.extend(more);
    ObjectTold {
        kind: object.kind,
        namespace: object.namespace,
        name: object.name,
        owner,
        application,
        on_update: !foreseen.on_update.is_empty(),
        on_create: !foreseen.on_create.is_empty(),
        denied_already: is_denied_now,
        denials,
    }
}

/// Counts values.
#[derive(Debug, Default)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, value: &str) {
        let count = self.0.entry(value.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns what was counted, most first.
    pub fn sorted(self) -> Counted {
        let mut counted: Counted = self.0.into_iter().collect();
        counted.sort_by(|(x, a), (y, b)| b.cmp(a).then_with(|| x.cmp(y)));
        counted
    }
}
