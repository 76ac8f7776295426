//! The section `exemptions`: which exemptions count, and how far.

use serde::Deserialize;

use crate::policy::ExemptionTerms;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ExemptionsText {
    from: Vec<String>,
    permanent: bool,
    skip_annotations: bool,
}

impl ExemptionsText {
    /// Checks the section; the error begins with the place in it.
    ///
    /// A namespace that is trusted beyond itself is named outright: a pattern that matches one name too many is a hole.
    pub(super) fn convert(self) -> Result<ExemptionTerms, String> {
        for (index, name) in self.from.iter().enumerate() {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(format!(
                    "from[{index}]: \"{name}\" is no namespace's name; namespaces are named one by one"
                ));
            }
        }
        let Self { from, permanent, skip_annotations } = self;
        Ok(ExemptionTerms { from: from.into_iter().collect(), permanent, skip_annotations })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn names_what_is_trusted_and_what_is_at_fault() {
        let read = |text| Config::parse(Path::new("gatepost.yaml"), text).map_err(|error| error.to_string());
        let terms = read("exemptions: {from: [platform], permanent: true}").expect("whole").exemptions;
        assert!(terms.permanent && terms.from.contains("platform"));
        assert!(!terms.skip_annotations);
        assert!(read("exemptions: {skipAnnotations: true}").expect("whole").exemptions.skip_annotations);
        assert!(!read("").expect("whole").exemptions.permanent);
        for (text, cause) in [
            (
                "exemptions: {from: ['team-*']}",
                "gatepost.yaml:1: exemptions.from[0]: \"team-*\" is no namespace's name",
            ),
            ("exemptions: {permament: true}", "did you mean `permanent`?"),
            ("exemption: {}", "did you mean `exemptions`?"),
        ] {
            let fault = read(text).expect_err(text);
            assert!(fault.contains(cause), "{text}: {fault}");
        }
    }
}
