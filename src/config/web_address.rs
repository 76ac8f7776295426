//! The address by which people reach the pages.

use std::fmt;
use std::str::FromStr;

use super::notifications::check_url;

/// The URL of the dashboard's first page, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress(String);

impl FromStr for WebAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || "is no URL such as https://gatepost.example.com".to_owned();
        let uri = check_url(text).map_err(|_| fault())?;
        if uri.query().is_some() {
            return Err(fault());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl WebAddress {
    /// Returns its path, without a slash at its end.
    pub fn path(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
    }

    /// Returns its scheme, host and port as browsers write an origin: without the port that the scheme implies.
    pub fn origin(&self) -> String {
        let whole = self.0.strip_suffix(self.path()).unwrap_or(&self.0).to_ascii_lowercase();
        let implied = if whole.starts_with("https:") { ":443" } else { ":80" };
        whole.strip_suffix(implied).unwrap_or(&whole).to_owned()
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::WebAddress;

    #[test]
    fn reads_where_pages_are() {
        for (text, expected) in [
            ("https://gatepost.example.com/", Some("https://gatepost.example.com")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("https://tools.example.com/gatepost", Some("https://tools.example.com/gatepost")),
            ("https://h/?a=b", None),
            ("https://jane@h", None),
            ("gatepost.example.com", None),
        ] {
            assert_eq!(text.parse::<WebAddress>().ok().map(|at| at.to_string()).as_deref(), expected, "{text}");
        }
    }
}
