//! Delivery: gives a message that a platform wants delivered to the operator's delivery service.
//!
//! Invariants: a message is taken once, within its time, and never again: whoever does not say that they took it did not. The code in it
//! reaches nobody else; no error and no log line holds anything of it. Which service that is, and in what words it is spoken to, is
//! [`config`]'s.

pub mod config;
mod template;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use portcullis_hooks::Message;
use portcullis_model::Document;
use thiserror::Error;

use crate::error::StartError;
use crate::fs::replaceable::ReplaceableFiles;
use crate::net::outbound::{Outbound, OutboundError};
use crate::start_problems::{StartProblems, key_file};
use config::{Body, DeliveryConfig, ExpectedResponse, Header};

/// One delivery service.
pub struct DeliveryService {
    /// Its name in the configuration and in records.
    pub name: String,
    method: Method,
    url: Uri,
    headers: Vec<(HeaderName, Header)>,
    /// The values of those headers that come from files, as they were last read.
    secrets: Mutex<Arc<Vec<(HeaderName, HeaderValue)>>>,
    files: ReplaceableFiles,
    body: Body,
    status: Vec<u16>,
    expect: Option<ExpectedResponse>,
    timeout: Duration,
}

/// The error that no service accepted the message. It holds nothing of the message.
#[derive(Debug, Error)]
pub enum DeliveryError {
    /// The message has no text, and the template sends nothing but the text.
    #[error("the platform sent no text, and the template has no place for the code")]
    NoText,
    /// The request cannot be made of it.
    #[error("the message cannot be put into a request")]
    Malformed,
    /// The service could not be asked.
    #[error("{0}")]
    Outbound(#[from] OutboundError),
    /// The service answered with another status.
    #[error("the service answered {0}")]
    Status(u16),
    /// The service answered that it did not take it.
    #[error("the service answered that it did not accept the message")]
    Refused,
}

impl DeliveryService {
    /// Prepares a delivery service: its secrets are there and private.
    pub fn new(name: &str, config: &DeliveryConfig) -> Result<Self, StartError> {
        let delivery_service = Self {
            name: name.to_owned(),
            method: config.method.clone(),
            url: config.url.clone(),
            headers: config.headers.clone(),
            secrets: Mutex::default(),
            files: ReplaceableFiles::new(
                config.headers.iter().filter_map(|(_, header)| header.file()).collect(),
            ),
            body: config.body.clone(),
            status: config.status.clone(),
            expect: config.expect.clone(),
            timeout: Duration::from_millis(config.timeout_ms),
        };
        delivery_service.read_secrets()?;
        Ok(delivery_service)
    }

    /// Reads the secrets again where their files changed, or where that is asked; says whether it did. What cannot be read stays what it was.
    pub fn reload(&self, is_requested: bool) -> Result<bool, StartError> {
        // Looked at in any case, so that a change is not found again.
        if !self.files.changed() && !is_requested {
            return Ok(false);
        }
        self.read_secrets().map(|()| true)
    }

    fn read_secrets(&self) -> Result<(), StartError> {
        let mut problems = StartProblems::default();
        let mut secrets = Vec::new();
        for (header, value) in &self.headers {
            let Header::Secret(path) = value else { continue };
            let value = problems.keep(header_secret(path));
            secrets.extend(value.map(|value| (header.clone(), value)));
        }
        problems.result()?;
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
        Ok(())
    }

    /// Takes a message to the service. Done where the service says, in time, that it took it.
    pub async fn deliver(
        &self,
        outbound: &Outbound,
        message: &Message,
        until: Instant,
        now: Instant,
    ) -> Result<(), DeliveryError> {
        let request = self.request(message)?;
        let answer = outbound.send(request, until.min(now + self.timeout)).await?;
        let status = answer.status().as_u16();
        let expected = if self.status.is_empty() {
            answer.status().is_success()
        } else {
            self.status.contains(&status)
        };
        if !expected {
            return Err(DeliveryError::Status(status));
        }
        match &self.expect {
            Some(accepted) if !accepted.is_in(answer.body()) => Err(DeliveryError::Refused),
            _ => Ok(()),
        }
    }

    fn request(&self, message: &Message) -> Result<Request<Bytes>, DeliveryError> {
        if message.text.is_none() && !self.body.names("code") {
            return Err(DeliveryError::NoText);
        }
        let fill = |name: &str| value(message, name);
        let (kind, body) = match &self.body {
            Body::Json(template) => {
                ("application/json", template::fill_json(template, &fill).to_string())
            }
            Body::Form(members) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, template) in members {
                    form.append_pair(name, &template.fill(&fill));
                }
                ("application/x-www-form-urlencoded", form.finish())
            }
        };
        let mut request = Request::builder().method(self.method.clone()).uri(self.url.clone());
        request = request.header(CONTENT_TYPE, kind);
        for (header, value) in &self.headers {
            if let Header::Plain(template) = value {
                request = request.header(header, template.fill(&fill));
            }
        }
        let secrets = Arc::clone(&self.secrets.lock().unwrap_or_else(PoisonError::into_inner));
        for (header, value) in secrets.iter() {
            request = request.header(header, value);
        }
        request.body(Bytes::from(body)).map_err(|_| DeliveryError::Malformed)
    }
}

/// The secret of a header that comes from a file.
fn header_secret(path: &Path) -> Result<HeaderValue, StartError> {
    let what = "delivery secret";
    let text =
        portcullis_keys::read_secret_lines(path).map_err(|error| key_file(what, path, &error))?;
    let value = HeaderValue::from_str(text.first().unwrap_or_default());
    let mut value = value.map_err(|_| StartError::File {
        what,
        path: path.to_owned(),
        why: "it cannot be sent in a header".to_owned(),
        hint: Some("use visible ASCII characters only".to_owned()),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl DeliveryError {
    /// The code in logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoText => "no-text",
            Self::Malformed => "malformed",
            Self::Outbound(_) => "unreachable",
            Self::Status(_) => "status",
            Self::Refused => "refused",
        }
    }
}

/// Returns the value of a placeholder; `None` for a value that the platform did not send.
fn value<'m>(message: &'m Message, name: &str) -> &'m str {
    match name {
        "to" => &message.to,
        "code" => &message.code,
        "channel" => message.channel,
        "key" => &message.key,
        "text" => message.text.as_deref().unwrap_or_default(),
        "locale" => message.locale.as_deref().unwrap_or_default(),
        "expires" => message.expires.as_deref().unwrap_or_default(),
        _ => "",
    }
}

impl ExpectedResponse {
    fn is_in(&self, body: &[u8]) -> bool {
        let Ok(document) = Document::parse(body) else { return false };
        document.pointer(&self.pointer).is_some_and(|found| match found.as_str() {
            Some(text) => text == self.equals,
            None => found.raw() == self.equals,
        })
    }
}

/// The placeholders that there are.
pub const PLACEHOLDERS: [&str; 7] = ["to", "code", "text", "locale", "channel", "expires", "key"];

#[cfg(test)]
mod tests;
