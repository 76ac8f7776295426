//! One Gatepost process as its health listener shows it: metrics, readiness, clock.

use std::collections::BTreeMap;

use http::Request;
use http_body_util::BodyExt as _;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use kube::{Client, Config};

/// Largest answer that is read, in bytes.
const MOST_BYTES: usize = 4 << 20;

/// What a clock said, and what this machine's said at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What it said.
    pub said: Timestamp,
    /// What this machine's clock said when the answer came.
    pub here: Timestamp,
}

impl Clock {
    /// Returns how far it is ahead of this machine's.
    pub fn ahead(self) -> SignedDuration {
        self.here.duration_until(self.said)
    }
}

/// Where a process can be asked.
#[derive(Clone)]
pub struct Address {
    /// What people call it: a Pod's name, or an address.
    pub name: String,
    client: Client,
    prefix: String,
}

impl Address {
    /// Names a process by the address of its health listener, for example `127.0.0.1:9090`.
    pub fn direct(address: &str) -> Result<Self, String> {
        let uri = format!("http://{address}").parse().map_err(|_| format!("\"{address}\" is no address"))?;
        let client = Client::try_from(Config::new(uri)).map_err(|error| error.to_string())?;
        Ok(Self { name: address.to_owned(), client, prefix: String::new() })
    }

    /// Names a Pod, which is asked through the API server's proxy.
    pub fn pod(client: Client, namespace: &str, pod: &str) -> Self {
        let prefix = format!("/api/v1/namespaces/{namespace}/pods/{pod}:9090/proxy");
        Self { name: pod.to_owned(), client, prefix }
    }

    /// Asks the process for all that it shows.
    pub async fn ask(&self) -> Result<Process, String> {
        let (metrics, clock) = self.get("/metrics").await?;
        // A process that is not ready says so with a status of its own, and with the same text.
        let (readiness, _) = self.get("/readyz?verbose").await?;
        Ok(Process { samples: samples(&metrics), readiness, clock })
    }

    async fn get(&self, path: &str) -> Result<(String, Option<Clock>), String> {
        get(&self.client, &format!("{}{path}", self.prefix)).await
    }
}

/// Gets a text and the answering server's clock.
pub async fn get(client: &Client, path: &str) -> Result<(String, Option<Clock>), String> {
    let request = Request::get(path).body(Body::empty()).map_err(|error| error.to_string())?;
    let response = client.send(request).await.map_err(|error| error.to_string())?;
    let here = Timestamp::now();
    let status = response.status();
    let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let clock = date.and_then(|date| rfc2822::parse(date).ok());
    let clock = clock.map(|date| Clock { said: date.timestamp(), here });
    let body = http_body_util::Limited::new(response.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    let is_answer = status.is_success() || (path.contains("/readyz") && text.contains("readyz check"));
    if is_answer { Ok((text, clock)) } else { Err(format!("{status}: {}", text.trim())) }
}

/// What a process shows of itself.
#[derive(Debug, Clone, Default)]
pub struct Process {
    samples: BTreeMap<String, f64>,
    /// The text of `/readyz?verbose`.
    pub readiness: String,
    /// What its clock said.
    pub clock: Option<Clock>,
}

impl Process {
    /// Returns the sample of exactly this name and these labels, for example `gatepost_open_connections`.
    pub fn sample(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// Returns the sum over all series of a name; none when there is no such series.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut of_name = self.samples.iter().filter(|(series, _)| is_of(series, name)).map(|(_, value)| value);
        let first = of_name.next()?;
        Some(of_name.fold(*first, |sum, value| sum + value))
    }

    /// Returns the newest version of a Namespace that the process has seen; none without a cluster.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "resource versions are small integers")]
    pub fn namespace_version(&self) -> Option<u64> {
        self.sample("gatepost_namespace_watch_resource_version").filter(|version| *version > 0.0).map(|v| v as u64)
    }

    /// Returns whether everything holds that must hold before requests may come.
    pub fn is_ready(&self) -> bool {
        self.readiness.contains("readyz check passed")
    }
}

fn is_of(series: &str, name: &str) -> bool {
    series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
}

#[cfg(test)]
impl Process {
    /// Builds what a process would show.
    pub fn showing(metrics: &str, readiness: &str, clock: Clock) -> Self {
        Self { samples: samples(metrics), readiness: readiness.to_owned(), clock: Some(clock) }
    }
}

/// Reads the samples of an OpenMetrics text, by name and labels as they stand there.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        Some((series.to_owned(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples_by_name_and_labels() {
        let text = "# HELP a_total x\na_total{b=\"c d\"} 2\na_total{b=\"e\"} 3\na_total_more 9\nplain 1.5\n# EOF\n";
        let process = Process { samples: samples(text), ..Process::default() };
        assert_eq!(process.sample("plain"), Some(1.5));
        assert_eq!(process.sample("a_total{b=\"c d\"}"), Some(2.0));
        assert_eq!(process.sum("a_total"), Some(5.0));
        assert_eq!(process.sum("b_total"), None);
    }
}
