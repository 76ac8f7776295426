//! What is excused is told with what excuses it.

use super::*;
use crate::policy::ExemptionNote;
use crate::policy::exemption::{ExemptionKind, ExemptionName};
use crate::report::finding::CloseReason;

#[tokio::test]
async fn what_is_excused_says_by_what_until_when_and_why() {
    let note = ExemptionNote {
        name: ExemptionName { kind: ExemptionKind::ClusterExemption, namespace: "".into(), name: "old-images".into() },
        reason: SCRIPT.into(),
        owner: "team-a".into(),
        expires: Some("2099-01-02T00:00:00Z".parse().unwrap()),
    };
    let excused = Finding {
        state: State::Closed,
        closed_because: Some(CloseReason::Exempt),
        closed_at: Some(Timestamp::now()),
        exemption: Some(note),
        ..finding("container-image-tag", Action::Record)
    };
    let dashboard = Dashboard::of(std::slice::from_ref(&excused), true).await;
    let page = dashboard.page(&format!("/findings/{}", excused.id)).await;
    for told in ["ClusterExemption old-images", "/exemptions?text=old-images", "team-a", "2099-01-02", "Excused by"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(!page.contains(SCRIPT), "{page}");
    let list = async |state: &str| -> serde_json::Value {
        let (_, _, body) = dashboard.ask(Method::GET, &format!("/api/v1/findings?state={state}"), &[]).await;
        serde_json::from_str(&body).unwrap()
    };
    let found = list("exempt").await["items"][0].clone();
    assert_eq!((&found["state"], &found["closedBecause"]), (&json!("closed"), &json!("exempt")));
    let by = json!({"kind": "ClusterExemption", "name": "old-images", "reason": SCRIPT, "owner": "team-a",
        "expires": "2099-01-02T00:00:00Z"});
    assert_eq!(found["exemption"], by);
    assert_eq!(list("open").await["items"], json!([]));
    // Of what does not stand any more nobody is told, so no mode narrows it.
    for (query, is_shown) in [("state=exempt", true), ("state=exempt&mode=warn", false), ("state=exempt,open", false)] {
        let page = dashboard.page(&format!("/findings?{query}")).await;
        assert_eq!(page.contains(&format!("/findings/{}", excused.id)), is_shown, "{query}");
    }
}
