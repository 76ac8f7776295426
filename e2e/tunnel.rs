//! `gatepost dashboard` through the real API server. There is no kubelet in the tests' cluster, so this one stands in for
//! it: it does what the API server asks a node for when somebody forwards a port.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream as AsyncStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::support::objects::{Object, untagged};
use crate::support::wait::eventually;
use crate::support::{Gatepost, Options, apply, create, kubectl, patch};

/// Everybody signs in, so that the process listens as it does in a Pod: over TLS, and asking for a token.
const CONFIG: &str = "externalUrl: https://gatepost.example
auth:
  oidc: {issuer: 'http://127.0.0.1:1', clientId: gatepost}
  groups: {nobody: [nothing]}
";
const PORT: u16 = 8080;
/// The protocol of kubelets, of those that are offered.
const PROTOCOL: &str = "v4.channel.k8s.io";

#[test]
fn a_kubeconfig_opens_the_dashboard_with_the_rights_of_its_token() {
    let arguments = &["--audit-interval", "2s"];
    let options = Options { config: CONFIG, arguments, ..Options::default() };
    let Some(gatepost) = Gatepost::start(&options) else { return };
    let inside = eventually("the address of the API", || gatepost.serving().http()).parse().expect("an address");
    let kubelet = kubelet(inside);
    let home = gatepost.namespace("tunnel", &[]);
    let (seen, hidden) = (gatepost.namespace("tunnel-seen", &[]), gatepost.namespace("tunnel-hidden", &[]));
    for there in [&seen, &hidden] {
        there.accepts(apply(&untagged("web")));
    }
    let node = Object(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": home.name}}));
    gatepost.kubectl().accepts(create(&node));
    let _gone = Gone(&gatepost, format!("node/{}", home.name));
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet}},
    }});
    gatepost.kubectl().accepts(patch(&format!("node {}", home.name), &status).with("--subresource=status"));

    let ours = |arguments: &[&str]| Dashboard::start(gatepost.control_plane().kubeconfig(), &home.name, arguments);
    let (code, said) = ours(&[]).ended();
    assert!(code == Some(5) && said.contains("no Pod in namespace"), "{code:?} {said}");
    home.accepts(create(&scanner(&home.name)));
    let (code, said) = ours(&[]).ended();
    assert!(code == Some(5) && said.contains("Pod gatepost-scanner-0 in namespace"), "{code:?} {said}");
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    home.accepts(patch("pod gatepost-scanner-0", &ready).with("--subresource=status"));

    let (code, said) = ours(&[]).ended();
    assert!(code == Some(2) && said.contains("does not vouch for it for the audience gatepost"), "{code:?} {said}");
    assert!(said.contains("--service-account") && said.contains("auth.audiences"), "{said}");
    home.accepts(kubectl("create serviceaccount jane"));
    let account = format!("{}/jane", home.name);
    let (code, said) = ours(&["--service-account", "nobody"]).ended();
    assert!(code == Some(2) && said.contains("no token for ServiceAccount nobody"), "{code:?} {said}");
    let (code, said) = ours(&["--service-account", &account]).ended();
    assert!(code == Some(2) && said.contains("no role lets it read"), "{code:?} {said}");

    let rules = json!([{"apiGroups": ["gatepost.dev"], "resources": ["findings"], "verbs": ["get"]}]);
    seen.accepts(apply(&Object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "findings"}, "rules": rules,
    }))));
    let named = account.replace('/', ":");
    seen.accepts(kubectl(&format!("create rolebinding findings --role=findings --serviceaccount={named}")));
    // What Gatepost was told of the first token holds for a minute; this process has another one.
    let dashboard = eventually("the role counts", || {
        let dashboard = ours(&["--service-account", &account]);
        dashboard.link.is_some().then_some(dashboard)
    });
    let cookie = dashboard.sign_in();
    let (status, _, page) = dashboard.ask("GET", "/findings", &format!("Cookie: {cookie}\r\n"));
    assert!(status == 200 && page.contains(&format!("You see the namespaces {},", seen.name)), "{status} {page}");
    let namespaces =
        || namespaces_of(&dashboard.ask("GET", "/api/v1/findings?limit=1000", &format!("Cookie: {cookie}\r\n")).2);
    let found = eventually("findings", || Some(namespaces()).filter(|found| !found.is_empty()));
    assert_eq!(found, [&*seen.name]);
    let (status, ..) = dashboard.ask("GET", "/findings", "");
    assert_eq!(status, 401, "only the browser that followed the link");
    drop(dashboard);

    // Whoever runs Gatepost may take the API server's own tokens.
    gatepost.mount_config(&format!("{CONFIG}  audiences: ['https://kubernetes.default.svc']\n"));
    let dashboard = eventually("the API server's audience is taken", || {
        let dashboard = ours(&[]);
        dashboard.link.is_some().then_some(dashboard)
    });
    let cookie = dashboard.sign_in();
    eventually("findings of everything", || {
        let (_, _, body) = dashboard.ask("GET", "/api/v1/findings?limit=1000", &format!("Cookie: {cookie}\r\n"));
        let found = namespaces_of(&body);
        [&seen, &hidden].iter().all(|there| found.contains(&there.name)).then_some(())
    });
}

fn namespaces_of(body: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let found = answer["items"].as_array().expect("items").iter();
    let mut found: Vec<String> =
        found.map(|finding| finding["resource"]["namespace"].as_str().unwrap_or_default().to_owned()).collect();
    found.sort();
    found.dedup();
    found
}

fn scanner(node: &str) -> Object {
    Object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "gatepost-scanner-0",
            "labels": {"app.kubernetes.io/name": "gatepost", "app.kubernetes.io/component": "scanner"},
        },
        "spec": {
            "nodeName": node,
            "containers": [{
                "name": "gatepost", "image": "ghcr.io/gatepost/gatepost:0.1.0",
                "ports": [{"name": "http", "containerPort": PORT}],
            }],
        },
    }))
}

/// Takes an object away that stands in no namespace of the test.
struct Gone<'a>(&'a Gatepost, String);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.kubectl().run(kubectl(&format!("delete {} --wait=false", self.1)));
    }
}

/// A `gatepost dashboard` that runs, or has ended.
struct Dashboard {
    child: Child,
    link: Option<String>,
    lines: Receiver<String>,
}

impl Dashboard {
    fn start(kubeconfig: &Path, namespace: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["dashboard", "--no-browser", "--namespace", namespace, "--kubeconfig"])
            .arg(kubeconfig)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gatepost starts");
        let (sender, lines) = mpsc::channel();
        let said = child.stdout.take().expect("the stdout asked for");
        thread::spawn(move || {
            let lines = BufReader::new(said).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let link = lines.recv_timeout(Duration::from_mins(1)).ok();
        Self { child, link, lines }
    }

    /// Returns the exit code, and what was said of why.
    fn ended(mut self) -> (Option<i32>, String) {
        assert!(self.link.is_none(), "{:?} {:?}", self.link, self.lines.try_iter().collect::<Vec<_>>());
        let mut said = String::new();
        self.child.stderr.take().expect("the stderr asked for").read_to_string(&mut said).expect("words");
        (self.child.wait().expect("an end").code(), said)
    }

    fn address(&self) -> (&str, &str) {
        let link = self.link.as_deref().and_then(|link| link.strip_prefix("http://")).expect("a link");
        link.split_at(link.find('/').expect("a path"))
    }

    /// Follows the link, once and in vain again, and returns the cookie.
    fn sign_in(&self) -> String {
        let (_, path) = self.address();
        let (status, head, page) = self.ask("GET", path, "");
        assert!(status == 200 && page.contains("url=/"), "{status} {page}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        assert_eq!(self.ask("GET", path, "").0, 403, "the link counts once");
        cookie.split(';').next().expect("a cookie").to_owned()
    }

    /// Asks the process: status, head and body.
    fn ask(&self, method: &str, path: &str, header: &str) -> (u16, String, String) {
        let (host, _) = self.address();
        let mut stream = TcpStream::connect(host).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{header}\r\n").expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_owned(), body.to_owned())
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts what stands in for a kubelet: whatever Pod and port is meant, bytes go to one address. Returns its own port.
fn kubelet(to: SocketAddr) -> u16 {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).expect("a key");
    let builder = ServerConfig::builder_with_provider(gatepost::webhook::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().expect("protocols").with_no_client_auth();
    let tls = builder.with_single_cert(vec![certificate.cert.der().clone()], key).expect("a key pair");
    let (sender, port) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address").port()).expect("a reader");
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        forward(stream, to).await;
                    }
                });
            }
        });
    });
    port.recv().expect("a port")
}

/// Speaks the kubelet's side of port forwarding over WebSockets: channel 0 has the bytes, channel 1 errors, and each
/// begins with the port.
#[allow(clippy::result_large_err, reason = "the crate says what the answer of a handshake is")]
async fn forward(stream: tokio_rustls::server::TlsStream<AsyncStream>, to: SocketAddr) {
    let agree = |request: &Request, mut response: Response| {
        assert!(request.uri().path().starts_with("/portForward/"), "{request:?}");
        let offered = request.headers()["sec-websocket-protocol"].to_str().expect("words");
        assert!(offered.contains(PROTOCOL), "{offered}");
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async(stream, agree).await else { return };
    let (mut sink, mut frames) = socket.split();
    let [low, high] = PORT.to_le_bytes();
    for channel in [0, 1] {
        if sink.send(Message::binary(vec![channel, low, high])).await.is_err() {
            return;
        }
    }
    let (mut from, mut into) = AsyncStream::connect(to).await.expect("Gatepost").into_split();
    let outward = tokio::spawn(async move {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            let frame = [&[0], &bytes[..read]].concat();
            if sink.send(Message::binary(frame)).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    });
    while let Some(Ok(frame)) = frames.next().await {
        if let Message::Binary(bytes) = frame
            && bytes.first() == Some(&0)
            && into.write_all(&bytes[1..]).await.is_err()
        {
            break;
        }
    }
    outward.abort();
}
