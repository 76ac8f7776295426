//! The rules and policies that ship, embedded by the build script.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
