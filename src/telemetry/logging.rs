//! Logs, on standard error: JSON lines for machines, or text for people.

use std::io::{self, IsTerminal as _};
use std::panic::{self, PanicHookInfo};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::{MakeWriter, fmt};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::log_queue::{LogGuard, LogQueue};
use crate::config::LogFormat;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a level, nor directives such as `info,gatepost=debug`.
    #[error("log level \"{directives}\": {cause}")]
    Level {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        cause: ParseError,
    },
    /// The process has a logger already.
    #[error("logging: {0}")]
    Taken(#[from] TryInitError),
    /// The thread that writes cannot be started.
    #[error("logging: {0}")]
    Thread(#[from] io::Error),
}

/// Starts logging for the whole process, panics included; what it returns is kept to the end, for the last lines.
///
/// `level` is a level or a list of directives as `tracing_subscriber::EnvFilter` reads them: `info,gatepost=debug`.
pub fn init(format: LogFormat, level: &str) -> Result<LogGuard, LogError> {
    let filter = filter(level).map_err(|cause| LogError::Level { directives: level.into(), cause })?;
    let (queue, guard) = LogQueue::start(io::stderr())?;
    subscriber(format, filter, queue, io::stderr().is_terminal()).try_init()?;
    panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

/// What brings the store's schema up names each step, and the file of its own source: that is for those who ask for it.
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("refinery_core=warn,{level}"))
}

/// Nothing here writes of its own failures to standard error: that panics when it is closed.
fn subscriber<W>(format: LogFormat, filter: EnvFilter, writer: W, ansi: bool) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi).log_internal_errors(false);
    match format {
        LogFormat::Json => {
            Box::new(builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish())
        }
        LogFormat::Pretty => Box::new(builder.with_target(false).finish()),
    }
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string);
    tracing::error!(location, panic = info.payload_as_str(), "panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter(level).unwrap(), move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("request", secret = "span fields are not repeated").entered();
            tracing::info!(uid = "a-b", allowed = true, "decided");
            tracing::debug!("details");
            tracing::info!(target: "refinery_core::traits", "step by step");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_flat() {
        let text = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        for key in ["timestamp", "level", "message", "target", "uid", "allowed"] {
            assert!(keys.contains(&key), "{key} is missing: {text}");
        }
        assert_eq!((keys.len(), &line["message"], &line["allowed"]), (6, &"decided".into(), &true.into()));
    }

    #[test]
    fn levels_are_directives() {
        assert_eq!(logged(LogFormat::Pretty, "off"), "");
        assert!(logged(LogFormat::Pretty, "gatepost=debug").contains("details"));
        assert!(!logged(LogFormat::Pretty, "info").contains("step by step"));
        assert!(logged(LogFormat::Pretty, "info,refinery_core=info").contains("step by step"));
        assert!(filter("gatepost=loud").is_err());
    }
}
