//! A provider that says what a test wants it to say, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::*;

const REDIRECT: &str = "https://gatepost.example/sign-in/oidc/callback";

/// What the provider says, and was asked.
#[derive(Default)]
struct Said {
    address: String,
    discovery: Mutex<Json>,
    keys: Mutex<Vec<Json>>,
    answer: Mutex<(u16, Json)>,
    redeemed: Mutex<Vec<(HeaderMap, BTreeMap<String, String>)>>,
    discovered: AtomicUsize,
    keys_read: AtomicUsize,
}

/// A provider with one key.
struct Issuer {
    said: Arc<Said>,
    key: Key,
}

/// Makes a token of claims.
type Forge<'a> = Box<dyn Fn(&Json) -> String + 'a>;

struct Key {
    id: String,
    signing: EncodingKey,
    public: Json,
}

fn key(id: &str) -> Key {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let signing = EncodingKey::from_ec_der(&pair.serialize_der());
    let mut public = serde_json::to_value(Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap()).unwrap();
    (public["kid"], public["use"]) = (id.into(), "sig".into());
    Key { id: id.into(), signing, public }
}

impl Key {
    fn sign(&self, claims: &Json) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.signing).unwrap()
    }
}

impl Issuer {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let key = key("first");
        let said = Arc::new(Said {
            discovery: Mutex::new(json!({
                "issuer": address, "authorization_endpoint": format!("{address}/auth?tenant=1"),
                "token_endpoint": format!("{address}/token"), "jwks_uri": format!("{address}/keys"),
            })),
            // A key that nobody understands stands before the right one.
            keys: Mutex::new(vec![json!({"kty": "AKP", "kid": "first"}), key.public.clone()]),
            address,
            ..Said::default()
        });
        let discover = async |State(said): State<Arc<Said>>| {
            said.discovered.fetch_add(1, Ordering::Relaxed);
            axum::Json(said.discovery.lock().unwrap().clone())
        };
        let keys = async |State(said): State<Arc<Said>>| {
            said.keys_read.fetch_add(1, Ordering::Relaxed);
            axum::Json(json!({"keys": *said.keys.lock().unwrap()}))
        };
        let token = async |State(said): State<Arc<Said>>, headers: HeaderMap, body: Bytes| {
            said.redeemed.lock().unwrap().push((headers, form_urlencoded::parse(&body).into_owned().collect()));
            let (status, answer) = said.answer.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), axum::Json(answer))
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discover))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(said.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { said, key }
    }

    fn oidc(&self) -> Oidc {
        Oidc {
            name: "Work".into(),
            issuer: self.said.address.clone(),
            client_id: "gatepost".into(),
            client_secret_file: None,
            scopes: vec!["openid".into(), "groups".into()],
            groups_claim: "groups".into(),
            username_claim: None,
            authorities: None,
            session: Duration::from_hours(8),
        }
    }

    fn claims(&self, nonce: &str) -> Json {
        let now = Timestamp::now().as_second();
        json!({
            "iss": self.said.address, "aud": "gatepost", "sub": "7", "exp": now + 300, "iat": now, "nonce": nonce,
            "preferred_username": "jane", "groups": ["team-shop", "everybody"],
        })
    }

    /// Has the token endpoint give this ID token.
    fn gives(&self, token: &str) {
        let answer = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": token});
        *self.said.answer.lock().unwrap() = (200, answer);
    }
}

/// A browser that has left for the provider.
struct Away {
    query: BTreeMap<String, String>,
    browser: String,
}

impl Away {
    async fn new(sign_in: &SignIn, oidc: &Oidc) -> Self {
        let Begun { url, browser } = sign_in.begin(oidc, REDIRECT, "/findings", None).await.unwrap();
        let (address, query) = url.split_once('?').unwrap();
        assert_eq!(address, format!("{}/auth", oidc.issuer));
        Self { query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(), browser }
    }

    fn nonce(&self) -> &str {
        &self.query["nonce"]
    }

    fn back(&self) -> Back {
        let (browser, state) = (self.browser.clone(), self.query["state"].clone());
        Back { browser, state, code: "code".into(), ..Back::default() }
    }
}

fn doubt(doubt: Doubt) -> Fault {
    Fault::Doubtful { name: "Work".into(), doubt }
}

#[tokio::test]
async fn whom_the_provider_vouches_for_is_signed_in() {
    let (issuer, sign_in) = (Issuer::open().await, SignIn::default());
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret/+\n").unwrap();
    let oidc = Oidc { client_secret_file: Some(secret.path().to_owned()), ..issuer.oidc() };
    let away = Away::new(&sign_in, &oidc).await;
    for (name, expected) in [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "gatepost"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid groups"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(away.query[name], expected, "{name}");
    }
    assert!(away.query["state"].len() >= 43 && away.nonce().len() >= 43 && away.query["state"] != away.nonce());
    issuer.gives(&issuer.key.sign(&issuer.claims(away.nonce())));
    let (person, next) = sign_in.finish(&away.back()).await.unwrap();
    assert_eq!((person.name.as_str(), next.as_str()), ("jane", "/findings"));
    assert_eq!(person.groups, ["team-shop", "everybody"]);
    let left = person.ends.duration_since(Timestamp::now()).as_secs();
    assert!((8 * 3600 - 60..=8 * 3600).contains(&left), "{left}");
    {
        let redeemed = issuer.said.redeemed.lock().unwrap();
        let (headers, form) = &redeemed[0];
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
        assert_eq!(challenge, away.query["code_challenge"]);
        assert_eq!(headers["authorization"], format!("Basic {}", STANDARD.encode("gatepost:s3cret%2F%2B")));
        let form = ["grant_type", "code", "redirect_uri"].map(|name| form[name].as_str());
        assert_eq!(form, ["authorization_code", "code", REDIRECT]);
    }
    let session = sign_in.sessions.begin(person.clone()).unwrap();
    assert!(is_session(&session));
    assert_eq!(sign_in.sessions.person(&session, Timestamp::now()).as_deref(), Some(&person));
    assert_eq!(sign_in.sessions.person(&session, person.ends), None, "a session is bounded");
    assert_eq!(sign_in.sessions.person(&format!("{session}x"), Timestamp::now()), None);
    sign_in.sessions.end(&session);
    assert_eq!(sign_in.sessions.person(&session, Timestamp::now()), None);
}

#[tokio::test]
async fn no_forged_token_signs_anybody_in() {
    let (issuer, sign_in) = (Issuer::open().await, SignIn::default());
    let (oidc, other) = (issuer.oidc(), key("first"));
    let with = |nonce: &str, changed: &Json| {
        let mut claims = issuer.claims(nonce);
        for (name, value) in changed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let now = Timestamp::now().as_second();
    for (changed, expected) in [
        (json!({"aud": "other"}), Doubt::Audience),
        (json!({"aud": ["other", "another"]}), Doubt::Audience),
        (json!({"azp": "other"}), Doubt::Audience),
        (json!({"aud": null}), Doubt::Unreadable),
        (json!({"iss": "https://other.example"}), Doubt::Issuer),
        (json!({"iss": [oidc.issuer, "https://other.example"]}), Doubt::Issuer),
        (json!({"nonce": "other"}), Doubt::Nonce),
        (json!({"nonce": null}), Doubt::Nonce),
        (json!({"exp": now - 120}), Doubt::Time),
        (json!({"exp": null}), Doubt::Unreadable),
        (json!({"nbf": now + 600}), Doubt::Time),
        (json!({"sub": null}), Doubt::Unreadable),
        (json!({"preferred_username": "", "sub": " "}), Doubt::Nameless),
    ] {
        let away = Away::new(&sign_in, &oidc).await;
        issuer.gives(&issuer.key.sign(&with(away.nonce(), &changed)));
        assert_eq!(sign_in.finish(&away.back()).await, Err(doubt(expected)), "{changed}");
    }
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let public = issuer.key.public.to_string();
    let hmac = |claims: &Json| {
        let header = Header { kid: Some("first".into()), ..Header::new(Algorithm::HS256) };
        encode(&header, claims, &EncodingKey::from_secret(public.as_bytes())).unwrap()
    };
    let forged: Vec<(&str, Forge<'_>, Doubt)> = vec![
        ("unsigned", Box::new(|c| format!("{}.{}.", part(&json!({"alg": "none"})), part(c))), Doubt::Algorithm),
        ("signed with the public key as a secret", Box::new(hmac), Doubt::Algorithm),
        ("signed by another key of the same name", Box::new(|c| other.sign(c)), Doubt::Signature),
        ("signed by a key that is not published", Box::new(|c| key("second").sign(c)), Doubt::UnknownKey),
        (
            "with a key of its own in the header",
            Box::new(|c| {
                let jwk = serde_json::from_value(other.public.clone()).ok();
                let header = Header { jwk, kid: Some("first".into()), ..Header::new(Algorithm::ES256) };
                encode(&header, c, &other.signing).unwrap()
            }),
            Doubt::Signature,
        ),
        (
            "with an extension that must be understood",
            Box::new(|c| {
                let crit = Some(vec!["exp".into()]);
                encode(&Header { crit, ..Header::new(Algorithm::ES256) }, c, &issuer.key.signing).unwrap()
            }),
            Doubt::Algorithm,
        ),
        (
            "with other claims under the signature",
            Box::new(|c| {
                let token = issuer.key.sign(c);
                let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
                let mut claims = c.clone();
                claims["groups"] = json!(["admins"]);
                format!("{header}.{}.{signature}", part(&claims))
            }),
            Doubt::Signature,
        ),
        ("no token", Box::new(|_| "a.b.c".into()), Doubt::Unreadable),
        ("nothing", Box::new(|_| String::new()), Doubt::Unreadable),
    ];
    for (what, forge, expected) in forged {
        let away = Away::new(&sign_in, &oidc).await;
        issuer.gives(&forge(&issuer.claims(away.nonce())));
        assert_eq!(sign_in.finish(&away.back()).await, Err(doubt(expected)), "{what}");
    }
    assert_eq!(issuer.said.keys_read.load(Ordering::Relaxed), 1, "a wrong key has keys read again once in ten seconds");
}

#[tokio::test]
async fn a_sign_in_is_ended_once_and_by_the_browser_that_began_it() {
    let (issuer, sign_in) = (Issuer::open().await, SignIn::default());
    let away = Away::new(&sign_in, &issuer.oidc()).await;
    issuer.gives(&issuer.key.sign(&issuer.claims(away.nonce())));
    let back = away.back();
    for wrong in [
        Back { browser: "x".repeat(43), ..back.clone() },
        Back { browser: String::new(), ..back.clone() },
        Back { state: format!("{}x", back.state), ..back.clone() },
        Back { state: String::new(), ..back.clone() },
        Back::default(),
    ] {
        assert_eq!(sign_in.finish(&wrong).await, Err(Fault::NotBegun), "{wrong:?}");
    }
    assert!(issuer.said.redeemed.lock().unwrap().is_empty(), "no code of theirs is redeemed");
    assert!(sign_in.finish(&back).await.is_ok());
    assert_eq!(sign_in.finish(&back).await, Err(Fault::NotBegun), "a state counts once");
    assert_eq!(issuer.said.redeemed.lock().unwrap().len(), 1);
    let away = Away::new(&sign_in, &issuer.oidc()).await;
    let mixed = Back { issuer: Some("https://other.example".into()), ..away.back() };
    assert_eq!(sign_in.finish(&mixed).await, Err(doubt(Doubt::Issuer)), "two providers are not mixed up");
    // Two tabs of a browser have one cookie.
    let first = sign_in.begin(&issuer.oidc(), REDIRECT, "/", None).await.unwrap();
    let second = sign_in.begin(&issuer.oidc(), REDIRECT, "/", Some(&first.browser)).await.unwrap();
    assert_eq!(first.browser, second.browser);
    let third = sign_in.begin(&issuer.oidc(), REDIRECT, "/", Some("a; b=c")).await.unwrap();
    assert_ne!(third.browser, "a; b=c");
}

#[tokio::test]
async fn keys_that_take_turns_are_read_again() {
    let (issuer, sign_in) = (Issuer::open().await, SignIn::default());
    let finish = async |key: &Key| {
        let away = Away::new(&sign_in, &issuer.oidc()).await;
        issuer.gives(&key.sign(&issuer.claims(away.nonce())));
        sign_in.finish(&away.back()).await.map(|(person, _)| person.name)
    };
    let read = || issuer.said.keys_read.load(Ordering::Relaxed);
    assert_eq!(finish(&issuer.key).await.as_deref(), Ok("jane"));
    let second = key("second");
    issuer.said.keys.lock().unwrap().push(second.public.clone());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!(finish(&second).await.as_deref(), Ok("jane"));
    assert_eq!((finish(&issuer.key).await.as_deref(), read()), (Ok("jane"), 2));
    *issuer.said.keys.lock().unwrap() = vec![second.public.clone()];
    tokio::time::pause();
    tokio::time::advance(Duration::from_hours(1)).await;
    tokio::time::resume();
    assert_eq!(finish(&issuer.key).await, Err(doubt(Doubt::UnknownKey)), "a key that is taken back opens nothing");
}

#[tokio::test]
async fn a_provider_that_cannot_be_used_is_told_and_not_asked_at_once_again() {
    let unusable = Fault::Unusable { name: "Work".into() };
    let (issuer, sign_in) = (Issuer::open().await, SignIn::default());
    let begin = async |oidc: &Oidc| sign_in.begin(oidc, REDIRECT, "/", None).await.map(drop);
    for wrong in [
        json!({"issuer": "https://other.example"}),
        json!({"token_endpoint": "http://other.example/token"}),
        json!({"jwks_uri": "file:///etc/keys"}),
        json!({"authorization_endpoint": null}),
    ] {
        let usual = issuer.said.discovery.lock().unwrap().clone();
        let mut discovery = usual.clone();
        for (name, value) in wrong.as_object().unwrap() {
            discovery[name] = value.clone();
        }
        *issuer.said.discovery.lock().unwrap() = discovery;
        let (before, sign_in) = (issuer.said.discovered.load(Ordering::Relaxed), SignIn::default());
        for _ in 0..3 {
            let answer = sign_in.begin(&issuer.oidc(), REDIRECT, "/", None).await;
            assert_eq!(answer.map(drop), Err(unusable.clone()), "{wrong}");
        }
        assert_eq!(issuer.said.discovered.load(Ordering::Relaxed), before + 1, "{wrong}");
        *issuer.said.discovery.lock().unwrap() = usual;
    }
    let gone = Oidc { issuer: "http://127.0.0.1:1".into(), ..issuer.oidc() };
    assert_eq!(begin(&gone).await, Err(unusable.clone()));
    let no_secret = Oidc { client_secret_file: Some("/nowhere/secret".into()), ..issuer.oidc() };
    assert_eq!(begin(&no_secret).await, Err(unusable.clone()));
    assert_eq!(begin(&issuer.oidc()).await, Ok(()));
    let away = Away::new(&sign_in, &issuer.oidc()).await;
    *issuer.said.answer.lock().unwrap() = (200, json!({"access_token": "a", "token_type": "Bearer"}));
    assert_eq!(sign_in.finish(&away.back()).await, Err(unusable), "no id_token");
}

#[tokio::test]
async fn the_providers_no_is_told_by_its_code_and_nothing_else_of_it() {
    let (issuer, sign_in) = (Issuer::open().await, SignIn::default());
    let refused = |code: &str| Err(Fault::Refused { name: "Work".into(), code: code.into() });
    for (error, expected) in [
        ("access_denied", "access_denied"),
        ("<script>alert(1)</script>", "without a reason"),
        ("call 555 and say your password", "without a reason"),
        ("", "without a reason"),
    ] {
        let away = Away::new(&sign_in, &issuer.oidc()).await;
        let back = Back { error: error.into(), code: String::new(), ..away.back() };
        assert_eq!(sign_in.finish(&back).await, refused(expected));
    }
    let away = Away::new(&sign_in, &issuer.oidc()).await;
    *issuer.said.answer.lock().unwrap() = (400, json!({"error": "invalid_grant", "error_description": "<b>"}));
    assert_eq!(sign_in.finish(&away.back()).await, refused("invalid_grant"));
}

#[test]
fn a_person_has_the_name_and_the_groups_that_the_claims_say() {
    let oidc = |groups_claim: &str, username_claim: Option<&str>| Oidc {
        name: String::new(),
        issuer: "https://i".into(),
        client_id: "g".into(),
        client_secret_file: None,
        scopes: Vec::new(),
        groups_claim: groups_claim.into(),
        username_claim: username_claim.map(str::to_owned),
        authorities: None,
        session: Duration::from_mins(1),
    };
    let all = json!({"sub": "7", "email": "j@example.com", "groups": ["a", 5, "b"], "roles": "one", "none": []});
    for (claims, oidc, name, groups, says) in [
        (&all, oidc("groups", None), Some("j@example.com"), &["a", "b"][..], true),
        (&all, oidc("roles", Some("sub")), Some("7"), &["one"], true),
        (&all, oidc("none", Some("email")), Some("j@example.com"), &[], true),
        (&all, oidc("missing", None), Some("j@example.com"), &[], false),
        (&all, oidc("groups", Some("missing")), None, &[], false),
        (&json!({"sub": "a\u{1b}[31m\n"}), oidc("groups", None), Some("a[31m"), &[], false),
    ] {
        let found = person(&oidc, claims.as_object().unwrap(), Timestamp::now());
        assert_eq!(found.as_ref().map(|person| person.name.as_str()), name, "{oidc:?}");
        if let Some(person) = found {
            assert_eq!(
                (person.groups.as_slice(), person.says_groups),
                (&groups.iter().map(ToString::to_string).collect::<Vec<_>>()[..], says)
            );
        }
    }
}

#[test]
fn whoever_sees_nothing_is_told_why() {
    let person = |groups: &[&str], says_groups| Person {
        name: "jane".into(),
        groups: groups.iter().map(ToString::to_string).collect(),
        says_groups,
        issuer: String::new(),
        client: String::new(),
        ends: Timestamp::now(),
    };
    for (person, expected) in [
        (person(&["a", "b"], true), "you are jane, and none of your groups (a, b) may see anything here; ask whoever"),
        (person(&["g"; 12], true), "g and 2 more) may see"),
        (person(&[], true), "you are jane, and in no group; ask whoever"),
        (person(&[], false), "the provider says nothing of your groups"),
    ] {
        let said = person.sees_nothing();
        assert!(said.contains(expected), "{said}");
    }
}
