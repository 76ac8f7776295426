//! The section `modes`: who may weaken what is enforced, and who never may.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::policy::Authority;
use crate::policy::authority::NamePattern;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuthorityText {
    admins: AdminsText,
    may_not_weaken: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminsText {
    users: Vec<String>,
    groups: Vec<String>,
}

impl AuthorityText {
    /// Checks the section; the error begins with the place in it.
    pub(super) fn convert(self) -> Result<Authority, String> {
        let pattern = |(index, text): (usize, &String)| {
            NamePattern::new(text).map_err(|cause| format!("mayNotWeaken[{index}]: {cause}"))
        };
        Ok(Authority {
            users: exact("admins.users", self.admins.users)?,
            groups: exact("admins.groups", self.admins.groups)?,
            may_not_weaken: self.may_not_weaken.iter().enumerate().map(pattern).collect::<Result<_, _>>()?,
        })
    }
}

/// Whoever may weaken is named outright: a pattern that matches one name too many is a hole.
fn exact(place: &str, names: Vec<String>) -> Result<BTreeSet<String>, String> {
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("{place}[{index}]: \"\" names nobody"));
        }
        if name.contains('*') {
            return Err(format!("{place}[{index}]: \"{name}\" is a pattern; admins are named one by one"));
        }
    }
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::policy::{Requester, Standing};

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gatepost.yaml");
        std::fs::write(&path, text).expect("a file");
        Config::read(Some(&path)).map_err(|error| error.to_string())
    }

    #[test]
    fn empty_lists_and_left_out_ones_are_the_same() {
        for text in ["modes: {}", "modes: {admins: {users: [], groups: []}, mayNotWeaken: []}", "modes: {admins: {}}"] {
            let authority = read(text).expect(text).modes.authority;
            let anybody = Requester { user: "ann".into(), ..Requester::default() };
            assert_eq!(authority.standing(&anybody), Standing::Unnamed, "{text}");
        }
    }

    #[test]
    fn faults_name_their_place() {
        for (text, cause) in [
            ("modes: {admins: {users: [\"\"]}}", "modes.admins.users[0]: \"\" names nobody"),
            ("modes: {admins: {groups: [a, 'b*']}}", "modes.admins.groups[1]: \"b*\" is a pattern"),
            ("modes: {mayNotWeaken: [ok, '']}", "modes.mayNotWeaken[1]: \"\" names nobody"),
            ("modes: {mayNotWeaken: ['a[']}", "modes.mayNotWeaken[0]: \"a[\" is not a name pattern"),
            ("modes: {mayNotWeakn: []}", "did you mean `mayNotWeaken`?"),
            ("modes: {admins: {user: []}}", "did you mean `users`?"),
            ("namespaces: [{set: {warn: strict}, breakGlass: true}]", "namespaces[0].breakGlass: goes with floors"),
        ] {
            let fault = read(text).expect_err(text);
            assert!(fault.contains(cause), "{text}: {fault}");
        }
    }

    #[test]
    fn a_floor_yields_to_break_glass_only_where_its_entry_says_so() {
        let text = "floors: [{set: {enforce: a}}, {set: {enforce: a}, breakGlass: true}, {set: {enforce: a}, breakGlass: false}]";
        let floors = read(text).expect("whole").modes.floors;
        assert_eq!(floors.iter().map(|(_, set)| set.break_glass).collect::<Vec<_>>(), [false, true, false]);
    }
}
