//! One plain HTTP request, for the health listener.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// Returns the status code of a GET, if there was an answer.
pub fn status_of(address: &str, path: &str) -> Option<u16> {
    answer_to(address, path, "")?.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the status code of a POST without a body, if there was an answer.
pub fn status_of_post(address: &str, path: &str) -> Option<u16> {
    exchange(address, &format!("POST {path}"), "Content-Length: 0\r\n", "")?.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the body of a GET, if there was an answer.
pub fn body_of(address: &str, path: &str) -> Option<String> {
    answer_to(address, path, "")?.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Returns status and body of a GET that shows a bearer token, if there was an answer.
pub fn shown_to(address: &str, path: &str, token: &str) -> Option<(u16, String)> {
    let answer = answer_to(address, path, &format!("Authorization: Bearer {token}\r\n"))?;
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Returns status and body of a POST that shows a bearer token, if there was an answer; the body comes with its type.
pub fn posted_to(address: &str, path: &str, token: &str, (kind, body): (&str, &str)) -> Option<(u16, String)> {
    let length = body.len();
    let header = format!("Authorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
    let answer = exchange(address, &format!("POST {path}"), &header, body)?;
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn answer_to(address: &str, path: &str, header: &str) -> Option<String> {
    exchange(address, &format!("GET {path}"), header, "")
}

fn exchange(address: &str, asked: &str, header: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    write!(stream, "{asked} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n{body}").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}
