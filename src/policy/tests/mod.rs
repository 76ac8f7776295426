//! Rules' METADATA, kinds, and modes: each sentence of what a namespace's labels mean.

mod authority;
mod break_glass;
mod exemption;
mod kinds;
mod metadata_block;
mod modes;
mod selectors;
mod weakening;

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::metadata::{self, Custom, Metadata};
use super::modes::{ENFORCE_FROM, ENFORCE_SCOPE, ENFORCE_SEVERITY, Grants, PolicyNames, Slot, SlotSet, parse_from};
use super::notices::Notice;
use super::{
    AtMost, Dialect, Effort, Grant, GrantOrigin, GroupVersionKind, KindSelector, Mode, Modes, NamespaceMeta, Operation,
    Origin, Scope, Selector, Severity,
};

const POLICIES: [&str; 4] = ["baseline", "recommended", "strict", "argo-cd"];

type Texts<'a> = &'a [(&'a str, &'a str)];

struct Known;

impl PolicyNames for Known {
    fn has_policy(&self, name: &str) -> bool {
        POLICIES.contains(&name)
    }

    fn policy_names(&self) -> Vec<&str> {
        POLICIES.to_vec()
    }
}

fn texts(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(key, value)| (format!("gatepost.dev/{key}"), (*value).to_owned())).collect()
}

fn namespace(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> NamespaceMeta {
    NamespaceMeta { name: "shop".into(), labels: texts(labels), annotations: texts(annotations) }
}

fn labels(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn selector(names: &[&str], with: &[(&str, &str)]) -> Selector {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Selector::new(&names, labels(with)).expect("name patterns")
}

#[allow(clippy::unnecessary_wraps, reason = "the slots of a SlotSet are optional")]
fn policy(name: &str) -> Option<Slot> {
    Some(Slot::Policy(name.into()))
}

fn enforcing(name: &str) -> SlotSet {
    SlotSet { enforce: policy(name), ..SlotSet::default() }
}

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Returns each grant as `mode=policy` with where it comes from.
fn said(grants: &Grants) -> Vec<(String, GrantOrigin)> {
    let one = |grant: &Grant| (format!("{}={}", grant.mode.as_str(), grant.policy), grant.origin);
    grants.grants.iter().map(one).collect()
}

fn enforce(grants: &Grants) -> &Grant {
    grants.grants.iter().find(|grant| grant.mode == Mode::Enforce).expect("an enforce grant")
}
