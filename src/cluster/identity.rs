//! Who shows a Kubernetes bearer token, by TokenReview, and what the cluster's roles let them, by SubjectAccessReview.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use kube::api::PostParams;
use kube::{Api, Client};

use super::access;
use crate::policy::Requester;
use crate::policy::authority::GROUP;

/// The audience that a token must be made for, so that one meant for another server is worth nothing here.
pub const AUDIENCE: &str = "gatepost";

/// Asks the API server; needs `create` on `tokenreviews.authentication.k8s.io` and
/// `subjectaccessreviews.authorization.k8s.io`.
pub struct Identities {
    tokens: Api<TokenReview>,
    access: Api<SubjectAccessReview>,
}

impl Identities {
    /// Builds it; nothing is asked yet.
    pub fn new(client: Client) -> Self {
        Self { tokens: Api::all(client.clone()), access: Api::all(client) }
    }

    /// Returns who shows a token; none when the API server does not know it, or it is for another audience than ours and
    /// those that are taken, too.
    pub async fn of_token(&self, token: &str, too: &[String]) -> kube::Result<Option<Requester>> {
        let audiences: Vec<String> = std::iter::once(AUDIENCE.to_owned()).chain(too.iter().cloned()).collect();
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(audiences.clone()) };
        let question = TokenReview { spec, ..TokenReview::default() };
        let answer = self.tokens.create(&PostParams::default(), &question).await?;
        let status = answer.status.unwrap_or_default();
        // An API server whose authenticators know no audiences answers without them: the token is then for itself.
        let is_meant = status.audiences.is_some_and(|meant| meant.iter().any(|audience| audiences.contains(audience)));
        let is_theirs = status.authenticated == Some(true) && is_meant;
        Ok(status.user.filter(|_| is_theirs).map(requester))
    }

    /// Returns whether they may do something with one of our resources; without a namespace, in all of them.
    pub async fn may(
        &self,
        requester: &Requester,
        verb: &str,
        resource: &str,
        namespace: Option<&str>,
    ) -> kube::Result<bool> {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        access::review(&self.access, requester, attributes).await.map(|status| status.allowed)
    }
}

fn requester(user: UserInfo) -> Requester {
    Requester {
        user: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}
