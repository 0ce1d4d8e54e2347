//! `[delivery.NAME]`: the operator's delivery services, and which of them a hook has.
//!
//! Invariant: what was read can be sent: the address is one that may be called, every placeholder is known, and a message cannot leave without
//! whom it is for and what it is about. Secrets are files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyper::header::HeaderName;
use hyper::{Method, Uri};
use serde::Deserialize;

use super::template::{Template, parse_json};

/// One delivery service, checked.
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// `POST`, or `PUT`.
    pub method: Method,
    /// Its address.
    pub url: Uri,
    /// The headers of every request.
    pub headers: Vec<(HeaderName, Header)>,
    /// The body that is sent.
    pub body: Body,
    /// The statuses that mean that it took the message; where it is empty, every 2xx.
    pub status: Vec<u16>,
    /// The content that its answer must have besides.
    pub expect: Option<ExpectedResponse>,
    /// Time it has, milliseconds. Default 1,000; of the hook's budget.
    pub timeout_ms: u64,
}

/// A header's value.
#[derive(Clone, Debug)]
pub enum Header {
    /// With placeholders for nothing that is secret.
    Plain(Template),
    /// A file that holds the whole value.
    Secret(PathBuf),
}

impl Header {
    /// The file that it is read from.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Secret(path) => Some(path.clone()),
            Self::Plain(_) => None,
        }
    }
}

/// The body that is sent.
#[derive(Clone, Debug)]
pub enum Body {
    /// JSON whose strings are templates.
    Json(serde_json::Value),
    /// A form: names and templates.
    Form(Vec<(String, Template)>),
}

/// The content that an answer must have: the text or the number at a JSON Pointer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedResponse {
    /// The place.
    pub pointer: String,
    /// The value.
    pub equals: String,
}

/// The delivery services of a hook: one service, or one for each channel (`sms`, `voice`, `email`).
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum ChannelRouting {
    /// Everything.
    All(String),
    /// By channel; a channel that is not there is nobody's.
    ByChannel(BTreeMap<String, String>),
}

impl ChannelRouting {
    /// Returns the service of that channel.
    pub fn of(&self, channel: &str) -> Option<&str> {
        match self {
            Self::All(name) => Some(name),
            Self::ByChannel(channels) => channels.get(channel).map(String::as_str),
        }
    }

    /// Returns all services.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All(name) => vec![name],
            Self::ByChannel(channels) => channels.values().map(String::as_str).collect(),
        }
    }

    /// Refuses channels that there are not.
    pub fn check(&self) -> Result<(), String> {
        let Self::ByChannel(channels) = self else { return Ok(()) };
        match channels.keys().find(|channel| !CHANNELS.contains(&channel.as_str())) {
            Some(channel) => Err(format!(
                "delivery: `{channel}` is not a channel; channels are {}",
                CHANNELS.join(", ")
            )),
            None => Ok(()),
        }
    }
}

/// A delivery service as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySource {
    url: String,
    #[serde(default)]
    method: MethodWord,
    #[serde(default)]
    headers: BTreeMap<String, HeaderSource>,
    json: Option<String>,
    form: Option<BTreeMap<String, String>>,
    #[serde(default)]
    status: Vec<u16>,
    expect: Option<ExpectedResponse>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MethodWord {
    #[default]
    Post,
    Put,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderSource {
    Plain(String),
    Secret(SecretSource),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretSource {
    secret_file: PathBuf,
}

impl DeliverySource {
    /// Checks what is written. Relative paths are relative to `base`.
    pub fn check(self, base: &Path) -> Result<DeliveryConfig, String> {
        let url =
            crate::net::outbound::parse_url(&self.url).map_err(|error| format!("url: {error}"))?;
        let headers = self
            .headers
            .into_iter()
            .map(|(name, value)| header(&name, value, base))
            .collect::<Result<_, _>>()?;
        let body = match (self.json, self.form) {
            (Some(json), None) => {
                let json = serde_json::from_str(&json).map_err(|error| {
                    format!(
                        "json: it is not JSON at line {}, column {}",
                        error.line(),
                        error.column()
                    )
                })?;
                parse_json(&json).map_err(|why| format!("json: {why}"))?;
                Body::Json(json)
            }
            (None, Some(form)) => {
                let member = |(name, text): (String, String)| {
                    let template =
                        Template::parse(&text).map_err(|why| format!("form: `{name}`: {why}"))?;
                    Ok((name, template))
                };
                Body::Form(form.into_iter().map(member).collect::<Result<_, String>>()?)
            }
            _ => return Err("set either `json` or `form`".to_owned()),
        };
        if !body.names("to") {
            return Err(
                "the template has no recipient: put {to} at the place where the service expects it"
                    .to_owned(),
            );
        }
        if !body.names("code") && !body.names("text") {
            return Err(
                "the template has no code: put {text} or {code} at the place where the service \
                 expects it"
                    .to_owned(),
            );
        }
        if let Some(status) = self.status.iter().find(|status| !(200..=299).contains(*status)) {
            return Err(format!("status: {status} is not a status of success"));
        }
        if !(10..=MAX_TIMEOUT_MS).contains(&self.timeout_ms) {
            return Err(format!("timeout_ms is {}, not 10 to {MAX_TIMEOUT_MS}", self.timeout_ms));
        }
        let method = match self.method {
            MethodWord::Post => Method::POST,
            MethodWord::Put => Method::PUT,
        };
        let (status, expect, timeout_ms) = (self.status, self.expect, self.timeout_ms);
        Ok(DeliveryConfig { method, url, headers, body, status, expect, timeout_ms })
    }
}

impl Body {
    /// Whether it has that placeholder.
    pub fn names(&self, name: &str) -> bool {
        match self {
            Self::Json(json) => {
                parse_json(json).is_ok_and(|all| all.iter().any(|template| template.names(name)))
            }
            Self::Form(members) => members.iter().any(|(_, template)| template.names(name)),
        }
    }
}

fn header(name: &str, value: HeaderSource, base: &Path) -> Result<(HeaderName, Header), String> {
    let header: HeaderName = name
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| format!("headers: `{name}` is not a header name"))?;
    match value {
        HeaderSource::Secret(source) => Ok((header, Header::Secret(base.join(source.secret_file)))),
        // Never repeated: it may be one.
        HeaderSource::Plain(_) if SECRET_HEADERS.contains(&header.as_str()) => Err(format!(
            "headers: `{name}` holds a secret, which must be in a file: {{ secret_file = \"…\" }}"
        )),
        HeaderSource::Plain(text) => {
            let template =
                Template::parse(&text).map_err(|why| format!("headers: `{name}`: {why}"))?;
            if ["to", "code", "text"].iter().any(|secret| template.names(secret)) {
                return Err(format!(
                    "headers: `{name}`: the recipient and the message must be in the body"
                ));
            }
            Ok((header, Header::Plain(template)))
        }
    }
}

fn default_timeout_ms() -> u64 {
    1_000
}

/// The longest time that a service can be given; every platform gives up after a few seconds.
const MAX_TIMEOUT_MS: u64 = 10_000;
/// How a message can be told.
const CHANNELS: [&str; 3] = ["sms", "voice", "email"];
/// Headers whose values are secrets, as a rule.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
