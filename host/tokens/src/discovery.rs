//! An issuer's discovery document: OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2. Two members of it.
//!
//! Invariant: a document that does not say that it is the expected issuer's is refused (RFC 8414 section 3.3).

use portcullis_model::Document;
use portcullis_model::json::Value;

use crate::KeySetError;

/// What a discovery document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Whose it is.
    pub issuer: String,
    /// Where the issuer's keys are.
    pub jwks_uri: String,
}

impl Discovery {
    /// Reads a document and holds its issuer against those that may be meant.
    pub fn parse<'a>(
        bytes: &[u8],
        mut expected: impl Iterator<Item = &'a str>,
    ) -> Result<Self, KeySetError> {
        let document = Document::parse(bytes).map_err(|_| KeySetError::NotJson)?;
        let text = |name| {
            let value = document.root().get(name).and_then(Value::as_str);
            value.map(|text| text.into_owned()).ok_or(KeySetError::Member(name))
        };
        let (issuer, jwks_uri) = (text("issuer")?, text("jwks_uri")?);
        if !expected.any(|name| name == issuer) {
            return Err(KeySetError::OtherIssuer);
        }
        Ok(Self { issuer, jwks_uri })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_issuers_document() {
        let text =
            br#"{"issuer":"https://a.example","jwks_uri":"https://a.example/keys","other":[1]}"#;
        let found =
            Discovery::parse(text, ["https://b.example", "https://a.example"].into_iter()).unwrap();
        assert_eq!(found.jwks_uri, "https://a.example/keys");
        let parse =
            |text: &[u8]| Discovery::parse(text, ["https://b.example"].into_iter()).unwrap_err();
        assert_eq!(parse(text), KeySetError::OtherIssuer);
        assert_eq!(
            parse(br#"{"issuer":"https://b.example","jwks_uri":7}"#),
            KeySetError::Member("jwks_uri")
        );
        assert_eq!(parse(br#"["https://b.example"]"#), KeySetError::Member("issuer"));
        assert_eq!(
            parse(br#"{"issuer":"https://b.example","issuer":"https://a.example"}"#),
            KeySetError::NotJson
        );
    }
}
