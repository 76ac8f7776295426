//! Targets as the configuration writes them, and what is wrong with them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use globset::Glob;
use serde::Deserialize;

use super::template::{Template, Writing};
use super::{Event, Mail, MailTls, PAUSE, Place, Reach, Target, Way, check_url, is_address};
use crate::config::Lifetime;
use crate::policy::Severity;

/// One target as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct TargetText {
    name: String,
    kind: Kind,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
    #[serde(default)]
    secret_file: Option<PathBuf>,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    server: Option<String>,
    #[serde(default)]
    tls: Option<MailTls>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    events: Option<Vec<Event>>,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default)]
    namespaces: Reach,
    #[serde(default)]
    every: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Slack,
    Webhook,
    Alertmanager,
    Email,
}

/// Checks every target; the error begins with the place of what is at fault.
pub(in crate::config) fn convert(texts: Vec<TargetText>) -> Result<Vec<Target>, String> {
    let mut names = BTreeSet::new();
    let mut targets = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        let name = text.name.clone();
        let target = text.convert().map_err(|cause| format!("[{index}].{cause}"))?;
        if !names.insert(name.clone()) {
            return Err(format!("[{index}].name: \"{name}\" is the name of another target, too"));
        }
        targets.push(target);
    }
    Ok(targets)
}

impl TargetText {
    fn convert(self) -> Result<Target, String> {
        let written = self.clone();
        // It is the second half of an annotation's key, and a label of metrics.
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let ends_well = !self.name.starts_with('-') && !self.name.ends_with('-');
        if self.name.is_empty() || self.name.len() > 63 || !self.name.chars().all(is_name) || !ends_well {
            return Err(format!("name: \"{}\" is no name of small letters, digits and dashes", self.name));
        }
        self.only_its_own()?;
        let severity = self.severity.as_deref().map(str::parse::<Severity>).transpose();
        let severity = severity.map_err(|cause| format!("severity: {cause}"))?;
        let pause = self.every.as_deref().map(str::parse::<Lifetime>).transpose();
        let pause = pause.map_err(|cause| format!("every: {cause}"))?;
        let title = template("title", self.title.as_deref(), Writing::Plain)?;
        let text = template("text", self.text.as_deref(), self.writing())?;
        Ok(Target {
            way: self.way()?,
            name: self.name,
            authorities: self.ca,
            events: self.events.unwrap_or_else(|| Event::USUAL.to_vec()).into_iter().collect(),
            severity: severity.unwrap_or(Severity::Info),
            reach: self.namespaces,
            pause: pause.map_or(PAUSE, |pause| Duration::from_secs(pause.seconds().unsigned_abs())),
            title,
            text,
            written,
        })
    }

    /// Refuses what this kind would not heed.
    fn only_its_own(&self) -> Result<(), String> {
        let (is_http, is_mail) = (self.kind != Kind::Email, self.kind == Kind::Email);
        let takes_token = matches!(self.kind, Kind::Webhook | Kind::Alertmanager);
        for (key, is_given, is_own) in [
            ("url", self.url.is_some(), is_http),
            ("urlFile", self.url_file.is_some(), is_http),
            ("secretFile", self.secret_file.is_some(), self.kind == Kind::Webhook),
            ("tokenFile", self.token_file.is_some(), takes_token),
            ("server", self.server.is_some(), is_mail),
            ("tls", self.tls.is_some(), is_mail),
            ("user", self.user.is_some(), is_mail),
            ("passwordFile", self.password_file.is_some(), is_mail),
            ("from", self.from.is_some(), is_mail),
            ("to", !self.to.is_empty(), is_mail),
            ("allow", !self.allow.is_empty(), is_mail),
            ("title", self.title.is_some(), matches!(self.kind, Kind::Slack | Kind::Email)),
            ("text", self.text.is_some(), self.kind != Kind::Alertmanager),
        ] {
            if is_given && !is_own {
                return Err(format!("{key}: means nothing to this kind of target"));
            }
        }
        Ok(())
    }

    /// Returns how its text writes values down.
    const fn writing(&self) -> Writing {
        match self.kind {
            Kind::Slack => Writing::Slack,
            Kind::Webhook | Kind::Alertmanager => Writing::Json,
            Kind::Email => Writing::Plain,
        }
    }

    fn way(&self) -> Result<Way, String> {
        Ok(match self.kind {
            // Whoever knows the URL may write there: it is the secret.
            Kind::Slack if self.url.is_some() => {
                return Err("url: is itself the secret here; put it into a file and name that with urlFile".into());
            }
            Kind::Slack => Way::Slack { url: self.place()? },
            Kind::Webhook => {
                Way::Webhook { url: self.place()?, secret: self.secret_file.clone(), token: self.token_file.clone() }
            }
            Kind::Alertmanager => Way::Alertmanager { url: self.place()?, token: self.token_file.clone() },
            Kind::Email => Way::Email(self.mail()?),
        })
    }

    fn place(&self) -> Result<Place, String> {
        match (&self.url, &self.url_file) {
            (Some(url), None) => {
                check_url(url).map_err(|cause| format!("url: {cause}"))?;
                Ok(Place::Here(url.clone()))
            }
            (None, Some(file)) => Ok(Place::File(file.clone())),
            (Some(_), Some(_)) => Err("url: does not go with urlFile".into()),
            (None, None) => Err("urlFile: the URL is needed, in a file or, where it is no secret, as url".into()),
        }
    }

    fn mail(&self) -> Result<Mail, String> {
        let tls = self.tls.unwrap_or_default();
        let usual = match tls {
            MailTls::Starttls => 587,
            MailTls::Tls => 465,
            MailTls::None => 25,
        };
        let server = self.server.as_deref().ok_or("server: is needed, for example smtp.example.com:587")?;
        let (host, port) = server_of(server, usual).ok_or_else(|| format!("server: \"{server}\" is no HOST:PORT"))?;
        let sign_in = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => Some((user.clone(), file.clone())),
            (None, None) => None,
            (Some(_), None) => return Err("passwordFile: goes with user".into()),
            (None, Some(_)) => return Err("user: goes with passwordFile".into()),
        };
        if sign_in.is_some() && tls == MailTls::None {
            return Err("tls: a password goes only over TLS".into());
        }
        let from = self.from.clone().filter(|from| is_address(from));
        let from = from.ok_or("from: an address is needed, for example gatepost@example.com")?;
        if let Some(wrong) = self.to.iter().find(|to| !is_address(to)) {
            return Err(format!("to: \"{wrong}\" is no address"));
        }
        if self.to.is_empty() && self.namespaces == Reach::All {
            return Err("to: an address is needed".into());
        }
        let glob = |text: &String| Glob::new(text).map(|glob| glob.compile_matcher());
        let allow = self.allow.iter().map(glob).collect::<Result<_, _>>().map_err(|cause| format!("allow: {cause}"))?;
        Ok(Mail { host, port, tls, sign_in, from, to: self.to.clone(), allow })
    }
}

fn template(key: &str, source: Option<&str>, writing: Writing) -> Result<Option<Template>, String> {
    let template = source.map(|source| Template::new(source, writing)).transpose();
    template.map_err(|cause| format!("{key}: {cause}"))
}

/// Returns host and port of `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
fn server_of(text: &str, usual: u16) -> Option<(String, u16)> {
    let authority: http::uri::Authority = text.parse().ok()?;
    let is_plain = !text.contains('@') && !authority.host().is_empty();
    is_plain.then(|| (authority.host().trim_matches(['[', ']']).to_owned(), authority.port_u16().unwrap_or(usual)))
}
