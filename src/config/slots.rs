//! The slots of `defaults` and `clusterScoped` as settings: each is a flag and a variable, too.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Command};

/// Mappings of the configuration file whose entries are settings, each with what they are for.
pub(super) const GROUPS: [(&str, &str); 2] = [
    ("defaults", "of namespaces about which nothing else is said"),
    ("clusterScoped", "of objects outside any namespace"),
];

/// What a slot set holds: its key, what stands for its value in help, and what it means.
const ENTRIES: [(&str, &str, &str); 7] = [
    ("enforce", "POLICY", "Policy whose violations are denied"),
    ("warn", "POLICY", "Policy whose violations are admitted with warnings"),
    ("audit", "POLICY", "Policy whose violations are recorded"),
    ("mutate", "POLICY", "Policy whose patches are applied to new objects"),
    ("severity", "SEVERITY", "Least severity that is denied; below it is warned"),
    ("scope", "SCOPE", "Whether an update is denied only for what it brings in (new) or for all"),
    ("from", "DATE", "Day, or RFC 3339 instant, before which enforce only warns"),
];

/// What the settings say of `defaults` and `clusterScoped`, by key: `defaults.warn`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots(BTreeMap<String, String>);

impl Slots {
    /// Returns one value of a group.
    pub(super) fn get(&self, group: &str, entry: &str) -> Option<&str> {
        self.0.get(&format!("{group}.{entry}")).map(String::as_str)
    }
}

fn entries() -> impl Iterator<Item = (String, Arg)> {
    GROUPS.into_iter().flat_map(|(group, whose)| {
        // Objects outside namespaces are not mutated.
        let has = move |entry: &str| group != "clusterScoped" || entry != "mutate";
        ENTRIES.into_iter().filter(move |(entry, ..)| has(entry)).map(move |(entry, value, help)| {
            let key = format!("{group}.{entry}");
            let flag = if group == "clusterScoped" { "cluster-scoped" } else { group };
            let arg = Arg::new(key.clone()).long(format!("{flag}-{entry}")).value_name(value);
            let arg = arg.help(format!("{help}, {whose}")).help_heading("Modes");
            let shipped = match entry {
                "warn" => Some("recommended"),
                "audit" => Some("strict"),
                _ => None,
            };
            (key, arg.default_value(shipped))
        })
    })
}

impl clap::Args for Slots {
    fn augment_args(command: Command) -> Command {
        entries().fold(command, |command, (_, arg)| command.arg(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Slots {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |(key, _): (String, Arg)| matches.get_one::<String>(&key).cloned().map(|value| (key, value));
        Ok(Self(entries().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|slots| *self = slots)
    }
}
