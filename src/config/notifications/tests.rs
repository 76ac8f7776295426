//! What targets may say.

use std::path::Path;

use super::*;
use crate::config::Config;

fn read(text: &str) -> Result<Vec<Target>, String> {
    let config = Config::parse(Path::new("gatepost.yaml"), text).map_err(|error| error.to_string())?;
    Ok(config.notifications.to_vec())
}

#[test]
fn targets_are_what_they_say() {
    let text = "notifications:\n\
                - {name: chat, kind: slack, urlFile: /s/slack, namespaces: annotated, severity: high}\n\
                - {name: soc, kind: webhook, url: 'https://soc.example/in', secretFile: /s/key, events: [denials]}\n\
                - {name: post, kind: email, server: 'smtp.example', from: g@example.com, to: [a@example.com],\n\
                   every: 1h, allow: ['*@example.com'], user: g, passwordFile: /s/p}\n";
    let targets = read(text).unwrap();
    let [chat, soc, post] = targets.as_slice() else { panic!("{targets:?}") };
    assert!(matches!(&chat.way, Way::Slack { url: Place::File(file) } if file == Path::new("/s/slack")));
    assert_eq!((chat.reach, chat.severity), (Reach::Annotated, Severity::High));
    assert_eq!(chat.events, Event::USUAL.into());
    assert_eq!(soc.events, [Event::Denials].into());
    assert_eq!((soc.pause, post.pause), (PAUSE, Duration::from_hours(1)));
    let Way::Email(mail) = &post.way else { panic!("{post:?}") };
    assert_eq!((mail.host.as_str(), mail.port, mail.tls), ("smtp.example", 587, MailTls::Starttls));
    assert!(mail.allow[0].is_match("b@example.com") && !mail.allow[0].is_match("b@example.org"));
    assert!(read("").unwrap().is_empty());
}

#[test]
fn faults_name_their_place() {
    for (text, cause) in [
        ("{name: A, kind: slack, urlFile: f}", ":1: notifications[0].name: \"A\" is no name"),
        ("{name: a, kind: slack, url: 'https://h/x'}", "[0].url: is itself the secret here"),
        ("{name: a, kind: slack}", "[0].urlFile: the URL is needed"),
        ("{name: a, kind: webhook, url: ftp://h}", "[0].url: is no URL such as"),
        ("{name: a, kind: webhook, url: 'https://u:p@h'}", "[0].url: is no URL such as"),
        ("{name: a, kind: webhook, url: 'https://h', urlFile: f}", "[0].url: does not go with urlFile"),
        ("{name: a, kind: slack, urlFile: f, secretFile: s}", "[0].secretFile: means nothing"),
        ("{name: a, kind: slack, urlFile: f, severity: hihg}", "[0].severity: \"hihg\""),
        ("{name: a, kind: slack, urlFile: f, every: soon}", "[0].every: \"soon\" is no length of time"),
        (
            "{name: a, kind: slack, urlFile: f, events: [finding]}",
            "unknown variant `finding`, expected one of findings",
        ),
        ("{name: a, kind: slack, urlFile: f, text: '{{ title'}", "[0].text: line 1: unexpected end of input"),
        ("{name: a, kind: webhook, url: 'https://h', text: '{{ title }} {'}", "[0].text: makes no JSON"),
        ("{name: a, kind: webhook, url: 'https://h', title: a}", "[0].title: means nothing"),
        ("{name: a, kind: alertmanager, url: 'https://h', text: a}", "[0].text: means nothing"),
        ("{name: a, kind: slack, urlFil: f}", "did you mean `urlFile`?"),
        ("{name: a, kind: email, from: a@b, to: [c@d]}", "[0].server: is needed"),
        ("{name: a, kind: email, server: h, from: a, to: [c@d]}", "[0].from: an address is needed"),
        ("{name: a, kind: email, server: h, from: a@b, to: ['c@d,e@f']}", "[0].to: \"c@d,e@f\" is no address"),
        ("{name: a, kind: email, server: h, from: a@b, to: [c@d], user: u}", "[0].passwordFile: goes with user"),
        (
            "{name: a, kind: email, server: h, from: a@b, to: [c@d], user: u, passwordFile: p, tls: none}",
            "[0].tls: a password goes only over TLS",
        ),
        (
            "{name: a, kind: slack, urlFile: f}\n- {name: a, kind: slack, urlFile: f}",
            "[1].name: \"a\" is the name of another target",
        ),
    ] {
        let fault = read(&format!("notifications:\n- {text}\n")).unwrap_err();
        assert!(fault.contains(cause) || fault.replace(":2: ", ":1: ").contains(cause), "{text}: {fault}");
    }
}
