//! The address of a PostgreSQL database, and what is shown of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// What a server is told that we are, where the URL says nothing else.
const APPLICATION: &str = "gatepost";

/// How long connecting to one host may take.
const CONNECT: Duration = Duration::from_secs(5);

/// After what time of silence the other side is asked whether it is there.
const IDLE: Duration = Duration::from_mins(1);

/// How long what is sent may stay unanswered until the connection counts as broken.
const UNANSWERED: Duration = Duration::from_secs(30);

/// How a connection is protected: the modes of PostgreSQL's own clients, by the same names.
/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encryption {
    /// `disable`: not at all.
    Disable,
    /// `prefer`: where the server offers it, unchecked.
    Prefer,
    /// `require`: always, unchecked; with authorities as `verify-ca`.
    Require,
    /// `verify-ca`: always, with a certificate that an authority issued, for whomever.
    VerifyCa,
    /// `verify-full`: always, with a certificate that an authority issued for this host.
    VerifyFull,
}

impl FromStr for Encryption {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err("sslmode is none of disable, prefer, require, verify-ca, verify-full".into()),
        }
    }
}

/// A URL such as `postgres://gatepost:secret@db.example/gatepost?sslmode=verify-full`; it never shows its password.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: Box<Config>,
    encryption: Option<Encryption>,
    shown: String,
}

impl DatabaseUrl {
    /// Returns how connections are protected, where the URL says so.
    pub fn encryption(&self) -> Option<Encryption> {
        self.encryption
    }

    /// Returns where to connect to and as whom.
    pub(super) fn config(&self, encryption: Encryption) -> Config {
        let mut config = Config::clone(&self.config);
        // A socket in the file system goes over no network, and PostgreSQL offers no TLS on it.
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(match encryption {
            _ if is_local && config.get_hostaddrs().is_empty() => SslMode::Disable,
            Encryption::Disable => SslMode::Disable,
            Encryption::Prefer => SslMode::Prefer,
            Encryption::Require | Encryption::VerifyCa | Encryption::VerifyFull => SslMode::Require,
        });
        config
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    /// Reads it; what is wrong is said without a word of what was written, for that may be part of a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || {
            "is no URL such as postgres://gatepost:PASSWORD@db.example/gatepost?sslmode=verify-full; \
             in user and password @ : / ? # % are written as %40 %3A %2F %3F %23 %25"
                .to_owned()
        };
        let text = text.trim();
        let (rest, encryption) = without_encryption(text)?;
        if scheme(text).is_none() {
            return Err(fault());
        }
        let mut config: Config = rest.parse().map_err(|_| fault())?;
        let names_nobody = config.get_hosts().is_empty() && config.get_hostaddrs().is_empty();
        // An @ further on was taken for the one behind the user.
        if names_nobody || config.get_user().is_some_and(|user| user.contains('?')) {
            return Err(fault());
        }
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNANSWERED);
        }
        config.keepalives_idle(config.get_keepalives_idle().min(IDLE));
        Ok(Self { config: Box::new(config), encryption, shown: masked(text) })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseUrl").field(&self.shown).finish()
    }
}

fn scheme(text: &str) -> Option<(&str, &str)> {
    text.split_once("://").filter(|(scheme, _)| ["postgres", "postgresql"].contains(scheme))
}

/// Splits off the parameters of a URL; who connects comes first, and may have written what begins them.
fn parameters(text: &str) -> (&str, Option<&str>) {
    let from = text.find('@').unwrap_or_default();
    match text.get(from..).and_then(|rest| rest.find('?')) {
        Some(at) => {
            let (head, tail) = text.split_at(from.saturating_add(at));
            (head, tail.strip_prefix('?'))
        }
        None => (text, None),
    }
}

/// Takes `sslmode` out, of which the library that connects knows only half of the values.
fn without_encryption(text: &str) -> Result<(String, Option<Encryption>), String> {
    let (head, Some(tail)) = parameters(text) else { return Ok((text.to_owned(), None)) };
    let mut encryption = None;
    let mut kept = Vec::new();
    for parameter in tail.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", word)) => encryption = Some(word.parse()?),
            Some(("sslrootcert", _)) => return Err("sslrootcert is given as --database-ca".into()),
            Some(("sslcert" | "sslkey", _)) => return Err("certificates of clients are not supported".into()),
            _ => kept.push(parameter),
        }
    }
    let question = if kept.is_empty() { "" } else { "?" };
    Ok((format!("{head}{question}{}", kept.join("&")), encryption))
}

/// Returns a URL without its password, whether it is a faultless one or not.
pub fn masked(text: &str) -> String {
    const MASK: &str = "***";
    let Some((scheme, rest)) = scheme(text) else { return MASK.to_owned() };
    // Everything up to the last @ may be part of a password that was not written as a URL has it.
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let user = user.map_or(String::new(), |user| match user.split_once(':') {
        Some((name, _)) => format!("{name}:{MASK}@"),
        None if user.contains('?') => format!("{MASK}@"),
        None => format!("{user}@"),
    });
    let (head, tail) = place.split_once('?').map_or((place, None), |(head, tail)| (head, Some(tail)));
    let hidden = |parameter: &str| match parameter.split_once('=') {
        Some((key, _)) if key.contains("pass") => format!("{key}={MASK}"),
        _ => parameter.to_owned(),
    };
    let tail =
        tail.map_or(String::new(), |tail| format!("?{}", tail.split('&').map(hidden).collect::<Vec<_>>().join("&")));
    format!("{scheme}://{user}{head}{tail}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_clients_of_postgresql_read() {
        for (text, host, encryption) in [
            ("postgres://db.example/gatepost", Some("db.example"), None),
            (
                "postgresql://gatepost:s3cret@db.example:5433/g?sslmode=verify-full",
                Some("db.example"),
                Some(Encryption::VerifyFull),
            ),
            ("postgres://u:a%40b@h/d?application_name=x&sslmode=disable", Some("h"), Some(Encryption::Disable)),
            ("postgres://u:what?@h/d?sslmode=require", Some("h"), Some(Encryption::Require)),
            ("  postgres://u@h/d?sslmode=verify-ca\n", Some("h"), Some(Encryption::VerifyCa)),
            ("postgres:///gatepost", None, None),
            ("postgres://u@h/d?sslmode=allow", None, None),
            ("postgres://u@h/d?sslrootcert=ca.pem", None, None),
            ("postgres://u@h/d?nothing=known", None, None),
            ("mysql://u@h/d", None, None),
            ("host=h user=u", None, None),
            ("", None, None),
        ] {
            let read = text.parse::<DatabaseUrl>();
            let found = read.as_ref().ok().map(|url| (url.config.get_hosts().to_vec(), url.encryption()));
            assert_eq!(found, host.map(|host| (vec![Host::Tcp(host.into())], encryption)), "{text} {read:?}");
        }
        let socket: DatabaseUrl = "postgres://u@%2Frun%2Fpostgresql/d?sslmode=require".parse().unwrap();
        assert_eq!(socket.config(Encryption::Require).get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn no_password_is_shown() {
        for (text, expected) in [
            (
                "postgres://gatepost:s3cret@db.example/g?sslmode=require",
                "postgres://gatepost:***@db.example/g?sslmode=require",
            ),
            ("postgres://gatepost:s3@cr:et/?@db.example/g", "postgres://gatepost:***@db.example/g"),
            ("postgres://gatepost@db.example/g", "postgres://gatepost@db.example/g"),
            ("postgres://db.example/g?user=u&password=s3cret", "postgres://db.example/g?user=u&password=***"),
            ("postgres://db.example/g?password=s3@cret", "postgres://***@cret"),
            ("s3cret", "***"),
        ] {
            assert_eq!(masked(text), expected);
            let shown = match text.parse::<DatabaseUrl>() {
                Ok(url) => format!("{url} {url:?} {:?}", url.config(Encryption::Prefer)),
                Err(error) => error,
            };
            assert!(!shown.contains("s3"), "{shown}");
        }
    }
}
