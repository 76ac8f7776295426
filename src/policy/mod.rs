//! What is asked of objects, and where: rules, policies, modes.
//!
//! Pure: values in, values out. Nothing here reads files, clocks or the network.

pub mod authority;
pub mod break_glass;
pub mod embedded;
pub mod enforcement;
pub mod exemption;
pub mod group;
pub mod kinds;
pub mod kubernetes_version;
pub mod metadata;
pub mod modes;
pub mod mutation;
pub mod namespace;
pub mod notices;
pub mod rule;
pub mod set;
mod suggest;
pub mod weakening;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Requester, Standing, Verb};
pub use break_glass::{BreakGlass, BreakGlassFault};
pub use exemption::{Exemption, ExemptionNote, ExemptionTerms, Exemptions};
pub use group::{Group, GroupTerms, Groups};
pub use kinds::{GroupVersionKind, KindSelector};
pub use kubernetes_version::KubernetesVersion;
pub use metadata::{AtMost, Dialect, Effort, Operation, Origin, Severity};
pub use modes::{Grant, GrantOrigin, Mode, Modes, Scope};
pub use namespace::{NamespaceMeta, Selector};
pub use rule::{Fixture, Provenance, Rule, RuleId, Source};
pub use set::{OnError, PolicySpec};
pub use suggest::{nearest, with_nearest_field};
pub use weakening::{ModeChange, Part, PolicyEntries};
