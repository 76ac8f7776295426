//! What the tests stand on: the control plane, Gatepost beside it, kubectl, and objects to send.

pub mod alone;
pub mod argocd;
pub mod clients;
pub mod control_plane;
pub mod decisions;
pub mod delivered;
pub mod gatepost;
pub mod generate;
pub mod go;
pub mod http;
pub mod installed;
pub mod kubectl;
pub mod load;
pub mod manifests;
pub mod mount;
pub mod objects;
pub mod programs;
pub mod registered;
pub mod repository;
pub mod rights;
pub mod serving;
pub mod skip;
pub mod wait;
pub mod watchdog;

pub use gatepost::{Gatepost, Namespace, Options};
pub use kubectl::{apply, create, kubectl, patch, replace};
