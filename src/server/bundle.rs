//! Building what is put in force: users' rules are tried on their fixtures, so that they may run on the VM.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::admission::fixture::examples;
use crate::config::Settings;
use crate::engine::{
    Backend, BackendChoice, Budget, Bundle, Catalogue, CatalogueError, Limits, ProgramCache, Trial, Verdict,
};
use crate::telemetry::Metrics;

/// Time for the trials of one load; rules that do not get their turn stay on the interpreter.
const TRIAL_TIME: Duration = Duration::from_secs(1);
/// What a rule may cost on one fixture.
const TRIAL_LIMITS: Limits = Limits { time: Duration::from_millis(100), instructions: 5_000_000 };

/// Compiles every rule and resolves every policy, for a process that watches over users' rules on the VM.
pub fn build(catalogue: Catalogue, cache: &ProgramCache, settings: &Settings) -> Result<Bundle, CatalogueError> {
    let bundle = with_trial(settings.vm_repeat_one_in, |choice| Bundle::build(catalogue, cache, choice))?;
    let tried = bundle.rules().values().filter_map(|rule| Some((rule, rule.verdict.as_ref()?)));
    let mut on_vm = 0_usize;
    let mut on_interpreter = 0_usize;
    for (rule, verdict) in tried {
        match verdict {
            Verdict::Agreed(_) => on_vm += 1,
            _ => on_interpreter += 1,
        }
        tracing::debug!(rule = %rule.rule.id, backend = rule.program().backend().as_str(), because = %verdict, "rule tried");
    }
    if on_vm + on_interpreter > 0 {
        tracing::info!(on_vm, on_interpreter, "own rules tried on their fixtures");
    }
    Ok(bundle)
}

/// Calls a function with the choice that tries users' rules on their fixtures.
pub fn with_trial<T>(repeat_one_in: NonZeroU64, build: impl FnOnce(BackendChoice<'_>) -> T) -> T {
    let end = Instant::now() + TRIAL_TIME;
    let remaining = || end.saturating_duration_since(Instant::now());
    let budget = Budget { limits: TRIAL_LIMITS, remaining: &remaining };
    build(BackendChoice::Tried(Trial { examples: &examples, budget: &budget, repeat_one_in }))
}

/// Shows a bundle that has been put in force.
pub fn show(metrics: &Metrics, bundle: &Bundle) {
    metrics.set_bundle(bundle.digest(), bundle.rules().keys(), bundle.policies().len());
}

/// Shows what evaluates the rules now: a rule may leave the VM at any time.
pub fn show_backends(metrics: &Metrics, bundle: &Bundle) {
    let is_on_vm = |rule: &&_| crate::engine::CompiledRule::program(rule).backend() == Backend::Vm;
    let on_vm = bundle.rules().values().map(AsRef::as_ref).filter(is_on_vm).count();
    metrics.bundle.set_backends(on_vm, bundle.rules().len().saturating_sub(on_vm));
}
