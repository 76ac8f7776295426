//! What judges an audit's objects: rules, and for each namespace its metadata, grants and looked-up objects.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::delivered::Applications;
use crate::config::Config;
use crate::engine::review::Inventory;
use crate::engine::{Bundle, Limits, ResolvedPolicy, Value};
use crate::policy::{Exemptions, Grant, KubernetesVersion, Mode, NamespaceMeta};
use crate::store::Enforcing;

/// What is in force when an audit begins; it holds for the whole pass.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Rules and policies, compiled.
    pub bundle: Arc<Bundle>,
    /// Which policies judge what.
    pub config: Arc<Config>,
    /// Who may break which rule.
    pub exemptions: Arc<Exemptions>,
    /// Policies that judge every namespace beside its grants, and are recorded in no mode.
    pub policies: Vec<Arc<str>>,
    /// What one rule may cost on one object.
    pub limits: Limits,
    /// Judge objects that controllers make of judged templates all the same.
    pub judge_owned: bool,
    /// The release of the cluster, where it is known.
    pub kubernetes_version: Option<KubernetesVersion>,
}

/// How many times the time of a rule it may take in an audit.
const PATIENCE: u32 = 20;

/// Returns what a rule may cost in an audit: its threads give way to everything else, so that on a busy machine the clock
/// says little of how much a rule computed. Instructions are counted as ever.
pub fn patient(limits: Limits) -> Limits {
    Limits { time: limits.time.saturating_mul(PATIENCE), ..limits }
}

/// Where an object stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Where {
    /// Outside any namespace.
    Cluster,
    /// In the namespace of this name; a Namespace counts as in itself.
    Namespace(String),
    /// In whichever namespace it will be applied to.
    Unsaid,
}

/// What judges the objects of one namespace.
#[derive(Debug)]
pub struct Place {
    /// Its metadata, none outside of namespaces.
    pub namespace: Option<Arc<NamespaceMeta>>,
    /// What its modes and floors ask.
    pub grants: Vec<Grant>,
    /// The policies of the grants, and those of the audit itself.
    pub policies: Vec<Arc<ResolvedPolicy>>,
    /// Objects that rules look up.
    pub inventory: Inventory,
    /// Whether a rule of the policies reads who wrote which field of an object.
    pub reads_managed_fields: bool,
    /// Changes when an object that is the same might be judged otherwise, but for dates.
    pub digest: u64,
}

impl Place {
    /// Returns the first date after an instant from which something is enforced.
    pub fn next_date(&self, after: Timestamp) -> Option<Timestamp> {
        self.grants.iter().filter_map(|grant| grant.from).filter(|from| *from > after).min()
    }
}

/// Objects that rules look up, by `apiGroup/Kind` and then by namespace.
pub type Looked = BTreeMap<String, HashMap<String, Vec<Value>>>;

/// What is known beside the objects themselves.
#[derive(Debug)]
pub struct World {
    /// What is in force.
    pub rules: Rules,
    /// When the audit began.
    pub now: Timestamp,
    /// Argo CD's Applications.
    pub applications: Applications,
    /// None when they could not be read.
    namespaces: Option<HashMap<String, Arc<NamespaceMeta>>>,
    looked: Looked,
    places: Mutex<HashMap<Where, Arc<Place>>>,
}

impl World {
    /// Puts together what was read; without namespaces every one counts as unread.
    pub fn new(
        rules: Rules,
        namespaces: Option<HashMap<String, Arc<NamespaceMeta>>>,
        looked: Looked,
        now: Timestamp,
    ) -> Self {
        let applications = Applications::default();
        Self { rules, now, applications, namespaces, looked, places: Mutex::default() }
    }

    /// Returns the namespaces that were read, by name; none when they could not be.
    pub fn namespaces(&self) -> Option<Vec<String>> {
        let mut names: Vec<String> = self.namespaces.as_ref()?.keys().cloned().collect();
        names.sort_unstable();
        Some(names)
    }

    /// Returns every policy that judges something.
    pub fn policies(&self) -> Vec<Arc<ResolvedPolicy>> {
        let mut found: BTreeMap<Arc<str>, Arc<ResolvedPolicy>> = BTreeMap::new();
        for place in self.places() {
            found.extend(place.policies.iter().map(|policy| (policy.name.clone(), policy.clone())));
        }
        found.into_values().collect()
    }

    /// Returns the first date that is still to come from which something is enforced.
    pub fn next_date(&self) -> Option<Timestamp> {
        self.places().filter_map(|place| place.next_date(self.now)).min()
    }

    fn places(&self) -> impl Iterator<Item = Arc<Place>> {
        let named = self.namespaces.iter().flat_map(HashMap::keys).cloned().map(Where::Namespace);
        // A namespace that nobody has read yet is judged as its name says.
        named.chain([Where::Cluster, Where::Unsaid]).map(move |place| self.place(&place))
    }

    /// Returns what is enforced, by namespace and policy; none where namespaces could not be read.
    pub fn enforcing(&self) -> Option<Vec<Enforcing>> {
        let named = self.namespaces()?.into_iter().map(Where::Namespace);
        let of = |at: Where| {
            let place = self.place(&at);
            let namespace = if let Where::Namespace(name) = at { name } else { String::new() };
            let enforces =
                |grant: &&Grant| grant.mode == Mode::Enforce && grant.from.is_none_or(|from| from <= self.now);
            let grants = place.grants.iter().filter(enforces).map(|grant| Enforcing {
                namespace: namespace.clone(),
                policy: grant.policy.to_string(),
                severity: grant.severity.map(|severity| severity.to_string()).unwrap_or_default(),
            });
            grants.collect::<Vec<_>>()
        };
        Some(named.chain([Where::Cluster]).flat_map(of).collect())
    }

    /// Returns what judges the objects of a place.
    pub fn place(&self, at: &Where) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(at) {
            return place.clone();
        }
        let place = Arc::new(self.build(at));
        places.insert(at.clone(), place.clone());
        place
    }

    fn build(&self, at: &Where) -> Place {
        let (bundle, modes) = (&*self.rules.bundle, &self.rules.config.modes);
        let known = |name: &String| self.namespaces.as_ref().map(|known| known.get(name).cloned());
        let (namespace, grants) = match at {
            Where::Cluster => (None, modes.cluster_scoped_grants()),
            Where::Unsaid => (None, modes.grants(&NamespaceMeta::default(), bundle)),
            Where::Namespace(name) => match known(name) {
                // It was made after the namespaces were listed, or they could not be.
                None | Some(None) => (None, modes.grants_of_unread(name, bundle)),
                Some(Some(meta)) => {
                    let grants = modes.grants(&meta, bundle);
                    (Some(meta), grants)
                }
            },
        };
        let grants = grants.grants;
        let names = grants.iter().map(|grant| &grant.policy).chain(&self.rules.policies);
        let mut policies: Vec<Arc<ResolvedPolicy>> = Vec::new();
        for policy in names.filter_map(|name| bundle.policy(name)) {
            if !policies.iter().any(|known| known.name == policy.name) {
                policies.push(policy.clone());
            }
        }
        let inventory = self.inventory(at);
        let digest = self.digest(namespace.as_deref(), &grants, &inventory);
        let reads_managed_fields = bundle.read_managed_fields(&policies);
        Place { namespace, grants, policies, inventory, reads_managed_fields, digest }
    }

    fn inventory(&self, at: &Where) -> Inventory {
        let name = match at {
            Where::Namespace(name) => name.as_str(),
            // Files that do not say where they go are seen beside each other.
            Where::Unsaid => "",
            Where::Cluster => return Inventory::new(),
        };
        let of_kind = |(kind, objects): (&String, &HashMap<String, Vec<Value>>)| {
            (kind.clone(), Value::from(objects.get(name).cloned().unwrap_or_default()))
        };
        self.looked.iter().map(of_kind).collect()
    }

    fn digest(&self, namespace: Option<&NamespaceMeta>, grants: &[Grant], inventory: &Inventory) -> u64 {
        let mut hash = DefaultHasher::new();
        self.rules.bundle.digest().hash(&mut hash);
        self.rules.policies.hash(&mut hash);
        (self.rules.judge_owned, self.rules.kubernetes_version).hash(&mut hash);
        if let Some(namespace) = namespace {
            (&namespace.name, &namespace.labels, &namespace.annotations).hash(&mut hash);
        }
        for grant in grants {
            // On which side of a date we are changes what is made of what was found, and not what is found.
            (grant.mode, &grant.policy, grant.severity, grant.scope, grant.from).hash(&mut hash);
        }
        for (kind, objects) in inventory {
            kind.hash(&mut hash);
            // Only what rules read of them is there: what else changes has nothing judged again.
            objects.to_string().hash(&mut hash);
        }
        hash.finish()
    }
}
