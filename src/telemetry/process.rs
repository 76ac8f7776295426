//! What the kernel says of this process, under the names that Prometheus' own clients use. Linux only.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks in a second of `/proc`: `USER_HZ`, which is 100 on every architecture that Linux keeps.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self` whenever metrics are read; what cannot be read is left out.
#[derive(Debug)]
pub struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut put = |name: &str, help: &str, metric: Option<&dyn Encode>| match metric {
            Some(metric) => metric.put(&mut encoder, name, help),
            None => Ok(()),
        };
        let text = fs::read_to_string("/proc/self/stat").ok();
        let times = text.as_deref().and_then(Stat::parse);
        let cpu = times.as_ref().map(|stat| ConstCounter::new(stat.cpu_seconds));
        put("process_cpu_seconds", "CPU time of the process", cpu.as_ref().map(as_encode))?;
        let threads = times.as_ref().map(|stat| ConstGauge::new(stat.threads));
        put("process_threads", "Threads of the process", threads.as_ref().map(as_encode))?;
        let start = times.as_ref().and_then(|stat| Some(ConstGauge::new(boot_time()? + stat.started_after_seconds)));
        let help = "Start of the process in seconds since 1970";
        put("process_start_time_seconds", help, start.as_ref().map(as_encode))?;
        let memory = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = kilobytes(&memory, "VmRSS:").map(ConstGauge::new);
        put("process_resident_memory_bytes", "Memory of the process that is in RAM", resident.as_ref().map(as_encode))?;
        let size = kilobytes(&memory, "VmSize:").map(ConstGauge::new);
        put("process_virtual_memory_bytes", "Address space of the process", size.as_ref().map(as_encode))?;
        let open = open_files().map(ConstGauge::new);
        put("process_open_fds", "Open file descriptors", open.as_ref().map(as_encode))?;
        let most = fs::read_to_string("/proc/self/limits").ok().and_then(|limits| most_files(&limits));
        let most = most.map(ConstGauge::new);
        put("process_max_fds", "File descriptors that may be open", most.as_ref().map(as_encode))
    }
}

/// A metric whatever its type of number.
trait Encode {
    fn put(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result;
}

impl<M: EncodeMetric> Encode for M {
    fn put(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result {
        self.encode(encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}

fn as_encode<M: EncodeMetric>(metric: &M) -> &dyn Encode {
    metric
}

/// What proc(5) says under `/proc/[pid]/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: i64,
    started_after_seconds: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold spaces and parentheses.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |number: usize| -> Option<f64> {
            Some(fields.get(number.checked_sub(3)?)?.parse::<f64>().ok()? / TICKS_PER_SECOND)
        };
        Some(Self {
            cpu_seconds: seconds(14)? + seconds(15)?,
            threads: fields.get(17)?.parse().ok()?,
            started_after_seconds: seconds(22)?,
        })
    }
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn kilobytes(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

fn open_files() -> Option<i64> {
    // One of them is the directory that is being read.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    i64::try_from(count).ok()
}

/// Returns the soft limit; none where there is no limit.
fn most_files(limits: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn reads_what_proc_says() {
        let stat =
            "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 17 0 12345 1000 200 18446744073709551615";
        let expected = Stat { cpu_seconds: 3.0, threads: 17, started_after_seconds: 123.45 };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!((Stat::parse(""), Stat::parse("42 (a) S 1")), (None, None));
        let status = "Name:\tgatepost\nVmSize:\t  2048 kB\nVmRSS:\t     12 kB\n";
        assert_eq!((kilobytes(status, "VmRSS:"), kilobytes(status, "VmHWM:")), (Some(12_288), None));
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(most_files(limits), Some(1024));
        assert_eq!(most_files("Max open files            unlimited            unlimited            files\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn shows_this_process_under_the_names_that_are_known() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = encoded.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is missing in\n{encoded}")).parse().unwrap()
        };
        for name in ["resident_memory_bytes", "virtual_memory_bytes", "open_fds", "threads", "start_time_seconds"] {
            assert!(value(&format!("process_{name}")) > 0.0, "{name}\n{encoded}");
        }
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(value("process_start_time_seconds") < now + 1.0);
    }
}
