//! Objects with random faults, the same ones every time: what the API server takes, and Gatepost judges.

use serde_json::{Value, json};

use super::objects::{Object, container, pod, workload};

/// The first state of the generator; change it to look elsewhere.
const SEED: u64 = 0x6761_7465_706f_7374;

const IMAGES: &[&str] = &[
    "nginx",
    "nginx:latest",
    "nginx:1.27.3",
    "registry.example.com:5000/team/app",
    "registry.example.com:5000/team/app:v2",
    "ghcr.io/org/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];
const SCHEDULES: &[&str] = &["*/5 * * * *", "@daily", "0 3 * * 0", "0 0 1 jan *", "15 10 * * MON-FRI"];

/// Returns `count` objects of nine kinds with names that differ, for one namespace.
pub fn objects(count: usize) -> Vec<Object> {
    let mut random = Random(SEED);
    (0..count).map(|index| object(&mut random, &format!("generated-{index}"))).collect()
}

fn object(random: &mut Random, name: &str) -> Object {
    match random.below(9) {
        0 | 1 => deployment(random, name),
        2 => with_pods(
            random,
            workload("apps/v1", "StatefulSet", name).with("/spec/serviceName", name),
            "/spec/template/spec",
        ),
        3 => with_pods(random, workload("apps/v1", "DaemonSet", name), "/spec/template/spec"),
        4 => with_pods(random, pod(name), "/spec"),
        5 => job(random, name),
        6 => cron_job(random, name),
        7 => service(random, name),
        _ => {
            if random.one_in(2) {
                ingress(random, name)
            } else {
                autoscaler(random, name)
            }
        }
    }
}

fn deployment(random: &mut Random, name: &str) -> Object {
    let object = with_pods(random, workload("apps/v1", "Deployment", name), "/spec/template/spec");
    match random.below(4) {
        0 => object,
        replicas => object.with("/spec/replicas", replicas),
    }
}

fn job(random: &mut Random, name: &str) -> Object {
    let object = workload("batch/v1", "Job", name).without("/spec/selector");
    with_pods(random, object, "/spec/template/spec")
        .with("/spec/template/spec/restartPolicy", random.pick(&["Never", "OnFailure"]))
}

fn cron_job(random: &mut Random, name: &str) -> Object {
    let mut template = job(random, name);
    let spec = template.0["spec"].take();
    let mut object = Object(json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": random.pick(SCHEDULES), "jobTemplate": {"spec": spec}},
    }));
    if random.one_in(2) {
        object = object.with("/spec/startingDeadlineSeconds", 60);
    }
    match random.below(4) {
        0 => object.with("/spec/concurrencyPolicy", "Allow"),
        1 => object.with("/spec/concurrencyPolicy", "Forbid"),
        2 => object.with("/spec/concurrencyPolicy", "Replace"),
        _ => object,
    }
}

fn service(random: &mut Random, name: &str) -> Object {
    let object = Object(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
    }));
    match random.below(3) {
        0 => object,
        1 => object.with("/spec/type", "ClusterIP"),
        _ => object.with("/spec/type", "NodePort"),
    }
}

fn ingress(random: &mut Random, name: &str) -> Object {
    let backend = json!({"service": {"name": name, "port": {"number": 80}}});
    let paths = json!({"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]});
    let object = Object(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"rules": [{"http": paths}]},
    }));
    match random.below(3) {
        0 => object,
        1 => object.with("/spec/rules/0/host", "shop.example.com"),
        _ => object.with("/spec/rules/0/host", "*.example.com"),
    }
}

/// Returns an autoscaler of a Deployment that is not among the objects: each is judged as if it were alone.
fn autoscaler(random: &mut Random, name: &str) -> Object {
    let object = Object(json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "elsewhere"}},
    }));
    if random.one_in(2) { object } else { object.with("/spec/minReplicas", 1 + random.below(3)) }
}

/// Puts one to three containers, and perhaps init containers, where a pod template stands.
fn with_pods(random: &mut Random, object: Object, spec: &str) -> Object {
    let containers: Vec<Value> = (0..=random.below(3)).map(|index| faulty(random, &format!("app-{index}"))).collect();
    let object = object.with(&format!("{spec}/containers"), containers);
    match random.below(4) {
        0 => object.with(
            &format!("{spec}/initContainers"),
            vec![Object(faulty(random, "init")).without("/livenessProbe").without("/readinessProbe").0],
        ),
        1 => object.with(
            &format!("{spec}/initContainers"),
            vec![Object(faulty(random, "sidecar")).with("/restartPolicy", "Always").0],
        ),
        _ => object,
    }
}

fn faulty(random: &mut Random, name: &str) -> Value {
    let mut container = Object(container(name)).with("/image", random.pick(IMAGES));
    for part in [
        "/resources/requests/cpu",
        "/resources/requests/memory",
        "/resources/limits/cpu",
        "/resources/limits/memory",
        "/resources",
    ] {
        if random.one_in(4) {
            container = container.without(part);
        }
    }
    for probe in ["/livenessProbe", "/readinessProbe"] {
        if random.one_in(3) {
            container = container.without(probe);
        }
    }
    match random.below(6) {
        0 => container.with("/securityContext/privileged", true).0,
        1 => container.with("/securityContext/privileged", false).0,
        _ => container.0,
    }
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or_default();
        from[index]
    }
}
