//! A receiver on the web that keeps what it gets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::Value as Json;
use sha2::Sha256;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// One request.
#[derive(Debug)]
pub struct Got {
    pub path: String,
    headers: HeaderMap,
    text: Vec<u8>,
    pub body: Json,
}

impl Got {
    pub fn text(&self, pointer: &str) -> String {
        let found = self.body.pointer(pointer).and_then(Json::as_str);
        found.unwrap_or_else(|| panic!("{pointer} in {}", self.body)).to_owned()
    }

    pub fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }

    /// Checks it as a receiver does that knows the secret.
    pub fn check_signature(&self, secret: &str) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let (id, time) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let age = Timestamp::now().as_second() - time.parse::<i64>().unwrap();
        assert!((0..60).contains(&age), "{age}");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(&self.text);
        let signature = self.header("webhook-signature");
        mac.verify_slice(&STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap()).unwrap();
        assert_eq!(self.text("/id"), id);
    }
}

pub struct Post {
    pub address: String,
    got: AsyncMutex<mpsc::UnboundedReceiver<Got>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Post {
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, got) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::<u16>::new()));
        let told = answers.clone();
        let take = move |request: Request| {
            let (sender, told) = (sender.clone(), told.clone());
            async move {
                let (head, body) = request.into_parts();
                let text = body.collect().await.unwrap().to_bytes().to_vec();
                let body = serde_json::from_slice(&text).unwrap();
                let got = Got { path: head.uri.path().to_owned(), headers: head.headers, text, body };
                drop(sender.send(got));
                let status = told.lock().unwrap().pop_front().unwrap_or(200);
                (StatusCode::from_u16(status).unwrap(), "as told")
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
        Self { address, got: AsyncMutex::new(got), answers }
    }

    /// Has the next requests answered so.
    pub fn answer(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    pub async fn next(&self) -> Got {
        let mut got = self.got.lock().await;
        tokio::time::timeout(Duration::from_secs(40), got.recv()).await.expect("nothing came").unwrap()
    }

    /// Nothing comes within the time in which everything is told that there is.
    pub async fn nothing(&self) {
        let mut got = self.got.lock().await;
        if let Ok(got) = tokio::time::timeout(Duration::from_secs(6), got.recv()).await {
            panic!("{got:?}");
        }
    }
}
