//! Addresses of the dashboard's pages, as people reach them.

use std::fmt::Write as _;

/// Makes links; none where nobody has said how people reach the pages.
#[derive(Debug, Clone, Default)]
pub struct Links {
    base: Option<String>,
}

impl Links {
    /// Makes links that begin with an address without a slash at its end.
    pub fn new(base: Option<String>) -> Self {
        Self { base }
    }

    /// Returns the page of one finding.
    pub fn finding(&self, id: &str) -> Option<String> {
        self.page(&format!("/findings/{}", encoded(id)))
    }

    /// Returns the page of open findings, of some namespaces where that is few enough for an address.
    pub fn findings(&self, namespaces: &[String]) -> Option<String> {
        if namespaces.is_empty() || namespaces.len() > 20 {
            return self.page("/findings");
        }
        let names: Vec<String> = namespaces.iter().map(|name| encoded(name)).collect();
        self.page(&format!("/findings?namespace={}", names.join(",")))
    }

    /// Returns the page of open findings of a rule.
    pub fn rule(&self, rule: &str) -> Option<String> {
        self.page(&format!("/findings?rule={}", encoded(rule)))
    }

    /// Returns the page of a namespace.
    pub fn namespace(&self, name: &str) -> Option<String> {
        if name.is_empty() { self.page("/namespaces") } else { self.page(&format!("/namespaces/{}", encoded(name))) }
    }

    /// Returns the page of an audit.
    pub fn audit(&self, id: i64) -> Option<String> {
        self.page(&format!("/audits/{id}"))
    }

    /// Returns a page by its path.
    pub fn page(&self, path: &str) -> Option<String> {
        self.base.as_ref().map(|base| format!("{base}{path}"))
    }
}

/// Returns a text as a part of a path or query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
