//! What audits find as objects in the cluster, with the definitions that are around, written with the scanner's rights.

use serde_json::{Value, json};

use crate::support::control_plane::ControlPlane;
use crate::support::kubectl::{Answer, Kubectl, apply, create, kubectl, patch};
use crate::support::objects::{CONTAINER, Object, container, deployment, namespace, privileged, read, untagged};
use crate::support::serving::Serving;
use crate::support::wait::eventually;
use crate::support::{http, manifests};

const OPEN_REPORTS: &str = include_str!("fixtures/openreports.yaml");
const WG_POLICY: &str = include_str!("fixtures/wgpolicyk8s.yaml");
/// More containers than a Deployment has; each has an image without a tag.
const CONTAINERS: usize = 60;
/// Deployments that have so many.
const LARGE: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// A cluster, and a scanner in it that writes reports.
struct Reported {
    control_plane: ControlPlane,
    scanner: Serving,
    plural: &'static str,
}

impl Reported {
    fn start(name: &str, setting: &str, plural: &'static str) -> Option<Self> {
        let control_plane = ControlPlane::own(name)?;
        let there = control_plane.kubectl();
        there.accepts(kubectl("apply --server-side -f -").reading(&manifests::objects()));
        there.accepts(create(&namespace("shop").with("/metadata/labels/gatepost.dev~1enforce", "recommended")));
        there.in_namespace("shop").accepts(apply(&untagged("web")));
        let mut scanner = manifests::scanner(&format!("{name}-scanner"), &control_plane);
        scanner.with(["--audit-interval", "2s", "--policy-reports", setting]);
        Some(Self { control_plane, scanner, plural })
    }

    fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    fn defines(&self, definitions: &str) {
        self.kubectl().accepts(kubectl("create -f -").reading(&read(definitions)));
    }

    /// Returns the reports of a namespace, by name.
    fn reports(&self, namespace: &str) -> Vec<Object> {
        let there = self.kubectl().in_namespace(namespace);
        let list = kubectl(&format!("get {} -l app.kubernetes.io/managed-by=gatepost -o json", self.plural));
        items(&there.run(list))
    }

    /// Returns what stands everywhere: kind, namespace, name and version.
    fn versions(&self) -> Vec<String> {
        let all = kubectl(&format!("get {0},cluster{0} -A -o json", self.plural));
        let of = |report: Object| {
            let part = |pointer: &str| report.text(pointer).to_owned();
            [part("/kind"), part("/metadata/namespace"), part("/metadata/name"), part("/metadata/resourceVersion")]
                .join(" ")
        };
        items(&self.kubectl().accepts(all)).into_iter().map(of).collect()
    }

    fn counted(&self, outcome: &str) -> Option<f64> {
        self.scanner.metric(&format!("gatepost_policy_reports_total{{outcome=\"{outcome}\"}}"))
    }

    fn items(&self, path: &str) -> Vec<Value> {
        let address = self.scanner.http().expect("an address");
        let answer = http::body_of(&address, path).expect("an answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["items"].as_array().cloned().unwrap_or_else(|| panic!("{answer}"))
    }

    /// Waits until one more audit has been written down.
    fn audited_once_more(&self) {
        let before = self.scanner.logged("policy reports were written").len();
        eventually("the reports of another audit", || {
            // The one under way may have begun before.
            (self.scanner.logged("policy reports were written").len() >= before + 2).then_some(())
        });
    }
}

/// Returns the objects of a list that kubectl printed; none where it printed something else.
fn items(answer: &Answer) -> Vec<Object> {
    let list: Value = serde_json::from_str(&answer.stdout).unwrap_or_default();
    list["items"].as_array().into_iter().flatten().cloned().map(Object).collect()
}

/// Returns the results of reports that are about an object.
fn results(reports: &[Object], name: &str) -> Vec<Value> {
    let all = reports.iter().flat_map(|report| report.0["results"].as_array().cloned().unwrap_or_default());
    all.filter(|result| name.is_empty() || result["resources"][0]["name"] == name).collect()
}

fn sum(reports: &[Object], field: &str) -> u64 {
    reports.iter().map(|report| report.0["summary"][field].as_u64().expect("a number")).sum()
}

#[test]
fn open_reports_tell_what_audits_find_and_change_only_with_it() {
    let Some(mut reported) = Reported::start("openreports", "openreports", "reports.openreports.io") else { return };
    reported.scanner.launch();
    let missing = "the cluster does not know Report and ClusterReport of openreports.io/v1alpha1";
    eventually("a word about definitions that are not there", || {
        reported.scanner.readiness().contains(missing).then_some(())
    });
    assert_eq!(reported.scanner.metric("gatepost_policy_reports_served"), Some(0.0));
    reported.defines(OPEN_REPORTS);
    let report = eventually("a report of the namespace", || reported.reports("shop").into_iter().next());
    eventually("no more such word", || (!reported.scanner.readiness().contains("[!]reports")).then_some(()));
    assert_eq!(reported.scanner.metric("gatepost_policy_reports_served"), Some(1.0));
    let warned = reported.scanner.logged("policy reports are not all written; each audit tries again");
    assert_eq!(warned.len(), 1, "told once, however many audits there were: {warned:?}");

    assert_eq!(
        (report.text("/kind"), report.text("/metadata/name"), report.text("/source")),
        ("Report", "gatepost", "gatepost")
    );
    let found = reported.items("/api/v1/findings?namespace=shop&rule=container-image-tag");
    let reports = [report];
    let told = results(&reports, "web");
    let told = told.iter().find(|result| result["rule"] == "container-image-tag").expect("the result");
    assert_eq!(
        (&told["result"], &told["severity"], &told["policy"]),
        (&"fail".into(), &"high".into(), &"recommended".into())
    );
    assert_eq!((&told["message"], &told["properties"]["resultID"]), (&found[0]["message"], &found[0]["id"]));
    assert_eq!(told["resources"][0]["kind"], "Deployment");
    let all = reported.items("/api/v1/findings?namespace=shop&limit=1000");
    assert_eq!(sum(&reports, "fail") + sum(&reports, "warn"), all.len() as u64);
    assert!(sum(&reports, "pass") > 0);

    reported.audited_once_more();
    let (versions, written) = (reported.versions(), reported.counted("written"));
    assert!(versions.iter().any(|version| version.starts_with("ClusterReport  gatepost ")), "{versions:?}");
    reported.audited_once_more();
    assert_eq!(reported.versions(), versions, "nothing changed, so nothing is written");
    assert_eq!(reported.counted("written"), written);
    assert!(reported.counted("unchanged") > Some(0.0));

    let there = reported.kubectl().in_namespace("shop");
    there.accepts(patch("reports.openreports.io/gatepost", &json!({"results": []})));
    eventually("what somebody changed to be put right", || {
        (!results(&reported.reports("shop"), "web").is_empty()).then_some(())
    });
    there.accepts(apply(&deployment("web")));
    eventually("what was mended to go", || {
        let left = results(&reported.reports("shop"), "web");
        (!left.iter().any(|result| result["rule"] == "container-image-tag")).then_some(())
    });
    assert_eq!(reported.counted("failed"), Some(0.0));
}

#[test]
fn policy_reports_are_shared_out_and_taken_away() {
    let Some(mut reported) = Reported::start("wgpolicyk8s", "wgpolicyk8s", "policyreports.wgpolicyk8s.io") else {
        return;
    };
    reported.defines(WG_POLICY);
    let there = reported.kubectl().in_namespace("shop");
    there.accepts(apply(&privileged("grave")));
    for name in LARGE {
        let many = (0..CONTAINERS).fold(untagged(name), |object, number| {
            let mut bare = container(&format!("c{number}"));
            bare["image"] = "nginx".into();
            object.with(&format!("{}/{number}", CONTAINER.trim_end_matches("/0")), bare)
        });
        there.accepts(apply(&many));
    }
    reported.scanner.launch();
    let reports = eventually("several reports", || Some(reported.reports("shop")).filter(|reports| reports.len() > 1));
    let facets = reported.items("/api/v1/resources?namespace=shop");
    let found: u64 = facets
        .iter()
        .flat_map(|resource| resource["open"].as_object().expect("counts").values())
        .map(|count| count.as_u64().expect("a number"))
        .sum();
    assert!(found > 500, "{found}");
    assert_eq!(results(&reports, "").len() as u64, found);
    assert_eq!(sum(&reports, "fail") + sum(&reports, "warn") + sum(&reports, "error"), found);
    let largest = reports.iter().map(|report| report.to_string().len()).max().expect("reports");
    assert!(largest < 1_000_000, "{largest}");
    assert!(reports.iter().all(|report| report.0["results"].as_array().is_some_and(|results| results.len() <= 500)));

    // This definition takes three severities only.
    let told = results(&reports, "grave");
    let told = told.iter().find(|result| result["rule"] == "container-privileged").expect("the result");
    assert_eq!((&told["severity"], &told["properties"]["severity"]), (&"high".into(), &"critical".into()));
    assert!(reported.versions().iter().any(|version| version.starts_with("ClusterPolicyReport  gatepost ")));
    assert_eq!(reported.counted("failed"), Some(0.0));

    there.accepts(kubectl(&format!("delete deployment grave {}", LARGE.join(" "))));
    eventually("reports that are not needed to go", || {
        let left = reported.reports("shop");
        let names: Vec<&str> = left.iter().map(|report| report.text("/metadata/name")).collect();
        (names == ["gatepost"]).then_some(())
    });
    reported.kubectl().accepts(kubectl("delete namespace shop --wait=false"));
    eventually("nothing of a namespace that is gone", || {
        (!reported.versions().iter().any(|version| version.contains(" shop "))).then_some(())
    });
    assert_eq!(reported.counted("failed"), Some(0.0));
}
