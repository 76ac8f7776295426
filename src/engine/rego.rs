//! The only file that names regorus: compiling Rego, and running it on the VM or on the interpreter.
//!
//! Built-in functions that fail (a bad regex, `to_number("x")`) give undefined on both, as in OPA, so that policies
//! written for OPA mean here what they mean there. The interpreter's own default would be an error.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::VmError;
use regorus::rvm::{Program as VmProgram, RegoVM};
use regorus::utils::limits::{ExecutionTimerConfig, monotonic_now};
use regorus::{CompiledPolicy, Engine, LimitError};

/// Modules as they are parsed, for those who read them without running them.
pub(super) use regorus::unstable as ast;

pub use regorus::Value;

use super::lint;
use crate::policy::Source;

/// Version of the evaluator; part of every cache key.
pub const ENGINE_VERSION: &str = "regorus 0.14.1";

/// How many units of work pass between two looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(256).unwrap();
/// A thread keeps at most this many machines; a reload leaves dead ones behind.
const MACHINES: usize = 1024;

/// Gives every program an id of its own, so that a thread finds its machine for it.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// What runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Bytecode: two to three times faster, for rules on which it was seen to agree with the interpreter and OPA.
    Vm,
    /// Tree walker: knows all of Rego.
    Interpreter,
}

impl Backend {
    /// Returns a short name for logs and cache keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Interpreter => "interpreter",
        }
    }
}

/// Version of the Rego language that a module is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegoVersion {
    /// Before OPA 1.0: no `if` and `contains` needed.
    V0,
    /// Since OPA 1.0.
    V1,
}

/// What an evaluation may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time.
    pub time: Duration,
    /// Instructions; counted on the VM only.
    pub instructions: usize,
}

/// A module that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {cause}", line.map_or(String::new(), |line| format!(":{line}")))]
pub struct CompileError {
    /// Path of the module.
    pub file: Arc<str>,
    /// Line, counted from 1, where the compiler says it.
    pub line: Option<usize>,
    /// What is wrong.
    pub cause: String,
}

/// Why a program gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It ran into the time limit.
    #[error("stopped after {limit:?}, its time limit")]
    OutOfTime {
        /// The limit.
        limit: Duration,
    },
    /// It ran into the limit of instructions.
    #[error("stopped after {limit} instructions, its limit")]
    OutOfInstructions {
        /// The limit.
        limit: usize,
    },
    /// The request's deadline came before its turn.
    #[error("the request ran out of time")]
    NotReached,
    /// The object could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// Rego says why.
    #[error("{0}")]
    Rego(String),
    /// The result has another shape than a rule's must have.
    #[error("a violation of the rule {0}")]
    Shape(String),
}

impl EvalError {
    /// Returns whether a limit ended the evaluation: another backend, or another time, might have come to an answer.
    pub const fn is_cut_short(&self) -> bool {
        matches!(self, Self::OutOfTime { .. } | Self::OutOfInstructions { .. } | Self::NotReached)
    }
}

/// The shared modules that rules import, parsed once.
#[derive(Debug, Clone)]
pub struct Library {
    engine: Engine,
    modules: Vec<Source>,
}

impl Library {
    /// Parses shared modules.
    pub fn new(modules: &[Source]) -> Result<Self, CompileError> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(false);
        // What a rule prints is for its author's tests, and would stand between the log lines here.
        engine.set_gather_prints(true);
        for module in modules {
            add(&mut engine, module)?;
        }
        Ok(Self { engine, modules: modules.to_vec() })
    }
}

/// A compiled rule.
#[derive(Debug)]
pub struct Program {
    id: u64,
    violation: String,
    skip: Option<String>,
    code: Code,
}

#[derive(Debug)]
enum Code {
    Vm(Arc<VmProgram>),
    Interpreter(Box<Engine>),
}

/// What a rule found: the values of its `violation` and `skip` sets.
#[derive(Debug)]
pub struct Found {
    /// Elements of `violation`.
    pub violations: Value,
    /// Elements of `skip`, when the rule has one.
    pub skips: Value,
}

/// Tells in which version of Rego a module is written: v1 when it parses as such, else v0 when it parses as that.
///
/// Errors are those of v1, unless the module says by an import that it is older, or reads further as v0.
pub fn version_of(module: &Source) -> Result<RegoVersion, CompileError> {
    lint::refuse_deep_nesting(module)?;
    let v1 = parses(module, RegoVersion::V1);
    let Err(error) = v1 else { return Ok(RegoVersion::V1) };
    match parses(module, RegoVersion::V0) {
        Ok(()) => Ok(RegoVersion::V0),
        Err(older) if module.text.contains("import future.keywords") || older.line > error.line => Err(older),
        Err(_) => Err(error),
    }
}

fn parses(module: &Source, version: RegoVersion) -> Result<(), CompileError> {
    let mut engine = Engine::new();
    engine.set_rego_v0(version == RegoVersion::V0);
    engine
        .add_policy(module.file.to_string(), module.text.to_string())
        .map(|_| ())
        .map_err(|error| compile_error(module, &error))
}

fn add(engine: &mut Engine, module: &Source) -> Result<String, CompileError> {
    let version = version_of(module)?;
    if version == RegoVersion::V0 {
        lint::refuse_chained_bodies(module)?;
    }
    engine.set_rego_v0(version == RegoVersion::V0);
    engine.add_policy(module.file.to_string(), module.text.to_string()).map_err(|error| compile_error(module, &error))
}

/// Compiles a rule whose module must define `violation` and may define `skip`.
pub fn compile(library: &Library, module: &Source, backend: Backend) -> Result<Program, CompileError> {
    let mut engine = library.engine.clone();
    let package = add(&mut engine, module)?;
    lint::refuse_recursion(&library.modules.iter().chain([module]).collect::<Vec<_>>())?;
    let declares = |name: &str| {
        engine.has_declared_rule_rooted_at(&module.file, name).map_err(|error| compile_error(module, &error))
    };
    if !declares("violation")? {
        let cause = format!("package {package} does not define violation");
        return Err(CompileError { file: module.file.clone(), line: None, cause });
    }
    let violation = format!("{package}.violation");
    let skip = declares("skip")?.then(|| format!("{package}.skip"));
    let entry = regorus::Rc::from(violation.as_str());
    let policy = engine.compile_with_entrypoint(&entry).map_err(|error| compile_error(module, &error))?;
    let code = match backend {
        Backend::Interpreter => {
            refuse_unknown_functions(&policy, &violation, module)?;
            Code::Interpreter(Box::new(engine))
        }
        Backend::Vm => {
            let entries: Vec<&str> = std::iter::once(violation.as_str()).chain(skip.as_deref()).collect();
            let program = Compiler::compile_from_policy(&policy, &entries)
                .map_err(|error| compile_error(module, &anyhow::anyhow!("{error}")))?;
            Code::Vm(program)
        }
    };
    Ok(Program { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), violation, skip, code })
}

/// Parses a module and returns it with the shared ones.
pub(super) fn parsed(library: &Library, module: &Source) -> Result<Vec<ast::Ref<ast::Module>>, CompileError> {
    let mut engine = library.engine.clone();
    add(&mut engine, module)?;
    Ok(engine.get_modules().clone())
}

/// The interpreter finds a call of an unknown function only when it comes to it; the VM's compiler finds it at once.
/// What else that compiler does not take, the interpreter may.
fn refuse_unknown_functions(policy: &CompiledPolicy, entry: &str, module: &Source) -> Result<(), CompileError> {
    match Compiler::compile_from_policy(policy, &[entry]).map(drop).map_err(|error| error.to_string()) {
        Err(error) if error.contains("Unknown function") => Err(compile_error(module, &anyhow::anyhow!(error))),
        _ => Ok(()),
    }
}

/// Reads file, line and cause out of the text that regorus gives: `… --> file:line:col … error: cause`.
fn compile_error(module: &Source, error: &anyhow::Error) -> CompileError {
    let text = format!("{error:#}");
    let line = text.find("--> ").and_then(|start| {
        let place = text.get(start.saturating_add(4)..)?.lines().next()?;
        let mut numbers = place.rsplit(':').map(str::trim);
        let _column = numbers.next()?.parse::<usize>().ok()?;
        numbers.next()?.parse::<usize>().ok()
    });
    CompileError { file: module.file.clone(), line, cause: cause_of(&text) }
}

/// Returns what regorus says without the place and the piece of source that it puts before.
fn cause_of(text: &str) -> String {
    text.rsplit_once("error: ").map_or(text, |(_, cause)| cause).trim().replace('\n', " ")
}

impl Program {
    /// Returns what runs it.
    pub const fn backend(&self) -> Backend {
        match self.code {
            Code::Vm(_) => Backend::Vm,
            Code::Interpreter(_) => Backend::Interpreter,
        }
    }

    /// Evaluates the rule on an input.
    pub fn run(&self, machines: &mut Machines, input: Value, limits: Limits) -> Result<Found, EvalError> {
        let start = monotonic_now();
        let found = match &self.code {
            Code::Vm(program) => self.run_on_vm(machines.of(self.id, program), input, limits),
            Code::Interpreter(engine) => self.run_on_interpreter(engine, input, limits),
        };
        // Nobody looks at the clock inside a built-in function, so one that took too long is found out afterwards.
        let took = monotonic_now().zip(start).and_then(|(end, start)| end.checked_sub(start));
        match took.filter(|took| *took > limits.time) {
            Some(_) => Err(EvalError::OutOfTime { limit: limits.time }),
            None => found,
        }
    }

    fn run_on_vm(&self, vm: &mut RegoVM, input: Value, limits: Limits) -> Result<Found, EvalError> {
        vm.set_max_instructions(limits.instructions);
        vm.set_execution_timer_config(Some(timer(limits)));
        vm.set_input(input);
        let mut call = |entry: &str| vm.execute_entry_point_by_name(entry).map_err(|error| vm_error(&error, limits));
        let violations = call(&self.violation)?;
        let skips = self.skip.as_deref().map_or(Ok(Value::Undefined), call)?;
        vm.set_input(Value::Undefined);
        Ok(Found { violations, skips })
    }

    fn run_on_interpreter(&self, engine: &Engine, input: Value, limits: Limits) -> Result<Found, EvalError> {
        let mut engine = engine.clone();
        engine.set_execution_timer_config(timer(limits));
        engine.set_input(input);
        let mut call =
            |entry: &str| engine.eval_rule(entry.to_owned()).map_err(|error| interpreter_error(&error, limits));
        let violations = call(&self.violation)?;
        let skips = self.skip.as_deref().map_or(Ok(Value::Undefined), call)?;
        Ok(Found { violations, skips })
    }
}

fn timer(limits: Limits) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit: limits.time, check_interval: CHECK_INTERVAL }
}

fn vm_error(error: &VmError, limits: Limits) -> EvalError {
    match error {
        VmError::TimeLimitExceeded { .. } => EvalError::OutOfTime { limit: limits.time },
        VmError::InstructionLimitExceeded { limit, .. } => EvalError::OutOfInstructions { limit: *limit },
        other => EvalError::Rego(other.to_string()),
    }
}

fn interpreter_error(error: &anyhow::Error, limits: Limits) -> EvalError {
    match error.downcast_ref::<LimitError>() {
        Some(LimitError::TimeLimitExceeded { .. }) => EvalError::OutOfTime { limit: limits.time },
        _ => EvalError::Rego(cause_of(&format!("{error:#}"))),
    }
}

/// The virtual machines of one thread, one a program, kept because making one costs as much as a small rule.
#[derive(Debug, Default)]
pub struct Machines(HashMap<u64, RegoVM>);

impl Machines {
    fn of(&mut self, id: u64, program: &Arc<VmProgram>) -> &mut RegoVM {
        if self.0.len() >= MACHINES && !self.0.contains_key(&id) {
            self.0.clear();
        }
        self.0.entry(id).or_insert_with(|| {
            let mut vm = RegoVM::new();
            vm.set_strict_builtin_errors(false);
            vm.load_program(program.clone());
            vm
        })
    }
}
