//! Tokens for ourselves: OAuth 2.0 client credentials (RFC 6749, 4.4).
//!
//! Invariant: a token is asked for once, however many need it, and again before it ends; it and the secret stand in no log and no
//! error. The secret is read each time, so that it may be replaced.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::config::ResumeConfig;
use crate::outbound::Outbound;

/// The token in force, if there is one.
#[derive(Default)]
pub struct Tokens(Mutex<Option<Token>>);

struct Token {
    value: Zeroizing<String>,
    /// From when on another is asked for.
    renew: Instant,
}

/// Why there is no token. Never holds what was sent or received.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error("the client secret cannot be read: {0}")]
    Secret(String),
    /// The network.
    #[error("the token endpoint cannot be reached: {0}")]
    Unreachable(String),
    /// Its answer.
    #[error("the token endpoint refused with {0}")]
    Refused(StatusCode),
    /// Not what the RFC has.
    #[error("the token endpoint's answer is not a bearer token's")]
    Answer,
}

impl Tokens {
    /// A token that lasts for a while.
    pub async fn get(&self, config: &ResumeConfig, outbound: &Outbound) -> Result<Zeroizing<String>, TokenError> {
        // Held across the request: whoever else needs one waits for the same.
        let mut current = self.0.lock().await;
        if let Some(token) = current.as_ref().filter(|token| Instant::now() < token.renew) {
            return Ok(token.value.clone());
        }
        let token = ask(config, outbound).await?;
        Ok(current.insert(token).value.clone())
    }

    /// That one was refused: the next is another.
    pub async fn forget(&self, refused: &str) {
        let mut current = self.0.lock().await;
        if current.as_ref().is_some_and(|token| *token.value == refused) {
            *current = None;
        }
    }
}

/// Whether the secret can be read.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, portcullis_keys::KeyError> {
    let text = portcullis_keys::read_secret_file(path)?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn ask(config: &ResumeConfig, outbound: &Outbound) -> Result<Token, TokenError> {
    let secret = read_secret(&config.client_secret_file).map_err(|error| TokenError::Secret(error.to_string()))?;
    let mut form = Zeroizing::new(String::with_capacity(1024));
    for (name, value) in [
        ("grant_type", "client_credentials"),
        ("client_id", &config.client_id),
        ("client_secret", &secret),
        ("scope", &config.scope()),
    ] {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        encode(&mut form, value);
    }
    let request = Request::builder().method(Method::POST).uri(&config.token_url);
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = request.body(Bytes::copy_from_slice(form.as_bytes()));
    let request = request.map_err(|error| TokenError::Unreachable(error.to_string()))?;
    let asked = Instant::now();
    let answer = outbound.send(request, asked + Duration::from_millis(config.attempt_ms)).await;
    let answer = answer.map_err(|error| TokenError::Unreachable(error.to_string()))?;
    if answer.status() != StatusCode::OK {
        return Err(TokenError::Refused(answer.status()));
    }
    let answer: Answer = serde_json::from_slice(answer.body()).map_err(|_| TokenError::Answer)?;
    let value = Zeroizing::new(answer.access_token);
    let plain = |byte: u8| byte.is_ascii_graphic();
    if !answer.token_type.eq_ignore_ascii_case("bearer") || value.is_empty() || !value.bytes().all(plain) {
        return Err(TokenError::Answer);
    }
    // Renewed when a fifth of its life is left, and five minutes at most.
    let life = Duration::from_secs(answer.expires_in.min(86_400));
    Ok(Token { value, renew: asked + life.saturating_sub(RENEW_BEFORE.min(life / 5)) })
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    /// Seconds. Recommended only: without it, a token serves once.
    #[serde(default)]
    expires_in: u64,
}

/// As forms are written (WHATWG URL, application/x-www-form-urlencoded), a space as `%20`.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// How long before its end a token is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_any_text() {
        let mut form = String::new();
        encode(&mut form, "a b&c=d+é~%");
        assert_eq!(form, "a%20b%26c%3Dd%2B%C3%A9~%25");
    }
}
