//! `/api/v1/notifications`: how each target of notifications fares, and a message to try one with.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value as Text, json};

use super::ApiState;
use super::access::Scope;
use super::endpoint::{Endpoint, Method, Query, Routes};
use super::lists::{self, PAGES};
use super::problem::Problem;
use crate::notify::Status;

const NOTIFICATIONS: Endpoint = Endpoint {
    path: "/api/v1/notifications",
    scope: Some(Scope::Admin),
    about: "The targets of notifications, with the last delivery and the last error of each",
    parameters: &[PAGES],
    answer: "TargetList",
    ..Endpoint::GET
};

const TEST: Endpoint = Endpoint {
    method: Method::Post,
    path: "/api/v1/notifications/{target}/test",
    scope: Some(Scope::Admin),
    about: "Sends a message to a target, once; what it says to that stands in the answer",
    statuses: &[200, 404, 502],
    answer: "Tested",
    ..Endpoint::GET
};

/// Adds the paths.
pub fn routes(routes: Routes) -> Routes {
    routes.add(&NOTIFICATIONS, notifications).add(&TEST, test)
}

async fn notifications(State(state): State<Arc<ApiState>>, query: Query) -> Result<Json<Text>, Problem> {
    let targets = state.kept()?.notifier.status();
    let keyed = targets.into_iter().map(|status: Status| (status.name.clone(), status));
    Ok(lists::answer(lists::part(&query, keyed)?))
}

/// Sends a message to a target, once.
pub async fn try_target(state: &ApiState, target: &str) -> Result<(), Problem> {
    let sent = state.kept()?.notifier.test(target).await;
    let sent = sent.ok_or_else(|| Problem::not_found(format!("there is no target \"{target}\"")))?;
    sent.map_err(|error| Problem::not_delivered(error.to_string()))
}

async fn test(State(state): State<Arc<ApiState>>, Path(target): Path<String>) -> Result<Json<Text>, Problem> {
    try_target(&state, &target).await?;
    Ok(Json(json!({"target": target, "delivered": true})))
}
