//! A mail server that speaks STARTTLS and asks for a password, and keeps what it gets.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::scene::Scene;
use crate::policy::Severity;
use crate::webhook::tls;

#[derive(Debug, Default)]
struct Letter {
    signed_in: String,
    from: String,
    to: Vec<String>,
    text: String,
}

/// Talks until the connection is to become TLS, or ends; returns whether it is to become TLS.
async fn talk(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    is_private: bool,
    got: &mpsc::UnboundedSender<Letter>,
) -> bool {
    let mut letter = Letter::default();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
            return false;
        }
        let line = line.trim_end();
        let answer = match line.split([' ', ':']).next().unwrap_or_default().to_uppercase().as_str() {
            "EHLO" if is_private => "250-here\r\n250 AUTH PLAIN\r\n",
            "EHLO" => "250-here\r\n250 STARTTLS\r\n",
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await.unwrap();
                return true;
            }
            "AUTH" => {
                letter.signed_in = line.to_owned();
                "235 welcome\r\n"
            }
            "MAIL" => {
                letter.from = line.to_owned();
                "250 ok\r\n"
            }
            "RCPT" if line.contains("nobody@") => "550 there is no such mailbox\r\n",
            "RCPT" => {
                letter.to.push(line.to_owned());
                "250 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if line == ".\r\n" {
                        break;
                    }
                    letter.text.push_str(&line);
                }
                drop(got.send(std::mem::take(&mut letter)));
                "250 taken\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn server(acceptor: TlsAcceptor) -> (u16, mpsc::UnboundedReceiver<Letter>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (got, letters) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, got) = (acceptor.clone(), got.clone());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream.write_all(b"220 here\r\n").await.unwrap();
                if talk(&mut stream, false, &got).await
                    && let Ok(private) = acceptor.accept(stream.into_inner()).await
                {
                    talk(&mut BufReader::new(private), true, &got).await;
                }
            });
        }
    });
    (port, letters)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_over_tls_to_whom_the_annotation_may_name() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let (port, mut letters) = server(TlsAcceptor::from(Arc::new(config))).await;

    let scene = Scene::new().await;
    let (ca, password) = (scene.file("ca.crt", &made.cert.pem()), scene.file("password", "s3cret\n"));
    scene.annotate("shop", "notify.gatepost.dev/post", "shop@example.com, spy@example.org");
    scene.annotate("api", "notify.gatepost.dev/post", "spy@example.org");
    let desk = scene.notify(&format!(
        "- {{name: post, kind: email, server: '127.0.0.1:{port}', ca: {ca}, user: gate, passwordFile: {password},\n   \
         from: gate@example.com, to: [ops@example.com], allow: ['*@example.com']}}\n\
         - {{name: lost, kind: email, server: '127.0.0.1:{port}', ca: {ca}, from: gate@example.com,\n   \
         to: [nobody@example.com], events: []}}\n\
         - {{name: blind, kind: email, server: '127.0.0.1:{port}', from: gate@example.com, to: [ops@example.com],\n   \
         events: []}}"
    ));
    scene.audit(&["shop", "api"].map(|namespace| (namespace, "größe".to_owned(), Severity::High))).await;
    let mut got = Vec::new();
    for _ in 0..2 {
        let letter = tokio::time::timeout(std::time::Duration::from_secs(30), letters.recv()).await;
        got.push(letter.expect("no mail came").unwrap());
    }
    got.sort_by(|a, b| a.to.cmp(&b.to));
    let to: Vec<&[String]> = got.iter().map(|letter| letter.to.as_slice()).collect();
    assert_eq!(to, [["RCPT TO:<ops@example.com>"], ["RCPT TO:<shop@example.com>"]]);
    let letter = &got[1];
    assert_eq!(letter.from.split_whitespace().nth(1), Some("FROM:<gate@example.com>"));
    assert_eq!(letter.signed_in, format!("AUTH PLAIN {}", STANDARD.encode("\0gate\0s3cret")));
    let (head, body) = letter.text.split_once("\r\n\r\n").unwrap();
    let text = String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).unwrap()).unwrap();
    assert!(text.starts_with("the first audit found 1 violation in 1 namespace: 1 high\n\n"), "{text}");
    assert!(text.ends_with("\nhttps://gate.example/findings?namespace=shop\n"), "{text}");
    let subject = head.split("\r\n").skip_while(|line| !line.starts_with("Subject: "));
    let words = subject.take_while(|line| line.starts_with("Subject: ") || line.starts_with(' '));
    let subject: String = words
        .map(|line| {
            assert!(line.len() <= 76, "{line}");
            let word = line.trim_start_matches("Subject: ").trim();
            let word = word.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap();
            String::from_utf8(STANDARD.decode(word).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(subject, "[Gatepost] the first audit found 1 violation in 1 namespace: 1 high");

    let refused = desk.test("lost").await.unwrap().unwrap_err();
    assert!(
        matches!(&refused, crate::notify::NotSent::Refused { cause } if cause.contains("no such mailbox")),
        "{refused}"
    );
    let blind = desk.test("blind").await.unwrap().unwrap_err().to_string();
    assert!(
        blind.contains("certificate") || blind.contains("UnknownIssuer"),
        "a server that nobody vouches for: {blind}"
    );
}
