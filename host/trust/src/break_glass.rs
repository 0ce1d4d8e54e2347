//! The break-glass document: some people's word that one hook may be held open for a while.
//!
//! Invariant: it is for one tenant and one hook, works once, and holds for at most an hour after it
//! is opened; it waives named finding codes and perhaps the hook's safe answer, never a revocation
//! and never the record. It may be signed long before it is needed and kept sealed. That it works
//! once is for the host, which remembers ([`TrustHistory`](crate::TrustHistory)).

use std::collections::BTreeSet;

use portcullis_model::{Millis, waiver};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, check_remarks};
use crate::names::{is_word, quoted};
use crate::refusal::{Refusal, RefusalCode};
use crate::root::TrustRoot;
use crate::time;

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
    /// The finding codes that it waives.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub waives: BTreeSet<String>,
    /// Whether the hook's safe answer is the platform's default while it is active: for when
    /// plugins, log or network are down.
    pub fail_open: bool,
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
        document::to_payload(self)
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
        let document: Self = document::signed(root, (role, "break_glass"), envelope)?;
        crate::validity::within(Self::NAME, document.issued, document.expires, now)?;
        Ok(document)
    }

    /// Reads one for showing it; to act on it, [`verify`](Self::verify).
    pub fn unverified(envelope: &[u8]) -> Result<Self, Refusal> {
        document::unverified(envelope)
    }
}

impl Document for BreakGlass {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "the break-glass document";
    const MALFORMED: RefusalCode = RefusalCode::BreakGlassMalformed;

    fn times(&mut self) -> Vec<&mut Millis> {
        vec![&mut self.issued, &mut self.expires]
    }

    fn check(&self) -> Result<(), String> {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.id.len() != 32 || !self.id.bytes().all(hexadecimal) {
            return Err("`id` is not 32 lower-case hexadecimal digits".to_owned());
        }
        if !is_word(&self.hook) {
            return Err(format!("{} is not the name of a hook", quoted(&self.hook)));
        }
        if !(1..=Self::MAX_MINUTES).contains(&self.minutes) {
            return Err(format!("`minutes` is not 1 to {}", Self::MAX_MINUTES));
        }
        if self.waives.is_empty() && !self.fail_open {
            let what = "it neither waives a finding code nor opens the safe answer, so it would \
             do nothing";
            return Err(what.to_owned());
        }
        if self.waives.len() > MAX_CODES {
            return Err(format!("`waives` names more than {MAX_CODES} codes"));
        }
        let is_code = |code: &String| {
            let fits =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            (1..=64).contains(&code.len()) && code.bytes().all(fits)
        };
        if let Some(code) = self.waives.iter().find(|code| !waiver::may_be_waived(code)) {
            return Err(format!(
                "{} is about audit, termination or revocation, which a break-glass document \
                 cannot waive",
                quoted(code)
            ));
        }
        if let Some(code) = self.waives.iter().find(|code| !is_code(code)) {
            let code = quoted(code);
            return Err(format!("{code} is not a finding code, such as `SOD_CONFLICT`"));
        }
        if self.issued >= self.expires {
            return Err("its end is before its beginning".to_owned());
        }
        let Self { tenant, person, reason, ticket, .. } = self;
        check_remarks(&[
            ("tenant", tenant),
            ("person", person),
            ("reason", reason),
            ("ticket", ticket),
        ])
    }
}

/// Bounds the codes that one document waives.
const MAX_CODES: usize = 32;
