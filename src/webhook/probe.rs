//! Answering the probes by which a Gatepost finds out whether the API server reaches it.

use crate::admission::{Envelope, speak};
use crate::cluster::registration::probe::denial;
use crate::cluster::registration::wanted::PROBE_LABEL;
use crate::engine::Fields as _;
use crate::policy::{GroupVersionKind, Operation};

/// Returns the denial of a probe with its number; none for any other request.
///
/// It is answered at once, however many requests wait: the way here is asked about, not how busy it is.
pub fn answer(envelope: &Envelope, own_namespace: &str) -> Option<Vec<u8>> {
    let is_written = matches!(envelope.operation(), Operation::Create | Operation::Update);
    let is_config_map = envelope.kind == GroupVersionKind::of("v1", "ConfigMap");
    if !(is_written && is_config_map && envelope.dry_run && envelope.namespace == own_namespace) {
        return None;
    }
    let object = envelope.object().ok()?;
    let number = object.field("metadata")?.field("labels")?.text(PROBE_LABEL)?;
    tracing::debug!(uid = %envelope.uid, "probe arrived");
    Some(speak::turned_away(&envelope.uid, &denial(number)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::answer;
    use crate::admission::Envelope;

    fn review(change: impl Fn(&mut Value)) -> Envelope {
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": "CREATE", "dryRun": true, "namespace": "gatepost",
                "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
                "object": {"metadata": {"name": "gatepost-probe", "labels": {"gatepost.dev/probe": "4711"}}},
            },
        });
        change(&mut review["request"]);
        Envelope::decode(review.to_string().as_bytes(), None).unwrap()
    }

    #[test]
    fn a_probe_is_denied_with_its_number() {
        let answer: Value = serde_json::from_slice(&answer(&review(|_| ()), "gatepost").unwrap()).unwrap();
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["uid"], "u");
        assert_eq!(answer["response"]["status"]["message"], "gatepost probe 4711 arrived");
    }

    #[test]
    fn nothing_else_is_a_probe() {
        let table: [fn(&mut Value); 5] = [
            |request| request["dryRun"] = json!(false),
            |request| request["namespace"] = json!("shop"),
            |request| request["operation"] = json!("DELETE"),
            |request| request["kind"]["kind"] = json!("Secret"),
            |request| request["object"]["metadata"]["labels"] = json!({"app": "web"}),
        ];
        for (index, change) in table.into_iter().enumerate() {
            assert!(answer(&review(change), "gatepost").is_none(), "{index}");
        }
    }
}
