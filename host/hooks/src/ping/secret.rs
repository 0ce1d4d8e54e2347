//! Which parts of a request that passes through are credentials.
//!
//! Invariant: rather one too many: what is taken for a secret is only kept out of records and of plugins that do not name it.

use portcullis_model::json::{Kind, Value};

/// Whether a header's value lets its bearer act for somebody. By name, in lower case.
pub(super) fn is_secret_header(name: &str) -> bool {
    HEADERS.contains(&name) || is_secret_name(name)
}

/// Whether a URL's query carries a secret (RFC 6750 section 2.3 and its like).
pub(super) fn is_secret_query(url: &str) -> bool {
    url.split_once('?').is_some_and(|(_, query)| is_secret_form(query))
}

/// Whether a body carries a secret: a form with such a field, or JSON with such a member.
pub(super) fn is_secret_body(body: &str) -> bool {
    let start = body.trim_start();
    if start.starts_with(['{', '[']) {
        return match portcullis_model::Document::parse(body.as_bytes()) {
            Ok(document) => has_secret_member(document.root()),
            // Not JSON after all: then by what it says.
            Err(_) => says_secret(body),
        };
    }
    is_secret_form(body) || says_secret(body)
}

fn is_secret_form(form: &str) -> bool {
    form.split(['&', ';', '#']).any(|field| {
        let name = field.split('=').next().unwrap_or_default();
        let name = decoded(name);
        field.contains('=') && (FIELDS.contains(&&*name) || is_secret_name(&name))
    })
}

fn has_secret_member(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Object => value.members().any(|(name, member)| {
            is_secret_name(&name.to_ascii_lowercase()) || has_secret_member(member)
        }),
        Kind::Array => value.elements().any(has_secret_member),
        _ => false,
    }
}

/// What neither a form nor JSON shows by its structure, such as XML or a form of several parts.
fn says_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    PARTS.iter().any(|part| text.contains(part))
}

fn is_secret_name(name: &str) -> bool {
    NAMES.contains(&name) || PARTS.iter().any(|part| name.contains(part))
}

/// A form's field name, lower-case; escapes of ASCII are read, others stay, since no secret's name has them.
fn decoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let read = match byte {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => char::from_u32(high * 16 + low).filter(char::is_ascii),
                _ => None,
            },
            byte => Some(char::from(byte)),
        };
        out.extend(read.map(|read| read.to_ascii_lowercase()));
    }
    out
}

const HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "authentication-info"];

/// Whole names: too short to be looked for inside others.
const NAMES: [&str; 7] = ["otp", "pin", "pwd", "jwt", "assertion", "samlresponse", "code_verifier"];

/// Whole names of fields in forms and queries; in JSON these words are about other things, such as FHIR's codes.
const FIELDS: [&str; 2] = ["code", "sig"];

/// Whatever contains one of these.
const PARTS: [&str; 8] =
    ["token", "secret", "passw", "api-key", "apikey", "api_key", "credential", "session"];
