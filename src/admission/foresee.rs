//! What would become of an object that stands, at its next change: decided as admission decides.

use std::sync::Arc;

use jiff::Timestamp;

use super::decide::{self, Action, Circumstances, Told};
use super::request::{NamespaceState, Reviewer};
use crate::engine::review::Inventory;
use crate::engine::{Budget, Check, Input, Judgement, Limits, Machines, ResolvedPolicy, Review, Value, judge};
use crate::policy::{Grant, GroupVersionKind, Mode, NamespaceMeta, Operation, Origin};

/// An object that stands in the cluster.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its kind.
    pub kind: GroupVersionKind,
    /// It.
    pub object: Value,
    /// The kind of the listed owner of whose template it was made, whose rules are told there.
    pub told_at: Option<GroupVersionKind>,
    /// Objects that rules look up.
    pub inventory: Inventory,
}

/// What would be denied of an object.
#[derive(Debug, Default)]
pub struct Foreseen {
    /// When it is changed and stays as bad as it is: what scope `all` denies, and `new` does not.
    pub on_update: Vec<Told>,
    /// When it is made anew, as by `kubectl replace --force` or in another cluster.
    pub on_create: Vec<Told>,
}

impl Foreseen {
    /// Returns whether nothing would be denied.
    pub fn is_empty(&self) -> bool {
        self.on_update.is_empty() && self.on_create.is_empty()
    }
}

impl Reviewer<'_> {
    /// Foresees what becomes of an object if its namespace were like this at an instant.
    ///
    /// Of an UPDATE it is taken that something else of the object changes, so that the whole is judged.
    pub fn foresee(
        &self,
        standing: &Standing,
        namespace: &Arc<NamespaceMeta>,
        at: Timestamp,
        machines: &mut Machines,
    ) -> Foreseen {
        let review = |operation, old_object| Review {
            operation,
            kind: standing.kind.clone(),
            request_kind: standing.kind.clone(),
            object: standing.object.clone(),
            old_object,
            user_info: Value::Null,
            origin: Origin::Admission,
            namespace: Some(namespace.clone()),
            inventory: standing.inventory.clone(),
            kubernetes_version: self.kubernetes_version,
        };
        let told_at = standing.told_at.as_ref().filter(|_| !self.judge_owned);
        let mut denied = |review: &Review| self.denied(review, namespace, told_at, at, machines);
        let on_create = denied(&review(Operation::Create, Value::Null));
        let on_update = denied(&review(Operation::Update, standing.object.clone()));
        Foreseen { on_update, on_create }
    }

    fn denied(
        &self,
        review: &Review,
        namespace: &Arc<NamespaceMeta>,
        told_at: Option<&GroupVersionKind>,
        at: Timestamp,
        machines: &mut Machines,
    ) -> Vec<Told> {
        let judging = self.grants(&NamespaceState::Known(namespace.clone()), None, at);
        let denying = |grant: &&Grant| grant.mode == Mode::Enforce;
        let policies: Vec<&ResolvedPolicy> = judging
            .grants
            .iter()
            .filter(denying)
            .filter_map(|grant| self.bundle.policy(&grant.policy))
            .map(Arc::as_ref)
            .collect();
        if policies.is_empty() {
            return Vec::new();
        }
        let input = Input::new(review);
        let mut checks = self.bundle.matching(review, input.has_template(), &policies);
        checks.retain(|check| !told_at.is_some_and(|owner| check.looks_at(owner)));
        let judgements = judged(&input, &checks, machines, self.limits);
        let circumstances = Circumstances {
            bundle: self.bundle,
            grants: &judging.grants,
            review,
            exemptions: self.exemptions,
            is_glass_broken: judging.break_glass.is_some(),
            now: at,
        };
        let decided = decide::decide(circumstances, &judgements, |checks| {
            let old = Review { object: review.old_object.clone(), old_object: Value::Null, ..review.clone() };
            judged(&Input::new(&old), checks, machines, self.limits)
        });
        decided.told.into_iter().filter(|told| told.action == Action::Deny).collect()
    }
}

fn judged(input: &Input, checks: &[Arc<Check>], machines: &mut Machines, limits: Limits) -> Vec<Judgement> {
    judge(input, checks, machines, &Budget { limits, remaining: &|| std::time::Duration::MAX })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test is what it is for")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::Controllers;
    use crate::engine::{BackendChoice, Bundle, Catalogue, ProgramCache};
    use crate::policy::modes::Slot;
    use crate::policy::modes::SlotSet;
    use crate::policy::{Exemptions, Modes, Selector};

    fn bundle() -> Bundle {
        Bundle::build(Catalogue::read(&[]).unwrap(), &ProgramCache::default(), BackendChoice::Proven).unwrap()
    }

    fn standing() -> Standing {
        let pod = json!({"containers": [{"name": "app", "image": "nginx", "securityContext": {"privileged": true}}]});
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "template": {"spec": pod}},
        });
        Standing {
            kind: GroupVersionKind::of("apps/v1", "Deployment"),
            object: Value::from(object),
            told_at: None,
            inventory: Inventory::new(),
        }
    }

    fn namespace(settings: &[(&str, &str)]) -> Arc<NamespaceMeta> {
        let mut namespace = NamespaceMeta::named("shop");
        for (key, value) in settings {
            let map = if key.contains('-') { &mut namespace.annotations } else { &mut namespace.labels };
            map.insert(format!("gatepost.dev/{key}"), (*value).to_owned());
        }
        Arc::new(namespace)
    }

    fn rules(told: &[Told]) -> Vec<&str> {
        crate::admission::speak::rules(told)
    }

    #[test]
    fn the_next_change_is_denied_by_scope_severity_date_and_floor() {
        let (bundle, exemptions, controllers) = (bundle(), Arc::new(Exemptions::default()), Controllers::default());
        let limits = Limits { time: std::time::Duration::from_secs(10), instructions: 5_000_000 };
        let floors = vec![(
            Selector::new(&["floored".into()], std::collections::BTreeMap::new()).unwrap(),
            SlotSet {
                enforce: Some(Slot::Policy("baseline".into())),
                scope: Some(crate::policy::Scope::All),
                ..SlotSet::default()
            },
        )];
        let modes = Modes { floors, ..Modes::default() };
        let reviewer = Reviewer {
            kubernetes_version: None,
            bundle: &bundle,
            modes: &modes,
            exemptions: &exemptions,
            controllers: &controllers,
            judge_owned: false,
            limits,
        };
        let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        let foresee = |standing: &Standing, settings: &[(&str, &str)]| {
            let mut machines = Machines::default();
            let seen = reviewer.foresee(standing, &namespace(settings), now, &mut machines);
            (rules(&seen.on_update).len(), rules(&seen.on_create).join(" "))
        };
        let web = standing();
        let both = "container-image-tag container-privileged";
        let enforce = ("enforce", "recommended");
        let of = |settings: &[(&str, &str)]| foresee(&web, settings);
        assert_eq!(of(&[]), (0, String::new()), "what warns denies nothing");
        let (updates, creates) = of(&[enforce]);
        assert!(updates == 0 && creates.contains("container-privileged"), "{creates}: what was there goes through");
        let (updates, creates) = of(&[enforce, ("enforce-scope", "all")]);
        assert!(updates > 1 && both.split(' ').all(|rule| creates.contains(rule)), "{updates} {creates}");
        let critical = [enforce, ("enforce-scope", "all"), ("enforce-severity", "critical")];
        assert_eq!(of(&critical), (1, "container-privileged".into()));
        assert_eq!(of(&[enforce, ("enforce-from", "2026-12-01")]), (0, String::new()), "not yet");
        let mut floored = (*namespace(&[("enforce", "off")])).clone();
        floored.name = "floored".into();
        let seen = reviewer.foresee(&web, &Arc::new(floored), now, &mut Machines::default());
        assert!(rules(&seen.on_update).contains(&"container-privileged"), "a floor goes on");
        let told_at = Some(GroupVersionKind::of("apps/v1", "Deployment"));
        let owned = Standing { told_at, kind: GroupVersionKind::of("apps/v1", "ReplicaSet"), ..standing() };
        assert_eq!(foresee(&owned, &[enforce, ("enforce-scope", "all")]), (0, String::new()), "its owner is told");
    }
}
