//! Alerts for Prometheus' Alertmanager, API v2
//! (<https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};

use super::notice::{Notice, by_severity};
use crate::config::notifications::Event;
use crate::policy::Severity;

/// Where alerts are posted to.
pub(super) const PATH: &str = "/api/v2/alerts";

/// How long an alert stands that nothing ends: what happened once is seen for so long.
const STANDS: SignedDuration = SignedDuration::from_hours(4);

/// How long one stands that something ends: a part that fails.
const STANDS_UNTIL_ENDED: SignedDuration = SignedDuration::from_hours(24);

/// Returns the alerts. Labels tell alerts apart, so that none of them is a number or a time.
pub(super) fn body(notice: &Notice) -> Vec<u8> {
    let alerts = match notice.event {
        // Each part ends by itself.
        Event::Components => notice.items.iter().map(|item| alert(notice, Some(&item.text))).collect(),
        _ => vec![alert(notice, None)],
    };
    Json::from(alerts).to_string().into_bytes()
}

fn alert(notice: &Notice, part: Option<&str>) -> Json {
    let mut labels = Map::new();
    labels.insert("alertname".into(), name(notice.event).into());
    labels.insert("severity".into(), severity(notice).into());
    let mut label = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            labels.insert(name.into(), value.into());
        }
    };
    label("cluster", Some(&notice.cluster));
    label("recipient", notice.recipient.as_deref());
    label("owner", notice.owner.as_deref());
    label("component", part.and_then(|text| text.split(':').next()));
    if let [only] = notice.namespaces.as_slice() {
        label("namespace", Some(only));
    }
    let stands = if notice.event == Event::Components { STANDS_UNTIL_ENDED } else { STANDS };
    let ends = if notice.resolved { notice.time } else { later(notice.time, stands) };
    let description = part.map_or_else(|| notice.plain(), str::to_owned);
    let mut annotations = json!({"summary": notice.title, "description": description});
    if let Some(annotations) = annotations.as_object_mut().filter(|_| !notice.severities.is_empty()) {
        annotations.insert("findings".into(), by_severity(&notice.severities).into());
    }
    let mut alert = json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": notice.time.to_string(),
        "endsAt": ends.to_string(),
    });
    if let (Some(url), Some(alert)) = (&notice.url, alert.as_object_mut()) {
        alert.insert("generatorURL".into(), url.as_str().into());
    }
    alert
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(time)
}

fn name(event: Event) -> &'static str {
    match event {
        Event::Findings => "GatepostNewFindings",
        Event::Denials => "GatepostDenials",
        Event::Audits => "GatepostAuditEnded",
        Event::Components => "GatepostComponentFailing",
        Event::Exemptions => "GatepostExemptionsEnding",
        Event::Enforcement => "GatepostEnforcementBegins",
        Event::Digest => "GatepostDigest",
        Event::Test => "GatepostTest",
    }
}

/// Returns the severity by the words that alerts usually have.
fn severity(notice: &Notice) -> &'static str {
    match (notice.event, notice.gravest()) {
        (Event::Findings, Some(Severity::Critical)) => "critical",
        (Event::Components, _) | (Event::Findings, Some(Severity::High)) => "warning",
        _ => "info",
    }
}
