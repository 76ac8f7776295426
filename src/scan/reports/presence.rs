//! `POST /api/v1/presence`: a webhook says that it answers requests, so that it is known when none did.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{check, check_type, parse};
use crate::scan::ApiState;
use crate::scan::access::{Caller, Scope};
use crate::scan::endpoint::{Endpoint, Method, Routes};
use crate::scan::evaluate::read;
use crate::scan::problem::Problem;

/// Largest body.
const BYTES: usize = 16 << 10;

const PRESENCE: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/presence",
    scope: Some(Scope::Report),
    about: "Takes note that a webhook answers requests, and since when: it says so every 15 seconds",
    takes: &["application/json"],
    statuses: &[200, 400, 409, 413, 415, 422],
    body: "Presence",
    answer: "Heard",
    ..Endpoint::GET
};

/// Who answers requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Present {
    source: String,
    #[serde(default)]
    cluster: String,
    since: Timestamp,
}

/// Adds the path.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&PRESENCE, present)
}

async fn present(State(state): State<Arc<ApiState>>, caller: Caller, request: Request) -> Result<Json<Value>, Problem> {
    let kept = state.kept()?;
    check_type(&request)?;
    if !caller.sees_all() {
        return Err(Problem::beyond_namespaces("a webhook answers for the whole cluster"));
    }
    let Present { source, cluster, since } = parse(&read(request, BYTES).await?)?;
    let now = Timestamp::now();
    let flaws = check::flaws_of_presence(&source, &cluster, since, now);
    if !flaws.is_empty() {
        return Err(Problem::body(flaws));
    }
    let cluster = if cluster.is_empty() { &kept.cluster } else { &cluster };
    kept.store.note_presence(cluster, &source, since).await?;
    Ok(Json(json!({"heard": now})))
}
