//! The names of a setting: every argument of [`Settings`] is a flag, a variable and a key of the configuration file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::LazyLock;

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command};

use super::settings::{LIVE, SECRET, Settings};

/// What all of our variables begin with.
pub(super) const PREFIX: &str = "GATEPOST_";

/// One setting.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// Its key in the configuration file: `listenWebhook`, `defaults.warn`.
    pub key: String,
    /// Its flag, with dashes.
    pub flag: String,
    /// Its environment variable.
    pub variable: String,
    /// Whether it is a list of values; in a variable they stand between commas.
    pub is_list: bool,
    /// Whether a change in the file holds without a restart.
    pub is_live: bool,
    /// Whether it is shown only in part.
    pub is_secret: bool,
    /// One line about it.
    pub help: String,
    /// What holds when nobody says anything; nothing when there is no such value.
    pub default: Vec<OsString>,
    id: String,
}

impl Scalar {
    fn of(arg: &Arg) -> Self {
        let id = arg.get_id().to_string();
        let long = arg.get_long().unwrap_or(&id);
        let key = camel_case(&id);
        Self {
            flag: format!("--{long}"),
            variable: variable(long),
            is_list: matches!(arg.get_action(), ArgAction::Append),
            is_live: LIVE.contains(&id.as_str()) || key.contains('.'),
            is_secret: SECRET.contains(&id.as_str()),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            default: arg.get_default_values().iter().map(clap::builder::OsStr::to_os_string).collect(),
            key,
            id,
        }
    }
}

/// Returns every setting, in the order of the help, with the defaults of a machine that is no Pod.
pub fn scalars() -> &'static [Scalar] {
    static SCALARS: LazyLock<Vec<Scalar>> = LazyLock::new(|| of_command(&Flags::augment_args(Command::new("serve"))));
    &SCALARS
}

/// Returns the settings of a command that has others' defaults.
pub(super) fn of_command(command: &Command) -> Vec<Scalar> {
    command.get_arguments().map(Scalar::of).collect()
}

/// Returns `listenWebhook` for `listen_webhook`; what has a dot stays.
fn camel_case(id: &str) -> String {
    let mut parts = id.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |key, part| {
        let (head, tail) = part.split_at_checked(1).unwrap_or((part, ""));
        key + &head.to_uppercase() + tail
    })
}

fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_uppercase().replace('-', "_"))
}

/// What the command line says of settings, by key.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub(super) BTreeMap<String, Vec<OsString>>);

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let before: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
        Settings::augment_args(command)
            .mut_args(|arg| if before.iter().any(|id| arg.get_id() == id.as_str()) { arg } else { completed(arg) })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Names the variable in the help, and lets a flag that says yes say no, too: the file may say yes.
fn completed(arg: Arg) -> Arg {
    let help = format!(
        "{} [env: {}]",
        arg.get_help().cloned().unwrap_or_default(),
        variable(arg.get_long().unwrap_or_default())
    );
    let arg = arg.help(help);
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    let arg = arg.action(ArgAction::Set).value_parser(BoolishValueParser::new()).value_name("BOOL");
    arg.num_args(0..=1).require_equals(true).default_missing_value("true").default_value("false")
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |scalar: &&Scalar| matches.value_source(&scalar.id) == Some(ValueSource::CommandLine);
        let texts = |scalar: &Scalar| {
            let raw = matches.get_raw(&scalar.id).into_iter().flatten();
            (scalar.key.clone(), raw.map(OsString::from).collect())
        };
        Ok(Self(scalars().iter().filter(given).map(texts).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|flags| *self = flags)
    }
}
