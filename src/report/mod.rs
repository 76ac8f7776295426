//! What is said of judged objects: results, their summary, and every format they are written in.
//!
//! Pure: values in, text out. Nothing here reads files, clocks or the environment.

pub mod accept;
pub mod csv;
pub mod event;
pub mod fault;
pub mod finding;
pub mod json;
pub mod judge;
pub mod lifecycle;
pub mod mend;
pub mod message;
pub mod plan;
pub mod policy_report;
pub mod redact;
pub mod result;
pub mod sarif;
pub mod score;
pub mod suggest;
pub mod tally;
pub mod text;
pub mod way_in;
pub mod yaml;

pub use fault::Fault;
pub use json::{JsonReport, LineReport};
pub use result::{EngineVersion, Judged, Location, Resource, ScanEntry, Summary, Verdict, results};
pub use score::Score;
pub use tally::{FileReport, Tally};
pub use text::TextReport;
