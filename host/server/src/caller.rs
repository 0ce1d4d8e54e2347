//! Who calls? The secret in a header, compared in constant time.
//!
//! Invariant: the secret is held as its digest, so neither its bytes nor its length can leak by timing, a log or a panic.
//! OAuth bearers and client certificates come with further hook kinds.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::HeaderMap;
use hyper::header::HeaderName;
use portcullis_model::{Cause, Digest};

use crate::config::CallerConfig;
use crate::digest::sha256;
use crate::error::StartError;

/// How the caller of one hook proves itself.
pub struct Caller {
    header: HeaderName,
    secret: Digest,
}

/// A caller that proved itself: its name in keys and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proven(pub &'static str);

impl Caller {
    /// Reads the secret. The file must be private to its owner and hold at least [`SHORTEST_SECRET`] characters.
    pub fn load(config: &CallerConfig) -> Result<Self, StartError> {
        let wrong = |why: String, hint: Option<String>| StartError::File {
            what: "caller secret",
            path: config.secret_file.clone(),
            why,
            hint,
        };
        let header = config
            .header
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| wrong(format!("`{}` is not a header name", config.header), None))?;
        let text = portcullis_keys::read_secret_file(&config.secret_file)
            .map_err(|error| wrong(error.to_string(), error.hint()))?;
        let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.len() < SHORTEST_SECRET {
            let hint = "take a random one, as `portcullis keys generate --kind secret` makes".to_owned();
            return Err(wrong(format!("shorter than {SHORTEST_SECRET} characters"), Some(hint)));
        }
        Ok(Self { header, secret: sha256(secret.as_bytes()) })
    }

    /// Whether the request's head carries the secret: exactly once, exactly equal.
    pub fn check(&self, headers: &HeaderMap) -> Result<Proven, Cause> {
        let mut values = headers.get_all(&self.header).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Cause::CallerUnproven) };
        let given = sha256(value.as_bytes());
        verify_slices_are_equal(&given.0, &self.secret.0).map_err(|_| Cause::CallerUnproven)?;
        Ok(Proven("header-secret"))
    }
}

/// A shorter secret can be guessed.
const SHORTEST_SECRET: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller { header: HeaderName::from_static("x-hook-secret"), secret: sha256(b"correct horse battery") }
    }

    #[test]
    fn only_the_whole_secret_exactly_once() {
        let proven = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-hook-secret", value.parse().unwrap());
            }
            caller().check(&headers)
        };
        assert_eq!(proven(&["correct horse battery"]), Ok(Proven("header-secret")));
        for wrong in
            [&[][..], &[""], &["correct horse batter"], &["correct horse battery "], &["correct horse battery", "x"]]
        {
            assert_eq!(proven(wrong), Err(Cause::CallerUnproven), "{wrong:?}");
        }
    }
}
