//! One engine for every place: compiles rules, works out what they share, evaluates them within a budget.
//!
//! Pure: no sockets, files or clocks; time left is asked of the caller.

pub mod bundle;
pub mod catalogue;
pub mod compiled;
pub mod image;
pub mod json;
pub mod judge;
pub mod kept;
pub mod lint;
pub mod parameters;
pub mod pointer;
pub mod reads;
pub mod rego;
pub mod repeat;
pub mod review;
pub mod template;
pub mod trial;
pub mod value;
pub mod weight;

#[cfg(test)]
mod tests;

pub use bundle::{Bundle, Check, ResolvedPolicy};
pub use catalogue::{Catalogue, CatalogueError, Fault};
pub use compiled::{BackendChoice, CompiledRule, ProgramCache};
pub use judge::{Budget, Judgement, Outcome, Skip, Violation, judge, not_judged};
pub use rego::{Backend, EvalError, Limits, Machines, Value};
pub use repeat::{Difference, Repeat, Repeated};
pub use review::{Input, Review};
pub use trial::{Trial, Verdict};
pub use value::{Fields, Path, Segment};
