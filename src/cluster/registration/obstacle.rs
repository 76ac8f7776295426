//! Why the API server does not reach Gatepost, read from what it says, and what to do about it.

use std::fmt;

/// Where the API server tries to reach Gatepost; names the ports that something may block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Namespace of the Service `gatepost`.
    pub namespace: String,
    /// Port of the Service.
    pub service_port: i32,
    /// Port on which this process listens.
    pub pod_port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, service_port, pod_port } = self;
        write!(f, "port {pod_port} of the Pods behind Service {namespace}/gatepost (port {service_port})")
    }
}

/// What stands between the API server and Gatepost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Nothing listens there.
    Refused,
    /// Packets are lost on the way.
    Lost,
    /// There is no route.
    NoRoute,
    /// The certificate is not trusted, or not for this name.
    Certificate,
    /// What answers speaks no TLS, or ends the connection.
    NotTls,
    /// There is no Service.
    NoService,
    /// The Service has no Pod that is ready.
    NoEndpoints,
    /// The name of the Service is not found.
    NoName,
    /// The API server's own way into the cluster, a tunnel or proxy, does not work.
    Tunnel,
    /// Something answered, but not Gatepost.
    Stranger,
    /// Anything else.
    Other,
}

/// What the API server's words mean; the first that fits counts.
const SIGNS: [(&str, Obstacle); 20] = [
    ("no agent available", Obstacle::Tunnel),
    ("error dialing backend", Obstacle::Tunnel),
    ("proxyconnect", Obstacle::Tunnel),
    ("no endpoints available", Obstacle::NoEndpoints),
    ("x509:", Obstacle::Certificate),
    ("tls: failed to verify", Obstacle::Certificate),
    ("certificate", Obstacle::Certificate),
    ("connection refused", Obstacle::Refused),
    ("no route to host", Obstacle::NoRoute),
    ("network is unreachable", Obstacle::NoRoute),
    ("no such host", Obstacle::NoName),
    ("server misbehaving", Obstacle::NoName),
    ("server gave http response to https client", Obstacle::NotTls),
    ("does not look like a tls handshake", Obstacle::NotTls),
    ("connection reset", Obstacle::NotTls),
    (": eof", Obstacle::NotTls),
    ("timeout exceeded", Obstacle::Lost),
    ("deadline exceeded", Obstacle::Lost),
    ("i/o timeout", Obstacle::Lost),
    ("tls handshake timeout", Obstacle::Lost),
];

impl Obstacle {
    /// Reads what the API server says of a webhook that it could not ask.
    pub fn read(message: &str) -> Self {
        let message = message.to_lowercase();
        if message.contains("service \"") && message.contains("not found") {
            return Self::NoService;
        }
        if let Some((_, obstacle)) = SIGNS.iter().find(|(sign, _)| message.contains(sign)) {
            return *obstacle;
        }
        let answered = ["the server could not find", "expected webhook response", "the server is currently unable"];
        if answered.iter().any(|sign| message.contains(sign)) { Self::Stranger } else { Self::Other }
    }

    /// Returns what is wrong, where, and how to mend it.
    pub fn explain(self, place: &Place) -> String {
        let cannot = format!("the API server cannot reach {place}");
        match self {
            Self::Refused => {
                format!(
                    "{cannot}: the connection is refused; nothing listens there, or a firewall rejects the control plane"
                )
            }
            Self::Lost => format!(
                "{cannot}: no answer in time; a firewall or NetworkPolicy must admit the control plane to port {} (on \
                 private GKE clusters a firewall rule from the control plane to the nodes)",
                place.pod_port
            ),
            Self::NoRoute => format!(
                "{cannot}: there is no route; the control plane must be in a network that routes to Pods, or the Pods \
                 run with hostNetwork"
            ),
            Self::Certificate => {
                format!("{cannot}: it does not trust the certificate there; caBundle and certificate do not fit")
            }
            Self::NotTls => format!(
                "{cannot}: what answers there ends the connection or speaks no TLS; a proxy or service mesh stands between"
            ),
            Self::NoService => format!("there is no Service {}/gatepost: apply the manifests again", place.namespace),
            Self::NoEndpoints => {
                format!(
                    "Service {}/gatepost has no Pod that is ready: its selector, or the Pods' readiness",
                    place.namespace
                )
            }
            Self::NoName => format!("{cannot}: the Service's name is not found"),
            Self::Tunnel => format!(
                "{cannot}: its own tunnel into the cluster (Konnectivity or a proxy) fails; the control plane's operator \
                 must mend it"
            ),
            Self::Stranger => format!("{cannot}: something else answers there"),
            Self::Other => cannot,
        }
    }
}
