//! Rules compiled: which backend each runs on, and the cache that compiles only what is new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use super::catalogue::{Catalogue, Fault};
use super::parameters;
use super::reads::{self, Reads};
use super::rego::{self, Backend, CompileError, EvalError, Library, Limits, Machines, Program, Value};
use super::repeat::{Standings, Watch};
use super::review::{Input, Needs, Review};
use super::trial::{Trial, Verdict};
use crate::policy::{Provenance, Rule, RuleId};

/// A rule and its program.
#[derive(Debug)]
pub struct CompiledRule {
    /// What it is.
    pub rule: Arc<Rule>,
    /// Hash of all that its program depends on.
    pub digest: String,
    /// What trying its fixtures showed, if that was done.
    pub verdict: Option<Verdict>,
    /// What it reads of the objects that it looks up, by `apiGroup/Kind`.
    pub reads: Reads,
    /// Whether it reads who wrote which field of the object that it judges.
    pub reads_managed_fields: bool,
    pub(super) uses_strings: bool,
    pub(super) watch: Option<Watch>,
    program: Arc<Program>,
}

impl CompiledRule {
    /// Returns what finds its violations: once withdrawn from the VM, that is the interpreter.
    pub fn program(&self) -> &Program {
        match &self.watch {
            Some(watch) if watch.standing.is_withdrawn() => &watch.interpreter,
            _ => &self.program,
        }
    }
}

/// Compiled programs by content, bounded; one compile at a time for each. Also remembers what trials showed.
#[derive(Debug, Clone)]
pub struct ProgramCache {
    programs: Cache<(String, Backend), Arc<Program>>,
    verdicts: Cache<String, Verdict>,
    standings: Standings,
    lookups: Arc<AtomicU64>,
    compiled: Arc<AtomicU64>,
}

impl ProgramCache {
    /// Builds a cache of at most so many programs.
    pub fn new(capacity: u64) -> Self {
        Self {
            programs: Cache::new(capacity),
            verdicts: Cache::new(capacity),
            standings: Standings::default(),
            lookups: Arc::default(),
            compiled: Arc::default(),
        }
    }

    /// Returns how many programs were ever compiled.
    pub fn compilations(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    /// Returns how many programs were ever found instead of compiled.
    pub fn hits(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed).saturating_sub(self.compilations())
    }

    /// Returns how many programs are held.
    pub fn len(&self) -> u64 {
        // moka counts in the background.
        self.programs.run_pending_tasks();
        self.programs.entry_count()
    }

    /// Returns whether no program is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(
        &self,
        digest: &str,
        library: &Library,
        rule: &Rule,
        backend: Backend,
    ) -> Result<Arc<Program>, Arc<CompileError>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.programs.try_get_with((digest.to_owned(), backend), || {
            self.compiled.fetch_add(1, Ordering::Relaxed);
            rego::compile(library, &rule.source, backend).map(Arc::new)
        })
    }
}

impl Default for ProgramCache {
    fn default() -> Self {
        Self::new(4096)
    }
}

/// Which backend a rule runs on.
#[derive(Debug, Clone, Copy, Default)]
pub enum BackendChoice<'a> {
    /// Built-in rules on the VM where that was shown to agree; everything else on the interpreter.
    #[default]
    Proven,
    /// Users' rules too on the VM, where their fixtures agree now.
    Tried(Trial<'a>),
    /// Always the same one: for tests and benchmarks.
    Always(Backend),
}

/// Compiles every rule; what does not compile is a fault.
pub(super) fn compile_all(
    catalogue: &Catalogue,
    cache: &ProgramCache,
    choice: BackendChoice<'_>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<RuleId, Arc<CompiledRule>> {
    let mut compiled = BTreeMap::new();
    let shared = |of| Library::new(&catalogue.libraries(of));
    let (built_in, own) = match shared(Provenance::BuiltIn).and_then(|ours| Ok((ours, shared(Provenance::User)?))) {
        Ok(libraries) => libraries,
        Err(error) => {
            faults.push(error.into());
            return compiled;
        }
    };
    for rule in catalogue.rules().values() {
        let library = if rule.provenance == Provenance::BuiltIn { &built_in } else { &own };
        match (Compile { catalogue, cache, library, rule }).with(choice) {
            Ok(rule) => {
                compiled.insert(rule.rule.id.clone(), Arc::new(rule));
            }
            Err(error) => faults.push(CompileError::clone(&error).into()),
        }
    }
    compiled
}

/// Compiles one rule as `compile_all` does, and returns what that says of it.
pub fn compile_one(
    catalogue: &Catalogue,
    rule: &Arc<Rule>,
    choice: BackendChoice<'_>,
) -> Result<CompiledRule, CompileError> {
    let library = Library::new(&catalogue.libraries(rule.provenance))?;
    let compile = Compile { catalogue, cache: &ProgramCache::default(), library: &library, rule };
    compile.with(choice).map_err(|error| CompileError::clone(&error))
}

/// One rule that is to be compiled.
#[derive(Clone, Copy)]
struct Compile<'a> {
    catalogue: &'a Catalogue,
    cache: &'a ProgramCache,
    library: &'a Library,
    rule: &'a Arc<Rule>,
}

impl Compile<'_> {
    fn with(self, choice: BackendChoice<'_>) -> Result<CompiledRule, Arc<CompileError>> {
        let digest = self.catalogue.program_digest(self.rule);
        let backend = match choice {
            BackendChoice::Always(backend) => backend,
            _ if self.catalogue.is_proven_on_vm(self.rule) => Backend::Vm,
            _ => Backend::Interpreter,
        };
        let program = self.cache.get(&digest, self.library, self.rule, backend)?;
        smoke_test(self.rule, &program)?;
        let read = reads::input(&rego::parsed(self.library, &self.rule.source)?);
        let uses_strings = self.catalogue.uses_strings(self.rule);
        let compiled = CompiledRule {
            rule: self.rule.clone(),
            digest,
            verdict: None,
            reads: reads::of_kinds(&read, &self.rule.inventory),
            reads_managed_fields: uses_strings || reads::has_managed_fields(&read),
            uses_strings,
            watch: None,
            program,
        };
        Ok(match choice {
            BackendChoice::Tried(trial) if self.rule.provenance == Provenance::User => self.try_on_vm(compiled, trial),
            _ => compiled,
        })
    }

    /// Lets a user's rule, which stands on the interpreter, onto the VM if its fixtures agree.
    fn try_on_vm(self, compiled: CompiledRule, trial: Trial<'_>) -> CompiledRule {
        let standing = self.cache.standings.of(&compiled.digest);
        let verdict = if standing.is_withdrawn() { Verdict::Withdrawn } else { self.verdict(&compiled, trial) };
        let program = match &verdict {
            Verdict::Agreed(_) => self.vm_program(&compiled.digest),
            other => Err(other.clone()),
        };
        match program {
            Ok(program) => {
                let watch = Watch { interpreter: compiled.program, standing, one_in: trial.repeat_one_in };
                CompiledRule { verdict: Some(verdict), watch: Some(watch), program, ..compiled }
            }
            Err(verdict) => CompiledRule { verdict: Some(verdict), ..compiled },
        }
    }

    fn vm_program(self, digest: &str) -> Result<Arc<Program>, Verdict> {
        let program = self.cache.get(digest, self.library, self.rule, Backend::Vm);
        program.map_err(|error| Verdict::NotCompiled(error.cause.clone()))
    }

    /// Returns what a trial shows, or what an earlier one of the same rule and fixtures did.
    fn verdict(self, compiled: &CompiledRule, trial: Trial<'_>) -> Verdict {
        let key = format!("{} {}", compiled.digest, Catalogue::fixtures_digest(self.rule));
        if let Some(verdict) = self.cache.verdicts.get(&key) {
            return verdict;
        }
        let libraries = self.catalogue.libraries(self.rule.provenance);
        let text: Vec<&str> = libraries.iter().chain([&self.rule.source]).map(|source| &*source.text).collect();
        let verdict = trial.of(self.rule, compiled.uses_strings, &text, || {
            Ok([self.vm_program(&compiled.digest)?, compiled.program.clone()])
        });
        if verdict.is_final() {
            self.cache.verdicts.insert(key, verdict.clone());
        }
        verdict
    }
}

/// Runs a user's rule once on an empty object: the interpreter finds some mistakes, such as a call of a function that
/// does not exist, only when it evaluates.
fn smoke_test(rule: &Rule, program: &Program) -> Result<(), Arc<CompileError>> {
    if rule.provenance == Provenance::BuiltIn {
        return Ok(());
    }
    let review = Review::of_file(Value::new_object(), None, BTreeMap::new());
    let parameters = default_parameters(rule);
    let needs = Needs { parameters: parameters.as_ref(), strings: true, secret_data: false };
    let input = Input::new(&review).for_rule(needs);
    let limits = Limits { time: std::time::Duration::from_millis(50), instructions: 100_000 };
    match program.run(&mut Machines::default(), input, limits) {
        Err(EvalError::Rego(cause)) => {
            Err(Arc::new(CompileError { file: rule.source.file.clone(), line: None, cause }))
        }
        _ => Ok(()),
    }
}

/// Returns the parameters that a rule has where no policy gives any.
pub(super) fn default_parameters(rule: &Rule) -> Option<Value> {
    rule.parameters.as_ref().map(|schema| Value::from(parameters::with_defaults(schema, &serde_json::Map::new())))
}
