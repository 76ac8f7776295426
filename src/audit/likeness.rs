//! What an object was made of: the parts of a Pod, or of a template, that no controller changes on the way.
//!
//! An owner excuses only what is like its template, for anyone can write a Pod that names one. Left out is what the API
//! server and admission plugins fill in: token volumes, tolerations, resources, variables of the environment.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use serde::Deserialize;
use serde_json::Value as Json;

/// The parts of a Pod or a template, each as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// What holds for all containers.
    pod: u64,
    /// Containers by name.
    containers: BTreeMap<String, u64>,
    /// Nothing runs by it any more, whatever it says: scaled to nothing, or a Job that is done.
    is_idle: bool,
}

/// How much of an object is as its owner's template says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Likeness {
    /// Nothing is known of an owner.
    #[default]
    None,
    /// What holds for all containers, and these of them by name.
    Partial {
        /// Whether what holds for all containers is as there.
        pod: bool,
        /// Containers that are as there.
        containers: Vec<String>,
    },
    /// All of it.
    Whole,
}

impl Likeness {
    /// Returns whether what is said of a container, or of none, was said of the template already.
    pub fn covers(&self, container: Option<&str>) -> bool {
        match (self, container) {
            (Self::None, _) => false,
            (Self::Whole, _) => true,
            (Self::Partial { pod, .. }, None) => *pod,
            (Self::Partial { containers, .. }, Some(name)) => containers.iter().any(|known| known == name),
        }
    }
}

impl Parts {
    /// Reads the parts of a Pod, or of the template in an object of another kind; none where there is no template.
    pub fn read(object: &str, is_pod: bool) -> Option<Self> {
        if is_pod {
            let pod: Object<PodSpec> = serde_json::from_str(object).ok()?;
            return pod.spec.map(|spec| spec.parts(false));
        }
        let workload: Object<WorkloadSpec> = serde_json::from_str(object).ok()?;
        let done =
            |condition: &Condition| matches!(&*condition.kind, "Complete" | "Failed") && condition.status == "True";
        let is_done = workload.status.iter().flat_map(|status| status.conditions.iter().flatten()).any(done);
        let spec = workload.spec?;
        let is_idle = spec.replicas == Some(0) || spec.is_of_job() && is_done;
        let nested = || spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref();
        let template = spec.template.as_ref().or_else(nested)?;
        template.spec.as_ref().map(|pod| pod.parts(is_idle))
    }

    /// Returns the hashes, for an owner to keep.
    pub fn hashes(&self) -> Vec<u64> {
        self.containers.values().copied().chain([self.pod]).collect()
    }

    /// Compares with an owner's template.
    pub fn like(&self, template: &[u64]) -> Likeness {
        let is_there = |part: &u64| template.contains(part);
        let containers = self.containers.iter().filter(|(_, part)| is_there(part));
        let containers: Vec<String> = containers.map(|(name, _)| name.clone()).collect();
        let pod = is_there(&self.pod);
        if self.is_idle || pod && containers.len() == self.containers.len() {
            return Likeness::Whole;
        }
        Likeness::Partial { pod, containers }
    }
}

#[derive(Deserialize)]
struct Object<S> {
    spec: Option<S>,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadSpec {
    replicas: Option<u64>,
    /// Only Jobs have it.
    backoff_limit: Option<Json>,
    template: Option<Template>,
    job_template: Option<JobTemplate>,
}

impl WorkloadSpec {
    fn is_of_job(&self) -> bool {
        self.backoff_limit.is_some() && self.job_template.is_none()
    }
}

#[derive(Deserialize)]
struct JobTemplate {
    spec: Option<JobSpec>,
}

#[derive(Deserialize)]
struct JobSpec {
    template: Option<Template>,
}

#[derive(Deserialize)]
struct Template {
    spec: Option<PodSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
    service_account_name: Option<String>,
    security_context: Option<Json>,
    #[serde(rename = "hostPID")]
    host_pid: Option<bool>,
    #[serde(rename = "hostIPC")]
    host_ipc: Option<bool>,
    host_network: Option<bool>,
    host_users: Option<bool>,
    share_process_namespace: Option<bool>,
    automount_service_account_token: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    #[serde(default)]
    name: String,
    host_path: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    name: String,
    image: Option<String>,
    command: Option<Vec<String>>,
    args: Option<Vec<String>>,
    security_context: Option<Json>,
    ports: Option<Json>,
    lifecycle: Option<Json>,
    restart_policy: Option<String>,
}

impl PodSpec {
    fn parts(&self, is_idle: bool) -> Parts {
        let flags = [
            self.host_pid.unwrap_or_default(),
            self.host_ipc.unwrap_or_default(),
            self.host_network.unwrap_or_default(),
            self.share_process_namespace.unwrap_or_default(),
        ];
        let account = self.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        let volumes = self.volumes.iter().flatten();
        let of_host = volumes.filter_map(|volume| Some((&volume.name, text(Some(volume.host_path.as_ref()?)))));
        let of_host: BTreeMap<_, _> = of_host.collect();
        let tokens = (self.host_users, self.automount_service_account_token);
        let pod = hash((flags, account, text(self.security_context.as_ref()), of_host, tokens));
        let lists = [&self.containers, &self.init_containers, &self.ephemeral_containers];
        let containers = (0_u8..).zip(lists).flat_map(|(list, containers)| {
            containers.iter().flatten().map(move |container| (container.name.clone(), hash((list, container.part()))))
        });
        Parts { pod, containers: containers.collect(), is_idle }
    }
}

impl Container {
    fn part(&self) -> impl Hash {
        (
            &self.name,
            &self.image,
            &self.command,
            &self.args,
            text(self.security_context.as_ref()),
            text(self.ports.as_ref()),
            text(self.lifecycle.as_ref()),
            &self.restart_policy,
        )
    }
}

/// An empty mapping is as good as none.
fn text(json: Option<&Json>) -> String {
    json.filter(|json| !json.is_null() && json.as_object().is_none_or(|map| !map.is_empty()))
        .map(Json::to_string)
        .unwrap_or_default()
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(spec: &Json) -> Vec<u64> {
        Parts::read(&json!({"spec": {"template": {"spec": spec}}}).to_string(), false).unwrap().hashes()
    }

    fn like(pod: &Json, spec: &Json) -> Likeness {
        Parts::read(&json!({"spec": pod}).to_string(), true).unwrap().like(&template(spec))
    }

    fn with(change: impl Fn(&mut Json)) -> Json {
        let mut spec = json!({"containers": [{"name": "app", "image": "nginx:1", "args": ["-v"]}]});
        change(&mut spec);
        spec
    }

    #[test]
    fn what_is_filled_in_on_the_way_changes_nothing() {
        let made = with(|pod| {
            pod["nodeName"] = "a".into();
            pod["serviceAccountName"] = "default".into();
            pod["securityContext"] = json!({});
            pod["tolerations"] = json!([{"operator": "Exists"}]);
            pod["volumes"] = json!([{"name": "kube-api-access", "projected": {}}]);
            pod["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
            pod["containers"][0]["volumeMounts"] = json!([{"name": "kube-api-access", "mountPath": "/t"}]);
            pod["containers"][0]["env"] = json!([{"name": "JOB_COMPLETION_INDEX", "value": "1"}]);
        });
        assert_eq!(like(&made, &with(|_| ())), Likeness::Whole);
    }

    /// What changes, and whether the Pod as a whole and the container `app` are covered all the same.
    type Case = (fn(&mut Json), bool, bool);

    #[test]
    fn what_is_otherwise_is_not_covered() {
        let table: [Case; 9] = [
            (|pod| pod["containers"][0]["image"] = "evil".into(), true, false),
            (|pod| pod["containers"][0]["securityContext"] = json!({"privileged": true}), true, false),
            (|pod| pod["containers"][0]["command"] = json!(["sh"]), true, false),
            (|pod| pod["containers"][0]["ports"] = json!([{"hostPort": 80}]), true, false),
            (|pod| pod["hostNetwork"] = true.into(), false, true),
            (|pod| pod["serviceAccountName"] = "admin".into(), false, true),
            (|pod| pod["volumes"] = json!([{"name": "v", "hostPath": {"path": "/"}}]), false, true),
            (|pod| pod["securityContext"] = json!({"runAsUser": 0}), false, true),
            (|pod| pod["initContainers"] = json!([{"name": "more", "image": "x"}]), true, true),
        ];
        for (change, pod, app) in table {
            let likeness = like(&with(change), &with(|_| ()));
            assert_ne!(likeness, Likeness::Whole, "{:?}", with(change));
            assert_eq!((likeness.covers(None), likeness.covers(Some("app"))), (pod, app), "{:?}", with(change));
            assert!(!likeness.covers(Some("more")));
        }
    }

    #[test]
    fn what_does_not_run_needs_no_likeness() {
        let other = template(&with(|spec| spec["containers"][0]["image"] = "new".into()));
        let replicas = |number: u64| json!({"spec": {"replicas": number, "template": {"spec": with(|_| ())}}});
        let job = |status: &str| {
            json!({"spec": {"backoffLimit": 6, "template": {"spec": with(|_| ())}},
                   "status": {"conditions": [{"type": "Complete", "status": status}]}})
        };
        for (object, is_idle) in [(replicas(0), true), (replicas(1), false), (job("True"), true), (job("False"), false)]
        {
            let parts = Parts::read(&object.to_string(), false).unwrap();
            assert_eq!(parts.like(&other) == Likeness::Whole, is_idle, "{object}");
        }
        let cron = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": with(|_| ())}}}}});
        assert_eq!(Parts::read(&cron.to_string(), false).unwrap().hashes(), template(&with(|_| ())));
    }
}
