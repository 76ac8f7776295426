//! Mail over SMTP, as plain text (RFC 5322, RFC 2047).

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::rfc2822;
use lettre::address::Envelope;
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Address, AsyncTransport as _, Tokio1Executor};

use super::notice::Notice;
use super::send::{NotSent, secret};
use super::words::Words;
use crate::config::notifications::{Mail, MailTls};

/// How long the server may take for each answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Characters of a line of base64 (RFC 2045).
const LINE: usize = 76;

/// Bytes of a word of a header: with what surrounds it in base64 a line stays below 77 characters.
const WORD: usize = 39;

/// Sends a notice to whom the namespaces' annotation names, or else to whom the target does.
pub(super) async fn send(
    mail: &Mail,
    authorities: Option<&Path>,
    notice: &Notice,
    words: &Words,
    id: &str,
) -> Result<(), NotSent> {
    let to = match &notice.recipient {
        Some(named) => named.split(',').map(str::to_owned).collect(),
        None => mail.to.clone(),
    };
    let address = |text: &String| text.parse::<Address>().map_err(|_| format!("{text:?} is no address"));
    let addresses: Result<Vec<Address>, String> = to.iter().map(address).collect();
    let refused = |cause| NotSent::Refused { cause };
    let from = address(&mail.from).map_err(refused)?;
    let envelope = Envelope::new(Some(from), addresses.map_err(refused)?);
    let envelope = envelope.map_err(|_| refused("there is nobody to send to: the target has no `to`".to_owned()))?;
    let transport = transport(mail, authorities)?;
    let sent = transport.send_raw(&envelope, message(mail, &to, notice, words, id).as_bytes()).await;
    sent.map(drop).map_err(|error| {
        let cause = crate::scan::client::chain(&error);
        if error.is_permanent() { refused(cause) } else { NotSent::later(cause) }
    })
}

fn transport(mail: &Mail, authorities: Option<&Path>) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotSent> {
    let parameters = || parameters(&mail.host, authorities).map_err(NotSent::later);
    let tls = match mail.tls {
        MailTls::Starttls => Tls::Required(parameters()?),
        MailTls::Tls => Tls::Wrapper(parameters()?),
        MailTls::None => Tls::None,
    };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(mail.host.as_str());
    let builder = builder.port(mail.port).timeout(Some(TIMEOUT)).tls(tls);
    Ok(match &mail.sign_in {
        Some((user, password)) => builder.credentials(Credentials::new(user.clone(), secret(password)?)).build(),
        None => builder.build(),
    })
}

fn parameters(host: &str, authorities: Option<&Path>) -> Result<TlsParameters, String> {
    let builder = TlsParameters::builder(host.to_owned());
    let builder = match authorities {
        None => builder,
        Some(file) => {
            let fault = |cause: &dyn std::fmt::Display| format!("{}: {cause}", file.display());
            let text = fs::read(file).map_err(|error| fault(&error))?;
            let own = Certificate::from_pem(&text).map_err(|error| fault(&error))?;
            builder.certificate_store(CertificateStore::None).add_root_certificate(own)
        }
    };
    builder.build().map_err(|error| error.to_string())
}

/// Returns the message. Addresses were checked to hold nothing that ends a line; everything else is in base64.
fn message(mail: &Mail, to: &[String], notice: &Notice, words: &Words, id: &str) -> String {
    let host = mail.from.rsplit_once('@').map_or("gatepost", |(_, host)| host);
    let date = rfc2822::to_string(&notice.time.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default();
    let headline = words.title.clone().unwrap_or_else(|| notice.headline());
    let usual = || format!("{headline}\n\n{}", notice.plain());
    let text = STANDARD.encode(words.text.clone().unwrap_or_else(usual));
    let body: Vec<&str> =
        (0..text.len()).step_by(LINE).filter_map(|at| text.get(at..text.len().min(at.saturating_add(LINE)))).collect();
    let subject = match &words.title {
        // A header is one line.
        Some(title) => title.split_whitespace().collect::<Vec<_>>().join(" "),
        None => format!("[Gatepost] {headline}"),
    };
    format!(
        "From: Gatepost <{from}>\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{id}@{host}>\r\n\
         Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{body}\r\n",
        from = mail.from,
        to = to.join(", "),
        subject = encoded(&subject),
        body = body.join("\r\n"),
    )
}

/// Returns a text as words of a header, each with whole characters.
fn encoded(text: &str) -> String {
    let mut words = vec![String::new()];
    for character in text.chars() {
        let is_full = words.last().is_some_and(|word| word.len().saturating_add(character.len_utf8()) > WORD);
        if is_full {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    let words = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}
