//! What pages that need audits say where there is nothing to show.

use super::shell::{last_audits, progress};
use super::words::number;
use crate::scan::ApiState;
use crate::scan::problem::Problem;

/// Returns what nobody could find anything in, for pages that need audits.
#[derive(Debug, Clone)]
pub struct Nothing {
    /// Why in a few words.
    pub title: String,
    /// What to do.
    pub text: String,
    /// What to run.
    pub command: String,
    /// How far the first audit has come: objects read, kinds done, kinds.
    pub progress: Option<(String, usize, usize)>,
}

impl Nothing {
    /// Says that no audit has got to its end.
    pub fn stopped() -> Self {
        Self {
            title: "No audit has gone through yet".to_owned(),
            text: "Those that began ended before their time, so nobody knows what they had not come to.".to_owned(),
            command: String::new(),
            progress: None,
        }
    }
}

/// Returns why there is nothing to show, where there is not.
pub async fn nothing_yet(state: &ApiState) -> Result<Option<Nothing>, Problem> {
    let Some(kept) = &state.kept else { return Ok(Some(no_store(state))) };
    if last_audits(kept, 5).await?.iter().any(|audit| audit.finished.is_some()) {
        return Ok(None);
    }
    if kept.auditor.is_none() {
        return Ok(Some(no_store(state)));
    }
    Ok(Some(Nothing {
        title: "No audit has finished yet".to_owned(),
        text: "The first one is under way. This page shows what it found as soon as it ends.".to_owned(),
        command: String::new(),
        progress: progress(kept).map(|progress| (number(progress.objects), progress.kinds_done, progress.kinds)),
    }))
}

/// Returns why nothing is audited, and what to run.
pub fn no_store(state: &ApiState) -> Nothing {
    let has_cluster = state.app.has_cluster();
    let text = if has_cluster {
        "This Gatepost judges requests but does not look over what stands in the cluster. Tell it how often to:"
    } else {
        "This Gatepost has no cluster, so there is nothing to audit. Give it one, or a folder of manifests in its place:"
    };
    Nothing {
        title: "Nothing is audited here".to_owned(),
        text: text.to_owned(),
        command: if has_cluster {
            "gatepost serve --audit-interval 30m".to_owned()
        } else {
            "gatepost serve --kubeconfig FILE\ngatepost serve --manifests DIR".to_owned()
        },
        progress: None,
    }
}
