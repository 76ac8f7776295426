//! What the tests stand on: the control plane, Gatepost beside it, kubectl, and objects to send.

pub mod control_plane;
pub mod decisions;
pub mod gatepost;
pub mod generate;
pub mod http;
pub mod kubectl;
pub mod load;
pub mod objects;
pub mod programs;
pub mod wait;
pub mod watchdog;

pub use gatepost::{Gatepost, Namespace, Options};
pub use kubectl::{apply, create, kubectl, patch, replace};
