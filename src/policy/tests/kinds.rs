//! How rules name kinds.

use super::*;

fn gvk(text: &str) -> GroupVersionKind {
    let (api_version, kind) = text.rsplit_once('/').expect("apiVersion/Kind");
    GroupVersionKind::of(api_version, kind)
}

#[test]
fn selectors_match_the_kinds_that_they_name() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("*", &["v1/Pod", "example.com/v1/Widget"], &[]),
        (
            "workloads",
            &["v1/Pod", "apps/v1/Deployment", "batch/v1/CronJob", "v1/ReplicationController"],
            &["v1/Service", "example.com/v1/Pod", "apps/v1/ControllerRevision"],
        ),
        ("controllers", &["apps/v1/ReplicaSet", "batch/v1/Job"], &["v1/Pod", "example.com/v1/Job"]),
        ("rbac", &["rbac.authorization.k8s.io/v1/ClusterRole"], &["v1/ServiceAccount"]),
        ("core/Pod", &["v1/Pod"], &["example.com/v1/Pod", "v1/Service"]),
        ("core/*", &["v1/Pod", "v1/Secret"], &["apps/v1/Deployment"]),
        ("apps/*", &["apps/v1/Deployment", "apps/v1beta1/Deployment"], &["v1/Pod", "extensions/v1beta1/Deployment"]),
        ("*/Job", &["batch/v1/Job", "example.com/v1/Job"], &["batch/v1/CronJob"]),
        ("*/*", &["v1/Pod", "example.com/v1/Widget"], &[]),
        (
            "rbac.authorization.k8s.io/Role",
            &["rbac.authorization.k8s.io/v1/Role"],
            &["rbac.authorization.k8s.io/v1/RoleBinding"],
        ),
    ];
    for (text, matching, others) in table {
        let selector: KindSelector = text.parse().unwrap();
        for kind in *matching {
            assert!(selector.matches(&gvk(kind), false), "{text} {kind}");
        }
        for kind in *others {
            assert!(!selector.matches(&gvk(kind), false), "{text} {kind}");
        }
    }
    let workloads: KindSelector = "workloads".parse().unwrap();
    assert!(workloads.matches(&gvk("example.com/v1/Widget"), true), "whatever holds a pod template");
    assert!(!"controllers".parse::<KindSelector>().unwrap().matches(&gvk("example.com/v1/Widget"), true));
}

#[test]
fn what_names_no_kind_is_refused() {
    for text in ["", "Pod", "pod", "workload", "v1/", "/Pod", "apps/v1/Deployment", "/"] {
        let error = text.parse::<KindSelector>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("\"{text}\" is neither a group of kinds")), "{error}");
    }
}

#[test]
fn a_kind_is_written_as_it_is_read() {
    for (api_version, group, version) in [("v1", "", "v1"), ("apps/v1", "apps", "v1"), ("", "", "")] {
        let gvk = GroupVersionKind::of(api_version, "Kind");
        assert_eq!((gvk.group.as_str(), gvk.version.as_str()), (group, version));
        assert_eq!(gvk.api_version(), api_version);
    }
}
