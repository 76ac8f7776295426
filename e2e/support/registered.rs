//! Gatepost with `--registration`, on a control plane whose only registration is the one it keeps.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::control_plane::{ControlPlane, free_ports};
use super::kubectl::{Kubectl, kubectl};
use super::manifests::{self, NAMESPACE};
use super::objects::{Object, read};
use super::rights::{self, Asked};
use super::serving::Serving;
use super::wait::eventually;

/// What `registration: self` may do beside the base.
pub const SELF_RIGHTS: &str = include_str!("../../manifests/components/self-registration/rbac.yaml");

/// The one control plane that these tests take turns on: there is one registration to a cluster.
static TURN: Mutex<Option<ControlPlane>> = Mutex::new(None);

/// One test's turn, with what the manifests install but for the registration.
pub struct Scene {
    turn: MutexGuard<'static, Option<ControlPlane>>,
    /// Port that registrations name, on this machine.
    pub port: u16,
    servings: u32,
}

impl Scene {
    /// Waits for its turn; `None` where there is no control plane.
    pub fn start() -> Option<Self> {
        let mut turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.is_none() {
            let control_plane = ControlPlane::own("registered")?;
            let shipped = manifests::objects().into_iter().filter(|object| !object.text("/kind").contains("Webhook"));
            let shipped: Vec<Object> = shipped.filter(|object| object.text("/kind") != "Service").collect();
            let service = manifests::service();
            let rights = read(SELF_RIGHTS);
            let all = shipped.iter().chain([&service]).chain(&rights);
            control_plane.kubectl().accepts(kubectl("apply --server-side -f -").reading(all));
            *turn = Some(control_plane);
        }
        let [port] = free_ports().expect("a free port");
        let scene = Self { turn, port, servings: 0 };
        scene.clear();
        Some(scene)
    }

    /// Returns a Gatepost with the rights of the ServiceAccount, which does not run yet and whose port nobody else has.
    pub fn serving(&mut self, registration: &str, listens: u16) -> Serving {
        self.servings += 1;
        let name = format!("registered-{}-{}", self.port, self.servings);
        let mut serving = manifests::serving(&name, self.control_plane());
        serving.with(["--registration", registration, "--port-of-service", &self.port.to_string()]);
        serving.listen(listens);
        serving
    }

    /// Returns the control plane.
    pub fn control_plane(&self) -> &ControlPlane {
        self.turn.as_ref().expect("started above")
    }

    /// Returns kubectl, in no namespace.
    pub fn kubectl(&self) -> &Kubectl {
        self.control_plane().kubectl()
    }

    /// Returns the shipped registration with this scene's port.
    pub fn shipped(&self) -> Object {
        manifests::registration(&format!("127.0.0.1:{}", self.port))
    }

    /// Returns the live registration, if there is one.
    pub fn live(&self) -> Option<Object> {
        self.find("validatingwebhookconfiguration/gatepost")
    }

    /// Returns an object as it is stored, managed fields included.
    pub fn find(&self, target: &str) -> Option<Object> {
        let request = kubectl(&format!("get {target} -o json --show-managed-fields --ignore-not-found"));
        self.kubectl().accepts(request).objects().pop()
    }

    /// Waits for a live registration of which this holds.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&Object) -> bool) -> Object {
        eventually(what, || self.live().filter(&is_so))
    }

    /// Waits until the API server asks about everything, as the registration says.
    #[track_caller]
    pub fn until_full(&self) -> Object {
        self.until("a full registration", |live| names(live).len() == 3)
    }

    /// Returns what Gatepost was forbidden.
    pub fn forbidden(&self) -> Vec<String> {
        Asked::read(&self.control_plane().audit_log(), rights::WEBHOOK).forbidden
    }

    /// Takes away what an earlier scene left.
    fn clear(&self) {
        let kinds = "validatingwebhookconfiguration,mutatingwebhookconfiguration";
        self.kubectl().run(kubectl(&format!("delete {kinds} gatepost --ignore-not-found")));
        let there = self.kubectl().in_namespace(NAMESPACE);
        there.run(kubectl("delete configmap gatepost-state --ignore-not-found"));
        there.run(kubectl("delete secret gatepost-certificates --ignore-not-found"));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.clear();
        if thread::panicking() {
            eprintln!("live: {}", self.live().map(|live| live.to_string()).unwrap_or_default());
        }
    }
}

/// Returns the names of a registration's entries.
pub fn names(registration: &Object) -> Vec<String> {
    entries(registration).iter().map(|entry| entry["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Returns a registration's entries.
pub fn entries(registration: &Object) -> Vec<Value> {
    registration.0["webhooks"].as_array().cloned().unwrap_or_default()
}

/// Returns whether every entry trusts exactly the authority of this data directory.
pub fn trusts(registration: &Object, serving: &Serving) -> bool {
    let authority = fs::read(Path::new(serving.directory()).join("data/ca.crt")).unwrap_or_default();
    let bundle = json!(ByteString(authority));
    !entries(registration).is_empty()
        && entries(registration).iter().all(|entry| entry["clientConfig"]["caBundle"] == bundle)
}
