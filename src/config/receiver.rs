//! Where reports go: the address of a scan endpoint.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use super::auth::is_private;

/// The path of the endpoint that takes reports.
const REPORTS: &str = "/api/v1/reports";

/// The URL of a Gatepost that takes reports, without the path of its API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    text: String,
    reports: Uri,
}

impl Receiver {
    /// Returns where reports are sent to.
    pub fn reports(&self) -> &Uri {
        &self.reports
    }

    /// Returns where a path of its API is, such as `/api/v1/audits`; none where that is no path.
    pub fn at(&self, path: &str) -> Option<Uri> {
        format!("{}{path}", self.text.trim_end_matches('/')).parse().ok()
    }

    /// Returns whether nobody on the way can read what is sent: it is encrypted, or stays on this machine.
    pub fn is_private(&self) -> bool {
        is_private(&self.reports)
    }
}

impl FromStr for Receiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || "is no URL such as https://gatepost-scanner.gatepost:443".to_owned();
        let uri: Uri = text.parse().map_err(|_| fault())?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let names_host = uri.host().is_some_and(|host| !host.is_empty());
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !is_http || !names_host || has_user || uri.query().is_some() {
            return Err(fault());
        }
        let reports = format!("{}{REPORTS}", text.trim_end_matches('/')).parse().map_err(|_| fault())?;
        Ok(Self { text: text.to_owned(), reports })
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::Receiver;

    #[test]
    fn reads_where_reports_go() {
        for (text, expected) in [
            ("https://gatepost-scanner.gatepost:443", Some("https://gatepost-scanner.gatepost:443/api/v1/reports")),
            ("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080/api/v1/reports")),
            ("https://tools/gatepost/", Some("https://tools/gatepost/api/v1/reports")),
            ("gatepost:443", None),
            ("ftp://gatepost", None),
            ("https://jane:secret@gatepost", None),
            ("https://gatepost/?a=b", None),
            ("/gatepost", None),
        ] {
            let found = text.parse::<Receiver>().ok().map(|receiver| receiver.reports().to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn knows_what_others_could_read() {
        for (text, expected) in [
            ("https://gatepost", true),
            ("http://gatepost", false),
            ("http://10.0.0.1:8080", false),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080", true),
        ] {
            assert_eq!(text.parse::<Receiver>().unwrap().is_private(), expected, "{text}");
        }
    }
}
