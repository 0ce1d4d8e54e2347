//! An answer: status and body, and the record's reference, which is put in last.
//!
//! Invariant: what is hashed is the body without the reference, so that the reference can name the record of the answer that it
//! stands in. A body that has a slot is one JSON object without that member.

use std::sync::Arc;

use portcullis_model::json::ObjectWriter;

/// What goes back to the platform. Without `Debug`: it can hold claims.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers that belong to it, besides the content's type: lower-case names.
    pub headers: Vec<(&'static str, String)>,
    body: String,
    slot: Slot,
}

/// Where an answer has room for the record's reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nowhere.
    Nowhere,
    /// A member `debugContext`, which Okta copies to its System Log: `{"record", "leaf"}`.
    DebugContext,
    /// The same with a text for whoever tries the hook out: `{"record", "leaf", "reason"}`.
    Explained(&'static str),
    /// A member of that name: `"ORIGIN#INDEX"`.
    Member(&'static str),
    /// A member that the operator named: `"ORIGIN#INDEX"`.
    Own(Arc<str>),
    /// A member of that name in the object that is the body's last member: `"ORIGIN#INDEX"`.
    Within(&'static str),
    /// PingAuthorize's members `id` (`"ORIGIN#INDEX"`), `deploymentPackageId` (the generation) and `elapsedTime` (microseconds).
    Decision,
}

/// Where the record of an answer stands.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// The log's origin.
    pub log: &'a str,
    /// The record's index in it.
    pub index: u64,
    /// The record's leaf hash, base64.
    pub leaf: &'a str,
    /// The generation that decided; 0 where there was none.
    pub generation: u64,
    /// What the call took until its record was durable, microseconds.
    pub spent_us: u64,
}

impl Answer {
    /// The media type of every answer that has a body.
    pub const CONTENT_TYPE: &'static str = "application/json";

    /// 200 with an object.
    pub(crate) fn ok(object: String, slot: Slot) -> Self {
        Self { status: 200, headers: Vec::new(), body: object, slot }
    }

    /// That status with nothing.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), slot: Slot::Nowhere }
    }

    /// That status with JSON text.
    pub(crate) fn json(status: u16, text: String) -> Self {
        Self { status, headers: Vec::new(), body: text, slot: Slot::Nowhere }
    }

    /// With another status.
    #[must_use]
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With a header.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The body without reference: what is hashed.
    pub fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// The body as it leaves: with the reference where the platform keeps one. Together under Okta's 256 KB as long as the log's
    /// origin is under 1,000 bytes.
    pub fn with_reference(&self, reference: &RecordRef<'_>) -> Vec<u8> {
        let end = if matches!(self.slot, Slot::Within(_)) { "}}" } else { "}" };
        let (Some(members), true) = (self.body.strip_suffix(end), self.slot != Slot::Nowhere)
        else {
            return self.body.clone().into_bytes();
        };
        let mut out = String::with_capacity(self.body.len() + reference.log.len() + 128);
        out.push_str(members);
        let record = format_args!("{}#{}", reference.log, reference.index);
        let mut object = ObjectWriter::members_of(&mut out);
        match &self.slot {
            Slot::Nowhere => {}
            Slot::Own(name) => {
                object.display(name, record);
            }
            Slot::DebugContext | Slot::Explained(_) => {
                object.object("debugContext", |context| {
                    context.display("record", record).text("leaf", reference.leaf);
                    if let Slot::Explained(reason) = self.slot {
                        context.text("reason", reason);
                    }
                });
            }
            Slot::Member(name) | Slot::Within(name) => {
                object.display(name, record);
            }
            Slot::Decision => {
                object
                    .display("id", record)
                    .display("deploymentPackageId", reference.generation)
                    .number("elapsedTime", reference.spent_us);
            }
        }
        out.push_str(end);
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_put_into_objects_only() {
        let reference = RecordRef {
            log: "log.example/\"a\"",
            index: 7,
            leaf: "bGVhZg==",
            generation: 3,
            spent_us: 81,
        };
        let text = |answer: Answer| String::from_utf8(answer.with_reference(&reference)).unwrap();
        let context = r##""debugContext":{"record":"log.example/\"a\"#7","leaf":"bGVhZg=="}"##;
        let okta = |body: &str| text(Answer::ok(body.into(), Slot::DebugContext));
        assert_eq!(okta("{}"), format!("{{{context}}}"));
        assert_eq!(okta(r#"{"a":{}}"#), format!(r#"{{"a":{{}},{context}}}"#));
        let member = Answer::ok("{}".into(), Slot::Member("evaluationId"));
        assert_eq!(text(member), r##"{"evaluationId":"log.example/\"a\"#7"}"##);
        let within = |body: &str| text(Answer::ok(body.into(), Slot::Within("record")));
        assert_eq!(
            within(r#"{"a":1,"c":{}}"#),
            r##"{"a":1,"c":{"record":"log.example/\"a\"#7"}}"##
        );
        assert_eq!(
            within(r#"{"c":{"d":[]}}"#),
            r##"{"c":{"d":[],"record":"log.example/\"a\"#7"}}"##
        );
        let decision = Answer::ok(r#"{"decision":"PERMIT"}"#.into(), Slot::Decision);
        let pinged = r##"{"decision":"PERMIT","id":"log.example/\"a\"#7","deploymentPackageId":"3","elapsedTime":81}"##;
        assert_eq!(text(decision), pinged);
        assert_eq!(text(Answer::ok(r#"{"a":{}}"#.into(), Slot::Nowhere)), r#"{"a":{}}"#);
        assert_eq!(text(Answer::status(401)), "");
    }
}
