//! Who may weaken, and who never may.

use crate::policy::authority::NamePattern;
use crate::policy::{Authority, Requester, Standing};

fn requester(user: &str, groups: &[&str]) -> Requester {
    let groups = groups.iter().map(|&group| group.to_owned()).collect();
    Requester { user: user.into(), groups, ..Requester::default() }
}

fn authority(users: &[&str], groups: &[&str], barred: &[&str]) -> Authority {
    Authority {
        users: users.iter().map(|&user| user.to_owned()).collect(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        may_not_weaken: barred.iter().map(|text| NamePattern::new(text).expect("a pattern")).collect(),
    }
}

#[test]
fn a_bar_outweighs_everything_else_that_is_said() {
    let argo = "system:serviceaccount:argocd:argocd-application-controller";
    let named = authority(
        &["ann", argo, "root[1]"],
        &["platform"],
        &["system:serviceaccount:argocd:*", "system:serviceaccounts:flux-system", "root[1]"],
    );
    for (user, groups, expected) in [
        ("ann", &[] as &[&str], Standing::Admin),
        ("Ann", &[], Standing::Unnamed),
        ("bob", &["platform"], Standing::Admin),
        ("bob", &["platform-readers", "system:masters"], Standing::Unnamed),
        (argo, &["system:masters", "platform"], Standing::Barred),
        ("system:serviceaccount:argocd-2:x", &[], Standing::Unnamed),
        ("ann", &["system:serviceaccounts", "system:serviceaccounts:flux-system"], Standing::Barred),
        ("root[1]", &[], Standing::Barred),
        ("", &[], Standing::Unnamed),
    ] {
        assert_eq!(named.standing(&requester(user, groups)), expected, "{user} {groups:?}");
    }
    assert_eq!(Authority::default().standing(&requester("ann", &["system:masters"])), Standing::Unnamed);
}

#[test]
fn a_pattern_that_names_nobody_is_none() {
    assert_eq!(NamePattern::new("").unwrap_err(), "\"\" names nobody");
    assert!(NamePattern::new("system:[a").unwrap_err().starts_with("\"system:[a\" is not a name pattern: "));
}
