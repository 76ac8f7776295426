//! The section `auth`: how people sign in who have no rights in the cluster, and what their groups may see.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use globset::Glob;
use http::Uri;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Lifetime;
use super::notifications::check_url;

/// What is asked for where nothing is said; `openid` is always.
const SCOPES: [&str; 3] = ["openid", "profile", "email"];
/// For how long somebody is signed in, where nothing is said.
const SESSION: Duration = Duration::from_hours(8);
/// For how long at most: what a provider says of groups is as old as the session.
const LONGEST: Duration = Duration::from_hours(24);
/// The glob by which a group sees every namespace, and what is in none.
const EVERYTHING: &str = "*";

/// How people sign in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Who says who somebody is; nobody where none is given.
    pub oidc: Option<Oidc>,
    /// Globs of the namespaces that each group may see.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Audiences for which a token of the cluster is taken, beside our own.
    pub audiences: Vec<String>,
}

/// A provider of OpenID Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// What people call it.
    pub name: String,
    /// Its issuer, exactly as its tokens have it.
    pub issuer: String,
    /// By which name it knows this Gatepost.
    pub client_id: String,
    /// The file of the secret that goes with it; none for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The claim of groups in an ID token.
    pub groups_claim: String,
    /// The claim of a name; where none is given the first of a few usual ones that is there.
    pub username_claim: Option<String>,
    /// Authorities in PEM that vouch for it; none: those of the machine.
    pub authorities: Option<PathBuf>,
    /// For how long somebody is signed in.
    pub session: Duration,
}

/// What somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Nothing at all.
    Nothing,
    /// The namespaces that match one of these globs.
    Some(Vec<String>),
    /// Every namespace, and what is in none.
    Everything,
}

impl Auth {
    /// Returns what somebody of these groups may see; what several groups see adds up.
    pub fn sight(&self, groups: &[String]) -> Sight {
        let mut globs: Vec<String> =
            groups.iter().filter_map(|group| self.groups.get(group)).flatten().cloned().collect();
        if globs.iter().any(|glob| glob == EVERYTHING) {
            return Sight::Everything;
        }
        globs.sort();
        globs.dedup();
        if globs.is_empty() { Sight::Nothing } else { Sight::Some(globs) }
    }
}

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuthText {
    oidc: Option<Spanned<OidcText>>,
    audiences: Vec<Spanned<String>>,
    groups: BTreeMap<String, Spanned<Vec<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct OidcText {
    name: Option<String>,
    issuer: Option<Spanned<String>>,
    client_id: Option<Spanned<String>>,
    client_secret_file: Option<PathBuf>,
    scopes: Option<Vec<String>>,
    groups_claim: Option<Spanned<String>>,
    username_claim: Option<Spanned<String>>,
    ca: Option<PathBuf>,
    session: Option<Spanned<String>>,
}

impl AuthText {
    /// Checks the section; the error has the line where it is known, and begins with the place in it.
    pub(super) fn convert(self) -> Result<Auth, (Option<u64>, String)> {
        let Self { oidc, groups, audiences } = self;
        if let Some((index, wrong)) =
            audiences.iter().enumerate().find(|(_, audience)| audience.value.trim().is_empty())
        {
            return Err((Some(wrong.referenced.line()), format!("audiences[{index}]: is empty")));
        }
        let audiences = audiences.into_iter().map(|audience| audience.value).collect();
        let line = oidc.as_ref().map(|oidc| oidc.referenced.line());
        let oidc = oidc.map(|oidc| oidc.value.convert(line)).transpose()?;
        let groups = groups.into_iter().map(|(group, globs)| of_group(group, globs)).collect::<Result<_, _>>()?;
        let auth = Auth { oidc, groups, audiences };
        match (auth.oidc.is_some(), auth.groups.is_empty()) {
            (true, true) => Err((
                line,
                "groups: is needed with oidc, else nobody sees anything: {GROUP: [GLOB OF NAMESPACES]}".into(),
            )),
            (false, false) => Err((None, "groups: goes with oidc, which is not there".into())),
            _ => Ok(auth),
        }
    }
}

fn of_group(group: String, globs: Spanned<Vec<String>>) -> Result<(String, Vec<String>), (Option<u64>, String)> {
    let fault = |cause: String| (Some(globs.referenced.line()), format!("groups.{group}{cause}"));
    if globs.value.is_empty() {
        return Err(fault(": names no namespace; leave the group out".into()));
    }
    for (index, glob) in globs.value.iter().enumerate() {
        if glob.is_empty() {
            return Err(fault(format!("[{index}]: is empty; \"*\" stands for everything")));
        }
        Glob::new(glob).map_err(|error| fault(format!("[{index}]: \"{glob}\" is no glob: {}", error.kind())))?;
    }
    Ok((group, globs.value))
}

impl OidcText {
    fn convert(self, line: Option<u64>) -> Result<Oidc, (Option<u64>, String)> {
        let needed = |key: &str, example: &str| (line, format!("oidc.{key}: is needed, for example {example}"));
        let issuer = self.issuer.ok_or_else(|| needed("issuer", "https://login.example.com"))?;
        let uri = check_issuer(&issuer.value)
            .map_err(|cause| (Some(issuer.referenced.line()), format!("oidc.issuer: \"{}\" {cause}", issuer.value)))?;
        let client_id = self.client_id.ok_or_else(|| needed("clientId", "gatepost"))?;
        for (key, text) in [
            ("clientId", Some(&client_id)),
            ("groupsClaim", self.groups_claim.as_ref()),
            ("usernameClaim", self.username_claim.as_ref()),
        ] {
            if let Some(text) = text.filter(|text| text.value.trim().is_empty()) {
                return Err((Some(text.referenced.line()), format!("oidc.{key}: is empty")));
            }
        }
        let mut scopes = self.scopes.unwrap_or_else(|| SCOPES.map(str::to_owned).to_vec());
        if let Some(wrong) =
            scopes.iter().find(|scope| scope.is_empty() || scope.contains(|c: char| !c.is_ascii_graphic()))
        {
            return Err((line, format!("oidc.scopes: \"{wrong}\" is no scope")));
        }
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".into());
        }
        Ok(Oidc {
            name: self.name.unwrap_or_else(|| uri.host().unwrap_or_default().to_owned()),
            issuer: issuer.value,
            client_id: client_id.value,
            client_secret_file: self.client_secret_file,
            scopes,
            groups_claim: self.groups_claim.map_or_else(|| "groups".to_owned(), |claim| claim.value),
            username_claim: self.username_claim.map(|claim| claim.value),
            authorities: self.ca,
            session: session(self.session)?,
        })
    }
}

fn session(text: Option<Spanned<String>>) -> Result<Duration, (Option<u64>, String)> {
    let Some(Spanned { value, referenced, .. }) = text else { return Ok(SESSION) };
    let fault = |cause: String| (Some(referenced.line()), format!("oidc.session: {cause}"));
    let lifetime: Lifetime = value.parse().map_err(|cause: String| fault(cause))?;
    let session = Duration::from_secs(lifetime.seconds().unsigned_abs());
    if session > LONGEST { Err(fault(format!("\"{value}\" is more than 24h"))) } else { Ok(session) }
}

/// Checks that tokens and secrets go where nobody else can read them.
fn check_issuer(text: &str) -> Result<Uri, &'static str> {
    let uri = check_url(text).ok().filter(|uri| uri.query().is_none() && !text.contains('#'));
    let uri = uri.ok_or("is no URL such as https://login.example.com")?;
    if is_private(&uri) { Ok(uri) } else { Err("is not https: whoever listens could sign in as anybody") }
}

/// Returns whether nobody on the way can read what is sent: it is encrypted, or stays on this machine.
pub fn is_private(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    uri.scheme_str() == Some("https") || is_loopback
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const REST: &str = "externalUrl: https://gatepost.example\n";

    fn read(text: &str) -> Result<Auth, String> {
        let config = Config::parse(Path::new("gatepost.yaml"), &format!("{REST}{text}"));
        config.map(|config| (*config.auth).clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let auth = read("auth:\n  oidc: {issuer: 'https://login.example/', clientId: gatepost}\n  groups: {a: [x]}\n")
            .unwrap();
        let oidc = auth.oidc.unwrap();
        assert_eq!((oidc.issuer.as_str(), oidc.name.as_str()), ("https://login.example/", "login.example"));
        assert_eq!((oidc.groups_claim.as_str(), oidc.username_claim), ("groups", None));
        assert_eq!((oidc.scopes.join(" "), oidc.session), ("openid profile email".to_owned(), SESSION));
        let other = "auth:\n  oidc: {issuer: 'http://127.0.0.1:1/x', clientId: g, scopes: [groups], session: 30m, name: Work}\n  groups: {a: [x]}\n";
        let oidc = read(other).unwrap().oidc.unwrap();
        assert_eq!((oidc.scopes.join(" "), oidc.session), ("openid groups".to_owned(), Duration::from_mins(30)));
        assert_eq!(oidc.name, "Work");
        assert_eq!(read("").unwrap(), Auth::default());
    }

    #[test]
    fn what_groups_see_adds_up() {
        let groups = "groups: {shop: ['shop-*'], pay: [payments, 'shop-*'], ops: ['*']}";
        let auth =
            read(&format!("auth:\n  oidc: {{issuer: 'https://login.example', clientId: g}}\n  {groups}\n")).unwrap();
        let sight = |groups: &[&str]| auth.sight(&groups.iter().map(ToString::to_string).collect::<Vec<_>>());
        let some = |globs: &[&str]| Sight::Some(globs.iter().map(ToString::to_string).collect());
        assert_eq!(sight(&["shop"]), some(&["shop-*"]));
        assert_eq!(sight(&["shop", "pay", "other"]), some(&["payments", "shop-*"]));
        assert_eq!(sight(&["shop", "ops"]), Sight::Everything);
        for groups in [&[][..], &["other"], &["Shop"], &["*"]] {
            assert_eq!(sight(groups), Sight::Nothing, "{groups:?}");
        }
    }

    #[test]
    fn every_fault_names_its_place() {
        let groups = "\n  groups: {a: [x]}\n";
        for (text, expected) in [
            (format!("auth:\n  oidc:\n    clientId: g{groups}"), ":4: auth.oidc.issuer: is needed"),
            (format!("auth:\n  oidc:\n    issuer: https://login.example{groups}"), ":4: auth.oidc.clientId: is needed"),
            (
                format!("auth:\n  oidc:\n    clientId: g\n    issuer: http://login.example{groups}"),
                ":5: auth.oidc.issuer: \"http://login.example\" is not https",
            ),
            (
                format!("auth:\n  oidc:\n    clientId: ''\n    issuer: https://login.example{groups}"),
                ":4: auth.oidc.clientId: is empty",
            ),
            (
                format!("auth:\n  oidc: {{issuer: 'login.example', clientId: g}}{groups}"),
                ":3: auth.oidc.issuer: \"login.example\" is no URL",
            ),
            (
                format!("auth:\n  oidc: {{issuer: 'https://l.example?a=b', clientId: g}}{groups}"),
                ":3: auth.oidc.issuer: \"https://l.example?a=b\" is no URL",
            ),
            (
                format!("auth:\n  oidc: {{issuer: 'https://l.example', clientId: g, session: 30d}}{groups}"),
                ":3: auth.oidc.session: \"30d\" is more than 24h",
            ),
            ("auth:\n  oidc: {issuer: 'https://l.example', clientId: g}\n".into(), ":3: auth.groups: is needed"),
            ("auth: {audiences: [a, '']}\n".into(), ":2: auth.audiences[1]: is empty"),
            ("auth:\n  groups: {a: [x]}\n".into(), ":3: auth.groups: goes with oidc"),
            (
                "auth:\n  oidc: {issuer: 'https://l.example', clientId: g}\n  groups:\n    a: []\n".into(),
                ":5: auth.groups.a: names no namespace",
            ),
            (
                "auth:\n  oidc: {issuer: 'https://l.example', clientId: g}\n  groups:\n    a: [b, 'c[']\n".into(),
                ":5: auth.groups.a[1]: \"c[\" is no glob",
            ),
        ] {
            let fault = read(&text).err().unwrap_or_default();
            assert!(fault.starts_with(&format!("gatepost.yaml{expected}")), "{text}: {fault}");
        }
        for (text, expected) in [
            (format!("auth:\n  oidc: {{clientid: g}}{groups}"), "did you mean `clientId`?"),
            ("auth: {oidx: {}}\n".into(), "did you mean `oidc`?"),
            ("aut: {}\n".into(), "did you mean `auth`?"),
        ] {
            let fault = read(&text).err().unwrap_or_default();
            assert!(fault.starts_with("gatepost.yaml:") && fault.contains(expected), "{text}: {fault}");
        }
    }

    #[test]
    fn the_provider_must_know_where_people_come_back_to() {
        let text = "auth:\n  oidc: {issuer: 'https://l.example', clientId: g}\n  groups: {a: [x]}\n";
        let read = |text: &str| Config::parse(Path::new("gatepost.yaml"), text).err().map(|error| error.to_string());
        let fault = read(text).unwrap_or_default();
        assert!(fault.starts_with("gatepost.yaml:2: auth.oidc: goes with externalUrl (--external-url, "), "{fault}");
        let fault = read(&format!("externalUrl: http://gatepost.example\n{text}")).unwrap_or_default();
        assert!(fault.starts_with("gatepost.yaml:1: externalUrl: must be https"), "{fault}");
        assert_eq!(read(&format!("externalUrl: http://localhost:8080\n{text}")), None);
    }
}
