//! Who is told how the store fares.

use std::time::Duration;

use super::{StoreError, Stored};

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It only reads.
    Read,
    /// It writes.
    Write,
}

/// Somebody who is told of every transaction.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// Takes note of one: how long it took, waiting included, and whether it failed.
    fn observe(&self, operation: Operation, took: Duration, is_failed: bool);
}

/// Nobody.
#[derive(Debug)]
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn observe(&self, _: Operation, _: Duration, _: bool) {}
}

/// Returns whether the store is at fault; a cursor that it never gave is the caller's.
pub(super) fn is_failed<T>(answer: &Stored<T>) -> bool {
    !matches!(answer, Ok(_) | Err(StoreError::Cursor))
}
