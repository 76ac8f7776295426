//! Flags over variables over the file over the defaults: one value for every setting, and where it comes from.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args as _, Command, FromArgMatches as _};

use super::auth::{Auth, is_private};
use super::file::{Fault, Sections};
use super::outline::Outline;
use super::scalars::{self, Flags, PREFIX, Scalar};
use super::settings::{EXCLUDES, NEEDS, Settings, in_pod};
use super::{Config, ConfigError, Origin};
use crate::store::url::masked;

/// Variable that names the configuration file.
const FILE_VARIABLE: &str = "GATEPOST_CONFIG";

/// The Pod that this process runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace, where it is known.
    pub namespace: Option<String>,
}

/// The value of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its key: `listenWebhook`, `defaults.warn`.
    pub key: String,
    /// None, one, or those of a list.
    pub texts: Vec<String>,
    /// Who said it.
    pub origin: Origin,
    /// Whether it is a list.
    pub is_list: bool,
    /// Whether a change holds without a restart.
    pub is_live: bool,
}

/// Everything that flags, variables and file say together.
#[derive(Debug, Clone)]
pub struct Read {
    /// The settings.
    pub settings: Settings,
    /// What judges what.
    pub config: Config,
    /// Every setting's value and origin, in the order of the help.
    pub values: Vec<Value>,
    /// The file's text, if there is a file.
    pub(super) text: Option<String>,
}

/// What the command line and the environment say, which does not change while the process lives, and where the file is.
#[derive(Debug, Clone)]
pub struct Layers {
    command: Command,
    scalars: Vec<Scalar>,
    given: BTreeMap<String, (Vec<OsString>, Origin)>,
    file: Option<PathBuf>,
}

impl Read {
    /// Returns the file's text, if there is a file.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

impl Layers {
    /// Puts flags over variables (those that do not begin with `GATEPOST_` and empty ones say nothing); `file` is what
    /// `--config` says.
    pub fn new(
        flags: &Flags,
        file: Option<PathBuf>,
        pod: Option<&Pod>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let command = Flags::augment_args(Command::new("serve").no_binary_name(true));
        let command = pod.map_or(command.clone(), |pod| in_pod(command, pod));
        let scalars = scalars::of_command(&command);
        let is_ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        let variables = variables.into_iter().filter(|(name, value)| is_ours(name) && !value.is_empty());
        let variables: BTreeMap<OsString, OsString> = variables.collect();
        let variable = |name: &str| variables.get(OsStr::new(name)).cloned();
        let given = scalars.iter().filter_map(|scalar| {
            let of_flag = flags.0.get(&scalar.key).map(|texts| (texts.clone(), Origin::Flag(scalar.flag.clone())));
            let of_variable = || {
                variable(&scalar.variable).map(|text| (words(text, scalar), Origin::Variable(scalar.variable.clone())))
            };
            Some((scalar.key.clone(), of_flag.or_else(of_variable)?))
        });
        let file = file.or_else(|| variable(FILE_VARIABLE).map(PathBuf::from));
        Self { given: given.collect(), command, scalars, file }
    }

    /// Takes in nothing but a file.
    pub fn of_file(path: &Path) -> Self {
        Self::new(&Flags::default(), Some(path.to_owned()), None, [])
    }

    /// Returns the path of the file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file's text.
    pub fn text(&self) -> Result<Option<String>, ConfigError> {
        let read = |path: &PathBuf| {
            let unreadable = |cause| ConfigError::new(path, None, format!("cannot be read: {cause}"));
            std::fs::read_to_string(path).map_err(unreadable)
        };
        self.file.as_ref().map(read).transpose()
    }

    /// Works out every value from the file's text and what stands over it.
    pub fn resolve(&self, text: Option<&str>) -> Result<Read, ConfigError> {
        let outline = Outline::read(text.unwrap_or_default()).map_err(|(line, cause)| self.in_file(line, cause))?;
        let mut values = Vec::new();
        let mut arguments: Vec<OsString> = Vec::new();
        for scalar in &self.scalars {
            let (texts, origin) = self.value(scalar, &outline);
            if origin != Origin::Default {
                let given: Vec<OsString> = texts.iter().map(|text| argument(scalar, text)).collect();
                self.check(scalar, &given).map_err(|cause| at(&origin, &scalar.key, &cause))?;
                arguments.extend(given);
            }
            let texts = texts.iter().map(|text| shown(scalar, text)).collect();
            let (is_list, is_live) = (scalar.is_list, scalar.is_live);
            values.push(Value { key: scalar.key.clone(), texts, origin, is_list, is_live });
        }
        self.check_together(&values)?;
        let settings = self.command.clone().try_get_matches_from(arguments);
        let settings = settings.and_then(|matches| Settings::from_arg_matches(&matches));
        let settings = settings.map_err(|error| ConfigError { origin: Origin::Default, cause: error.to_string() })?;
        settings.database().map_err(|cause| {
            let url = values.iter().find(|value| value.key == "databaseUrl");
            at(url.map_or(&Origin::Default, |url| &url.origin), "databaseUrl", &cause)
        })?;
        let config = self.config(text.unwrap_or_default(), &settings, &values, &outline)?;
        Ok(Read { settings, config, values, text: text.map(str::to_owned) })
    }

    fn value(&self, scalar: &Scalar, outline: &Outline) -> (Vec<OsString>, Origin) {
        if let Some(given) = self.given.get(&scalar.key) {
            return given.clone();
        }
        match outline.settings.get(&scalar.key) {
            Some(written) => (written.texts.iter().map(OsString::from).collect(), self.file_origin(Some(written.line))),
            None => (scalar.default.clone(), Origin::Default),
        }
    }

    fn config(
        &self,
        text: &str,
        settings: &Settings,
        values: &[Value],
        outline: &Outline,
    ) -> Result<Config, ConfigError> {
        let origin = |key: &str| {
            let value = values.iter().find(|value| value.key == key);
            value.map_or(Origin::Default, |value| value.origin.clone())
        };
        let converted = Sections::read(text).and_then(|sections| sections.convert(&settings.slots));
        let converted = converted.map_err(|fault| match fault {
            Fault::Section { line, cause } => self.in_file(line, cause),
            Fault::Setting { key, cause } => at(&origin(&key), &key, &cause),
        })?;
        self.check_auth(&converted.auth, settings, values, outline)?;
        let of_line = |(key, line): (String, u64)| (key, self.file_origin(Some(line)));
        let sections = outline.sections.iter().map(|(key, line)| (key.clone(), *line));
        let mut places: BTreeMap<String, Origin> = converted.lines.into_iter().chain(sections).map(of_line).collect();
        places.extend(values.iter().map(|value| (value.key.clone(), value.origin.clone())));
        Ok(Config {
            modes: converted.modes,
            static_namespaces: converted.static_namespaces,
            controllers: converted.controllers,
            exemptions: converted.exemptions,
            audit: converted.audit,
            groups: converted.groups,
            notifications: converted.notifications.into(),
            auth: Arc::new(converted.auth),
            places,
        })
    }

    /// Checks that a provider can send people back to us, by a way on which nobody reads their session.
    fn check_auth(
        &self,
        auth: &Auth,
        settings: &Settings,
        values: &[Value],
        outline: &Outline,
    ) -> Result<(), ConfigError> {
        if auth.oidc.is_none() {
            return Ok(());
        }
        let Some(address) = &settings.external_url else {
            let line = outline.sections.get("auth").copied();
            let cause = "auth.oidc: goes with externalUrl (--external-url, GATEPOST_EXTERNAL_URL), which is not set: it is \
                         where the provider sends people back to";
            return Err(self.in_file(line, cause.into()));
        };
        let is_safe = address.to_string().parse().is_ok_and(|uri| is_private(&uri));
        let origin = values.iter().find(|value| value.key == "externalUrl").map(|value| &value.origin);
        match origin.filter(|_| !is_safe) {
            Some(origin) => {
                Err(at(origin, "externalUrl", "must be https with auth.oidc: a browser shows its session there"))
            }
            None => Ok(()),
        }
    }

    /// Checks one setting by itself, so that the error can say who set it.
    fn check(&self, scalar: &Scalar, arguments: &[OsString]) -> Result<(), String> {
        let is_it = |arg: &&Arg| arg.get_long().is_some_and(|long| scalar.flag.strip_prefix("--") == Some(long));
        let arg = self.command.get_arguments().find(is_it).cloned();
        let alone = Command::new("serve").no_binary_name(true).args(arg);
        alone.try_get_matches_from(arguments).map(drop).map_err(|error| cause(&error))
    }

    fn check_together(&self, values: &[Value]) -> Result<(), ConfigError> {
        let is_said = |value: &&Value| value.origin != Origin::Default && !value.texts.is_empty();
        let said = |key: &str| values.iter().find(|value| value.key == key).filter(is_said);
        let names = |key: &str| {
            let scalar = self.scalars.iter().find(|scalar| scalar.key == key);
            scalar.map_or_else(String::new, |scalar| format!("{key} ({}, {})", scalar.flag, scalar.variable))
        };
        for (key, other) in NEEDS {
            if let Some(value) = said(key).filter(|_| said(other).is_none()) {
                return Err(at(&value.origin, key, &format!("goes with {}, which is not set", names(other))));
            }
        }
        if let Some(authority) =
            said("databaseCa").filter(|_| said("databaseUrl").or(said("databaseUrlFile")).is_none())
        {
            let (url, file) = (names("databaseUrl"), names("databaseUrlFile"));
            return Err(at(&authority.origin, "databaseCa", &format!("goes with {url} or {file}, which are not set")));
        }
        let is_role = |name: &str| said("role").filter(|role| role.texts.iter().all(|text| text == name));
        if let Some(role) = is_role("webhook").filter(|_| said("scanner").is_none()) {
            return Err(at(&role.origin, "role", &format!("webhook goes with {}, which is not set", names("scanner"))));
        }
        if let Some((role, scanner)) = is_role("scanner").zip(said("scanner")) {
            let cause = format!("does not go with role: scanner ({})", role.origin);
            return Err(at(&scanner.origin, "scanner", &cause));
        }
        for (key, other) in EXCLUDES {
            if let Some((value, other)) = said(key).zip(said(other)) {
                return Err(at(&value.origin, key, &format!("does not go with {} ({})", other.key, other.origin)));
            }
        }
        Ok(())
    }

    fn file_origin(&self, line: Option<u64>) -> Origin {
        Origin::File { path: self.file.clone().unwrap_or_default(), line }
    }

    fn in_file(&self, line: Option<u64>, cause: String) -> ConfigError {
        ConfigError { origin: self.file_origin(line), cause }
    }
}

fn at(origin: &Origin, key: &str, cause: &str) -> ConfigError {
    ConfigError { origin: origin.clone(), cause: format!("{key}: {cause}") }
}

/// Returns what of a value may be seen.
fn shown(scalar: &Scalar, text: &OsStr) -> String {
    let text = text.to_string_lossy();
    if scalar.is_secret { masked(&text) } else { text.into_owned() }
}

/// Takes a variable of several values apart.
fn words(text: OsString, scalar: &Scalar) -> Vec<OsString> {
    match text.to_str().filter(|_| scalar.is_list) {
        Some(list) => {
            list.split(',').map(|word| word.trim().into()).filter(|word: &OsString| !word.is_empty()).collect()
        }
        None => vec![text],
    }
}

/// Returns `--flag=value`, which no value can break out of.
fn argument(scalar: &Scalar, text: &OsStr) -> OsString {
    let mut argument = OsString::from(format!("{}=", scalar.flag));
    argument.push(text);
    argument
}

/// Returns what clap has against a value, without its advice about the command line.
fn cause(error: &clap::Error) -> String {
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.clone(),
        _ => String::new(),
    };
    let why = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("is none of {}", valid.join(", ")),
        _ => "is no value for it".to_owned(),
    };
    format!("\"{value}\": {why}")
}
