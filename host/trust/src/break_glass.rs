//! The break-glass document: some people's word that one hook may be held open for a while.
//!
//! Invariant: it is for one tenant and one hook, works once, and holds for at most an hour after it is opened; it lifts named finding codes
//! and perhaps the hook's safe answer, never a revocation and never the record. It may be signed long before it is needed and kept
//! sealed. That it works once is for the host, which remembers ([`History`](crate::History)).

use std::collections::BTreeSet;

use portcullis_model::Millis;
use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::names::{is_remark, is_word, quoted};
use crate::refusal::{Refusal, RefusalCode};
use crate::root::TrustRoot;
use crate::{strict, time};

/// A break-glass document that says what its format needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// 32 hexadecimal digits, never used twice: what the host remembers it by.
    pub id: String,
    /// The tenant that it is for.
    pub tenant: String,
    /// The hook's name in the host's configuration.
    pub hook: String,
    /// The finding codes that it lifts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lifts: BTreeSet<String>,
    /// Whether the hook's safe answer is the platform's default while it is in force: for when plugins, log or network are down.
    pub opens: bool,
    /// How long it holds once it is opened.
    pub minutes: u32,
    /// Who may open it.
    pub person: String,
    /// For what.
    pub reason: String,
    /// Under which ticket or plan.
    pub ticket: String,
    /// When it was made.
    #[serde(with = "time::text")]
    pub issued: Millis,
    /// Until when it may be opened.
    #[serde(with = "time::text")]
    pub expires: Millis,
}

impl BreakGlass {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.break-glass.v1+json";

    /// The longest that one may hold, minutes.
    pub const MAX_MINUTES: u32 = 60;

    /// The payload to sign.
    pub fn to_payload(&self) -> Result<Vec<u8>, Refusal> {
        let whole = Self {
            issued: time::whole_second(self.issued),
            expires: time::whole_second(self.expires),
            ..self.clone()
        };
        let payload = serde_json::to_vec(&whole).map_err(|error| malformed(&error.to_string()))?;
        Self::parse(&payload)?;
        Ok(payload)
    }

    /// Verifies a break-glass document.
    ///
    /// 1. The root has a role `break_glass`. Whether the root has expired is not asked: an emergency does not wait for a ceremony.
    /// 2. Enough of that role's keys signed the document.
    /// 3. It says what its format needs.
    /// 4. It may still be opened.
    pub fn verify(root: &TrustRoot, envelope: &[u8], now: Millis) -> Result<Self, Refusal> {
        let Some(role) = &root.break_glass else {
            let sentence = format!("the trust root {} has no role `break_glass`", root.version);
            return Err(Refusal::new(RefusalCode::BreakGlassUnavailable, sentence));
        };
        let envelope = Envelope::parse(envelope)?;
        let signers = root.signers(&envelope, Self::PAYLOAD_TYPE)?;
        role.demand(&signers, "the break-glass document", "break_glass")?;
        let document = Self::parse(envelope.unverified_payload())?;
        crate::verify::within("the break-glass document", document.issued, document.expires, now)?;
        Ok(document)
    }

    /// Reads one for showing it; to act on it, [`verify`](Self::verify).
    pub fn unverified(envelope: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(envelope)?;
        envelope.expect_type(Self::PAYLOAD_TYPE)?;
        Self::parse(envelope.unverified_payload())
    }

    fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let document: Self = strict::json(payload).map_err(|what| malformed(&what))?;
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if document.id.len() != 32 || !document.id.bytes().all(hexadecimal) {
            return Err(malformed("`id` is not 32 lower-case hexadecimal digits"));
        }
        if !is_word(&document.hook) {
            return Err(malformed(&format!(
                "{} is not the name of a hook",
                quoted(&document.hook)
            )));
        }
        if !(1..=Self::MAX_MINUTES).contains(&document.minutes) {
            return Err(malformed(&format!("`minutes` is not 1 to {}", Self::MAX_MINUTES)));
        }
        if document.lifts.is_empty() && !document.opens {
            return Err(malformed(
                "it lifts no finding code and does not open the safe answer: it would do nothing",
            ));
        }
        if document.lifts.len() > MAX_CODES {
            return Err(malformed(&format!("`lifts` names more than {MAX_CODES} codes")));
        }
        let is_code = |code: &String| {
            let fits =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            (1..=64).contains(&code.len()) && code.bytes().all(fits)
        };
        if let Some(code) = document.lifts.iter().find(|code| !is_code(code)) {
            return Err(malformed(&format!(
                "{} is not a finding code, such as `SOD_CONFLICT`",
                quoted(code)
            )));
        }
        if document.issued >= document.expires {
            return Err(malformed("it ends before it begins"));
        }
        let remarks = [
            ("tenant", &document.tenant),
            ("person", &document.person),
            ("reason", &document.reason),
            ("ticket", &document.ticket),
        ];
        if let Some((name, _)) = remarks.into_iter().find(|(_, text)| !is_remark(text)) {
            return Err(malformed(&format!("`{name}` is not one line of 1 to 200 characters")));
        }
        Ok(document)
    }
}

/// Bounds the codes that one document lifts.
const MAX_CODES: usize = 32;

fn malformed(what: &str) -> Refusal {
    Refusal::new(
        RefusalCode::BreakGlassMalformed,
        format!("the break-glass document is malformed: {what}"),
    )
}
