//! From an AdmissionReview to the engine's input, and from judgements to the answer.
//!
//! Pure: values in, values out; the clock is passed in, and evaluation is a function of the caller's.

pub mod authority;
pub mod decide;
pub mod decision;
pub mod envelope;
pub mod exempt;
pub mod fixture;
pub mod foresee;
pub mod mutate;
pub mod owned;
pub mod patch;
pub mod rehearse;
pub mod request;
pub mod speak;
pub mod unchanged;

#[cfg(test)]
mod tests;

pub use authority::{Ground, NamespaceWrite, Refusal, Ruling};
pub use decide::{Action, Claim, Told, What, claims};
pub use decision::{Decision, Reason};
pub use envelope::{Envelope, EnvelopeError};
pub use exempt::{Excused, Excuses, Exempted};
pub use mutate::Mutation;
pub use owned::Controllers;
pub use request::Reviewer;
