//! End to end: a real kube-apiserver with its controllers asks Gatepost, and kubectl shows what a user sees.
//!
//! All tests of one run share a control plane, built from `e2e/cluster` with Go the first time and kept under
//! `target/e2e`; each test has its own Gatepost process and its own namespaces. Tests of what concerns a whole cluster,
//! such as the manifests, have a control plane of their own. Everything is ended by its pid, and the state removed,
//! however the run ends.
//!
//! | Variable | Means |
//! |---|---|
//! | `GATEPOST_E2E_CLUSTER=FILE` | a program built elsewhere from `e2e/cluster` |
//! | `GATEPOST_E2E_ARGOCD=FILE` | a program built elsewhere from `e2e/argocd` |
//! | `KUBEBUILDER_ASSETS=DIR` | etcd, kube-apiserver and kubectl to use instead of that program's |
//! | `GATEPOST_E2E_KEEP=1` | keep the state, with all logs, under the temporary directory |
//! | `CI=true` | no Go and no program is a failure; elsewhere the tests say so and pass |

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod support;

mod agreement;
mod audit;
mod authority;
mod browser;
mod budget;
mod certificates;
mod cluster_scope;
mod deletion;
mod doctor;
mod enforce;
mod events;
mod exemptions;
mod gitops;
mod harness;
mod identity;
mod install;
mod modes;
mod mutation;
mod oidc;
mod overlays;
mod owned;
mod pressure;
mod redaction;
mod registration;
mod reload;
mod renewal;
mod reports;
mod requests;
mod resilience;
mod scanner;
mod thousands;
mod tunnel;
mod turns;
mod updates;
mod version;
