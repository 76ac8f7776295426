//! The section `groups`: whose namespaces are, where their names do not say.

use serde::Deserialize;

use crate::policy::{Group, GroupTerms};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GroupsText {
    yours: Vec<String>,
    vendor: Vec<String>,
    system: Vec<String>,
}

impl GroupsText {
    /// Reads the section; the error says which name is none.
    pub(super) fn convert(self) -> Result<GroupTerms, String> {
        let lists = [(Group::Yours, self.yours), (Group::Vendor, self.vendor), (Group::System, self.system)];
        let named = lists.into_iter().flat_map(|(group, names)| names.into_iter().map(move |name| (group, name)));
        let checked = named.map(|(group, name)| match name.strip_suffix('*').unwrap_or(&name) {
            begin if name.is_empty() || begin.contains('*') => {
                Err(format!("{}: \"{name}\" is neither a namespace nor how one begins with a * behind", group.as_str()))
            }
            _ => Ok((group, name)),
        });
        checked.collect::<Result<_, _>>().map(GroupTerms)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn namespaces_are_named_by_group() {
        let read = |text| Config::parse(Path::new("gatepost.yaml"), text).map(|config| config.groups);
        let terms = read("groups: {vendor: [platform-*], yours: [monitoring]}").expect("groups");
        let told: Vec<_> = terms.0.iter().map(|(group, name)| format!("{} {name}", group.as_str())).collect();
        assert_eq!(told, ["yours monitoring", "vendor platform-*"]);
        assert!(read("").expect("nothing").0.is_empty());
        for (text, cause) in [
            ("\ngroups: {vendor: [a*b]}", "gatepost.yaml:2: groups.vendor: \"a*b\" is neither"),
            ("\ngroups: {system: [\"\"]}", "groups.system: \"\" is neither"),
            ("\ngroups: {vendors: []}", "did you mean `vendor`?"),
            ("group: {}", "did you mean `groups`?"),
        ] {
            let fault = read(text).expect_err(text).to_string();
            assert!(fault.contains(cause), "{text}: {fault}");
        }
    }
}
