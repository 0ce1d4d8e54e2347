//! Records: what a caller hands in, and the leaf that it becomes: one line of compact JSON, whose
//! exact bytes are hashed.
//!
//! Invariant: every leaf begins `{"v":1,"seq":N,"t":"…","tenant":"…","at":N` and is valid JSON in
//! which those names, `sealed` and `seal_key` stand once; no caller can make another. What else is
//! in a record is the caller's matter.

use std::fmt;

use portcullis_model::json::{ObjectWriter, build_text};
use portcullis_model::sha256;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::AppendError;
use crate::seal::Sealed;

/// A record that a caller appends.
pub struct Entry {
    /// The record's type, such as `hook.decision`: lower-case letters, digits, `.`, `-`, `_`.
    pub kind: &'static str,
    /// Members of a JSON object, without its braces; may be empty. Nothing personal belongs here
    /// but pseudonyms: it is never erased.
    pub fields: String,
    /// The part that is encrypted beside the leaf: personal data, and the input of a replay. It is
    /// overwritten when it is sealed.
    pub sealed: Option<Vec<u8>>,
}

/// The time that a record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTime {
    /// Milliseconds since 1970 UTC: the least that the time is known to be.
    pub at: u64,
    /// Set while the host's clock is not believed: then `at` is not taken from it.
    pub mark: Option<TimeMark>,
}

/// The mark of a record that was made while the host's clock was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeMark {
    /// Why, as the member `time` of the record: lower-case letters and `-`.
    pub state: &'static str,
    /// The host's clock, milliseconds since 1970 UTC, as the member `host_clock`.
    pub host_clock: u64,
}

impl From<u64> for RecordTime {
    /// A time that is believed.
    fn from(at: u64) -> Self {
        Self { at, mark: None }
    }
}

/// The part of a leaf that needs no sequence number: `,"name":…` and so on to the closing brace.
pub(crate) struct Body(String);

impl Body {
    /// Checks the members and adds the commitment to the sealed part.
    pub(crate) fn new(fields: &str, sealed: Option<&Sealed>) -> Result<Self, AppendError> {
        let fields = fields.trim_ascii();
        let mut text = String::with_capacity(fields.len() + 160);
        text.push('{');
        text.push_str(fields);
        text.push('}');
        check_members(&text)?;
        text.pop();
        if let Some(sealed) = sealed {
            ObjectWriter::members_of(&mut text)
                .display("sealed", sha256(&sealed.blob))
                .display("seal_key", sealed.key);
        }
        text.push('}');
        // The brace that opened the object for the check becomes the comma after `at`.
        text.replace_range(..1, if text.len() > 2 { "," } else { "" });
        Ok(Self(text))
    }

    /// Bytes of the leaf at most, whatever its sequence number and time.
    pub(crate) fn leaf_bytes(&self, kind: &str, tenant: &Tenant) -> usize {
        self.0.len() + kind.len() + tenant.0.len() + FRAME_BYTES
    }

    /// The leaf.
    pub(crate) fn leaf(&self, seq: u64, kind: &str, tenant: &Tenant, time: RecordTime) -> Vec<u8> {
        let mut leaf = String::with_capacity(self.leaf_bytes(kind, tenant));
        leaf.push('{');
        let mut members = ObjectWriter::members_of(&mut leaf);
        members
            .number("v", 1_u8)
            .number("seq", seq)
            .text("t", kind)
            .json("tenant", &tenant.0)
            .number("at", time.at);
        if let Some(TimeMark { state, host_clock }) = time.mark {
            members.text("time", state).number("host_clock", host_clock);
        }
        leaf.push_str(&self.0);
        leaf.into_bytes()
    }
}

/// A tenant's name as JSON text.
pub(crate) struct Tenant(String);

impl Tenant {
    pub(crate) fn new(name: &str) -> Self {
        Self(build_text(name))
    }
}

/// Refuses a record type that would have to be escaped.
pub(crate) fn check_kind(kind: &str) -> Result<(), AppendError> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if (1..=64).contains(&kind.len()) && kind.bytes().all(plain) {
        Ok(())
    } else {
        Err(AppendError::Kind)
    }
}

fn check_members(object: &str) -> Result<(), AppendError> {
    if object.bytes().any(|byte| byte < 0x20) {
        return Err(AppendError::Fields("they hold a control character"));
    }
    match serde_json::from_str::<Members>(object) {
        Ok(Members { reserved: false }) => Ok(()),
        Ok(Members { reserved: true }) => {
            Err(AppendError::Fields("one has a name that the log gives itself"))
        }
        Err(_) => Err(AppendError::Fields("they are not members of a JSON object")),
    }
}

/// Reads an object without keeping it, and whether a member has a reserved name.
struct Members {
    reserved: bool,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut reserved = false;
                while let Some(Name(is_reserved)) = map.next_key()? {
                    reserved |= is_reserved;
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(Members { reserved })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Whether a member's name is reserved: told without keeping the name.
struct Name(bool);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
                if name.is_empty() {
                    Err(E::custom("an empty name"))
                } else {
                    Ok(Name(RESERVED.contains(&name)))
                }
            }
        }
        deserializer.deserialize_str(Text).map_err(D::Error::custom)
    }
}

const RESERVED: [&str; 9] =
    ["v", "seq", "t", "tenant", "at", "time", "host_clock", "sealed", "seal_key"];

/// `{"v":1,"seq":,"t":"","tenant":,"at":` and two numbers of at most 20 digits; then the mark
/// `,"time":"","host_clock":` with a state of at most 16 letters and a third number.
const FRAME_BYTES: usize = 38 + 40 + 25 + 16 + 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::KeyId;
    use portcullis_tlog::record::Record;
    use proptest::prelude::*;

    fn leaf(fields: &str, sealed: Option<&Sealed>) -> Result<String, AppendError> {
        let tenant = Tenant::new("north \"clinic\"");
        let body = Body::new(fields, sealed)?;
        let leaf = body.leaf(u64::MAX, "hook.decision", &tenant, u64::MAX.into());
        assert!(leaf.len() <= body.leaf_bytes("hook.decision", &tenant));
        Ok(String::from_utf8(leaf).unwrap())
    }

    #[test]
    fn leaves_are_exactly_this() {
        let head = r#"{"v":1,"seq":18446744073709551615,"t":"hook.decision","tenant":"north \"clinic\"","at":18446744073709551615"#;
        assert_eq!(leaf("", None).unwrap(), format!("{head}}}"));
        assert_eq!(
            leaf(r#""a":{"seq":1},"b":[]"#, None).unwrap(),
            format!(r#"{head},"a":{{"seq":1}},"b":[]}}"#)
        );
        let sealed = Sealed { blob: b"abc".to_vec(), key: KeyId([0xab; 16]) };
        let committed =
            r#""sealed":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#;
        let key = r#""seal_key":"abababababababababababababababab""#;
        assert_eq!(leaf("", Some(&sealed)).unwrap(), format!("{head},{committed},{key}}}"));
        let both = leaf(r#""a":1"#, Some(&sealed)).unwrap();
        assert_eq!(both, format!(r#"{head},"a":1,{committed},{key}}}"#));
        let record = Record::parse(both.as_bytes()).unwrap();
        assert_eq!(
            (record.seq, record.kind.as_str(), record.tenant.as_str()),
            (u64::MAX, "hook.decision", "north \"clinic\"")
        );
        assert!(record.commits_to(b"abc") && !record.commits_to(b"abd"));
    }

    #[test]
    fn members_that_would_spoil_a_leaf_are_refused() {
        let wrong = [
            "\"seq\":1",
            "\"s\\u0065q\":1",
            "\"sealed\":\"x\"",
            "1",
            "\"a\":",
            "\"a\":1}{",
            "\"a\":1,",
            "\"a\":1}",
            "\"a\":\n1",
            "\"\":1",
        ];
        for fields in wrong {
            assert!(matches!(leaf(fields, None), Err(AppendError::Fields(_))), "{fields}");
        }
    }

    #[test]
    fn a_time_that_is_not_believed_is_marked() {
        let tenant = Tenant::new("x");
        let mark = TimeMark { state: "unconfirmed", host_clock: u64::MAX };
        let time = RecordTime { at: 7, mark: Some(mark) };
        for fields in ["", r#""a":1"#] {
            let body = Body::new(fields, None).unwrap();
            let leaf = body.leaf(u64::MAX, "host.start", &tenant, time);
            assert!(leaf.len() <= body.leaf_bytes("host.start", &tenant));
            let record = Record::parse(&leaf).unwrap();
            assert_eq!((record.at, record.host_clock), (7, Some(u64::MAX)));
            assert_eq!(record.time.as_deref(), Some("unconfirmed"));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_a_leaf(fields in "[\"a:1,{}\\[\\]\\\\ ]{0,24}") {
            if let Ok(leaf) = leaf(&fields, None) {
                prop_assert!(Record::parse(leaf.as_bytes()).is_ok(), "{leaf}");
            }
        }
    }
}
