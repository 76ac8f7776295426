//! Asking the cluster's roles whether somebody may, by SubjectAccessReview.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::admission::{Ground, Refusal};
use crate::policy::authority::{GROUP, RESOURCE};
use crate::policy::{Requester, Verb};

/// Asks the API server; needs `create` on `subjectaccessreviews.authorization.k8s.io`.
pub struct Access(Api<SubjectAccessReview>);

impl Access {
    /// Builds it; nothing is asked yet.
    pub fn new(client: Client) -> Self {
        Self(Api::all(client))
    }

    /// Returns whether a requester has all of some verbs on the modes of a namespace; without a name, of all. No answer
    /// within the time is a refusal that says so.
    pub async fn may(
        &self,
        requester: &Requester,
        verbs: &[Verb],
        namespace: &str,
        within: Duration,
    ) -> Result<Ground, Refusal> {
        let all = async {
            for verb in verbs {
                self.ask(requester, *verb, namespace).await?;
            }
            Ok(Ground::Roles)
        };
        let late = || Refusal::NoAnswer("the API server took too long".into());
        tokio::time::timeout(within, all).await.unwrap_or_else(|_| Err(late()))
    }

    async fn ask(&self, requester: &Requester, verb: Verb, namespace: &str) -> Result<(), Refusal> {
        match review(&self.0, requester, attributes(verb, namespace)).await {
            Ok(status) if status.allowed => Ok(()),
            Ok(status) => match status.evaluation_error.filter(|_| status.denied != Some(true)) {
                Some(error) => {
                    tracing::warn!(verb = verb.as_str(), namespace, %error, "access review had no certain answer");
                    Err(Refusal::NoRole(verb))
                }
                None => Err(Refusal::NoRole(verb)),
            },
            Err(error) => {
                tracing::warn!(verb = verb.as_str(), namespace, %error, "access review failed");
                Err(Refusal::NoAnswer(error.to_string()))
            }
        }
    }
}

fn attributes(verb: Verb, namespace: &str) -> ResourceAttributes {
    let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    ResourceAttributes {
        verb: Some(verb.as_str().to_owned()),
        group: Some(GROUP.to_owned()),
        resource: Some(RESOURCE.to_owned()),
        name: namespace.clone(),
        namespace,
        ..ResourceAttributes::default()
    }
}

/// Asks the API server whether somebody may do something; an answer without a status allows nothing.
pub(super) async fn review(
    reviews: &Api<SubjectAccessReview>,
    requester: &Requester,
    attributes: ResourceAttributes,
) -> kube::Result<SubjectAccessReviewStatus> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let spec = SubjectAccessReviewSpec {
        user: some(&requester.user),
        uid: some(&requester.uid),
        groups: Some(requester.groups.clone()),
        extra: Some(requester.extra.clone()).filter(|extra| !extra.is_empty()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let question = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = reviews.create(&PostParams::default(), &question).await?;
    Ok(answer.status.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use axum::routing::post;
    use axum::{Json, Router};
    use serde_json::{Value, json};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// An API server that allows some verbs, and keeps what it was asked.
    fn asking(allowed: &'static [&'static str]) -> (Access, Arc<Mutex<Vec<Value>>>) {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = asked.clone();
        let answer = async move |Json(mut review): Json<Value>| {
            kept.lock().unwrap().push(review["spec"].clone());
            let verb = review["spec"]["resourceAttributes"]["verb"].as_str().unwrap_or_default();
            review["status"] = json!({"allowed": allowed.contains(&verb)});
            Json(review)
        };
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        (Access::new(Client::new(Router::new().route(path, post(answer)), "default")), asked)
    }

    fn requester() -> Requester {
        Requester {
            user: "jane".into(),
            uid: "7".into(),
            groups: vec!["shop".into()],
            extra: BTreeMap::from([("scopes".into(), vec!["a".into()])]),
        }
    }

    #[tokio::test]
    async fn asks_about_the_requester_and_the_namespace() {
        let (access, asked) = asking(&["weaken"]);
        assert_eq!(access.may(&requester(), &[Verb::Weaken], "shop", PATIENCE).await, Ok(Ground::Roles));
        let expected = json!({
            "user": "jane", "uid": "7", "groups": ["shop"], "extra": {"scopes": ["a"]},
            "resourceAttributes":
                {"verb": "weaken", "group": "gatepost.dev", "resource": "modes", "namespace": "shop", "name": "shop"},
        });
        assert_eq!(*asked.lock().unwrap(), [expected]);
        access.may(&Requester::default(), &[Verb::Weaken], "", PATIENCE).await.unwrap();
        let spec = asked.lock().unwrap()[1].clone();
        assert_eq!(spec["resourceAttributes"].get("namespace"), None, "no name asks about all namespaces");
    }

    #[tokio::test]
    async fn every_verb_is_needed() {
        let both = [Verb::Weaken, Verb::BreakGlass];
        let (access, _) = asking(&["weaken"]);
        assert_eq!(access.may(&requester(), &both, "shop", PATIENCE).await, Err(Refusal::NoRole(Verb::BreakGlass)));
        let (access, _) = asking(&["weaken", "breakglass"]);
        assert_eq!(access.may(&requester(), &both, "shop", PATIENCE).await, Ok(Ground::Roles));
    }

    #[tokio::test]
    async fn no_answer_is_a_no_that_says_so() {
        let refuses = |answer: Result<Ground, Refusal>, words: &str| match answer {
            Err(Refusal::NoAnswer(cause)) => assert!(cause.contains(words), "{cause}"),
            other => panic!("{other:?}"),
        };
        let gone = Access::new(Client::new(Router::new(), "default"));
        refuses(gone.may(&requester(), &[Verb::Weaken], "shop", PATIENCE).await, "");
        let stuck = Router::new().fallback(std::future::pending::<()>);
        let stuck = Access::new(Client::new(stuck, "default"));
        refuses(stuck.may(&requester(), &[Verb::Weaken], "shop", Duration::from_millis(5)).await, "took too long");
        refuses(stuck.may(&requester(), &[Verb::Weaken], "shop", Duration::ZERO).await, "took too long");
        let empty = Router::new().fallback(async || {
            Json(json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}}))
        });
        let empty = Access::new(Client::new(empty, "default"));
        let answer = empty.may(&requester(), &[Verb::Weaken], "shop", PATIENCE).await;
        assert_eq!(answer, Err(Refusal::NoRole(Verb::Weaken)), "an answer without a status allows nothing");
    }
}
