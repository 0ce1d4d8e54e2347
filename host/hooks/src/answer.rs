//! An answer: status and body, and the record's reference, which is put in last.
//!
//! Invariant: a body is empty or one JSON object without `debugContext`, and what is hashed is that body; so
//! the reference can name the record of the answer that it stands in.

use portcullis_model::json::quote;

/// What goes back to the platform. Without `Debug`: it can hold claims.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    body: String,
}

/// Where the record of an answer stands.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The log's origin.
    pub log: &'a str,
    /// The record's index in it.
    pub index: u64,
    /// The record's leaf hash, base64.
    pub leaf: &'a str,
}

impl Answer {
    /// The media type of every answer that has a body.
    pub const CONTENT_TYPE: &'static str = "application/json";

    /// 200 with an object.
    pub(crate) fn ok(object: String) -> Self {
        Self { status: 200, body: object }
    }

    /// 401 with nothing.
    pub(crate) fn unauthorized() -> Self {
        Self { status: 401, body: String::new() }
    }

    /// The body without reference: what is hashed.
    pub fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// The body as it leaves: with the reference where the platform keeps one (Okta: `debugContext`, which it
    /// copies to its System Log). Together under the platform's 256 KB as long as the log's origin is under
    /// 1,000 bytes.
    pub fn with_reference(&self, reference: &Reference<'_>) -> Vec<u8> {
        let Some(members) = self.body.strip_suffix('}') else {
            return self.body.clone().into_bytes();
        };
        let mut out = String::with_capacity(self.body.len() + reference.log.len() + 128);
        out.push_str(members);
        out.push_str(if members == "{" { "\"debugContext\":{\"record\":" } else { ",\"debugContext\":{\"record\":" });
        quote(&mut out, &format!("{}#{}", reference.log, reference.index));
        out.push_str(",\"leaf\":");
        quote(&mut out, reference.leaf);
        out.push_str("}}");
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_put_into_objects_only() {
        let reference = Reference { log: "log.example/\"a\"", index: 7, leaf: "bGVhZg==" };
        let text = |answer: Answer| String::from_utf8(answer.with_reference(&reference)).unwrap();
        let context = r##""debugContext":{"record":"log.example/\"a\"#7","leaf":"bGVhZg=="}"##;
        assert_eq!(text(Answer::ok("{}".into())), format!("{{{context}}}"));
        assert_eq!(text(Answer::ok(r#"{"a":{}}"#.into())), format!(r#"{{"a":{{}},{context}}}"#));
        assert_eq!(text(Answer::unauthorized()), "");
    }
}
