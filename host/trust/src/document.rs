//! Common parts of the documents that people sign for a while: an envelope of one payload type,
//! times of whole seconds, and one line each about who asked for it, why and under which ticket.
//!
//! Invariant: nothing is written that would not be read, and nothing is read that does not pass the
//! document's own checks. Which role signs a document, and when it holds, is the document's own.

use portcullis_model::Millis;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dsse::Envelope;
use crate::names::is_remark;
use crate::refusal::{Refusal, RefusalCode};
use crate::root::{Role, TrustRoot};
use crate::{strict_json, time};

/// A kind of document.
pub(crate) trait Document: Clone + Serialize + DeserializeOwned {
    /// The payload type of its envelope.
    const TYPE: &'static str;
    /// Its name in a sentence, such as `the downgrade`.
    const NAME: &'static str;
    /// The code of one that does not pass its checks.
    const MALFORMED: RefusalCode;

    /// Its times, which are written in whole seconds.
    fn times(&mut self) -> Vec<&mut Millis>;

    /// The problem with it, in a sentence.
    fn check(&self) -> Result<(), String>;
}

/// The payload to sign.
pub(crate) fn to_payload<D: Document>(document: &D) -> Result<Vec<u8>, Refusal> {
    let mut whole = document.clone();
    for time in whole.times() {
        *time = time::whole_second(*time);
    }
    let payload = serde_json::to_vec(&whole).map_err(|error| malformed::<D>(error.to_string()))?;
    parse::<D>(&payload)?;
    Ok(payload)
}

/// The document of an envelope that this role of the root has signed often enough. `name` is the
/// role's. Whether the root or the document has expired is not asked.
pub(crate) fn signed<D: Document>(
    root: &TrustRoot,
    (role, name): (&Role, &str),
    envelope: &[u8],
) -> Result<D, Refusal> {
    let envelope = Envelope::parse(envelope)?;
    let signers = root.signers(&envelope, D::TYPE)?;
    role.demand(&signers, D::NAME, name)?;
    parse(envelope.unverified_payload())
}

/// The document of an envelope, to show it.
pub(crate) fn unverified<D: Document>(envelope: &[u8]) -> Result<D, Refusal> {
    let envelope = Envelope::parse(envelope)?;
    envelope.expect_type(D::TYPE)?;
    parse(envelope.unverified_payload())
}

/// The document of a payload.
pub(crate) fn parse<D: Document>(payload: &[u8]) -> Result<D, Refusal> {
    let document: D = strict_json::json(payload).map_err(malformed::<D>)?;
    document.check().map_err(malformed::<D>)?;
    Ok(document)
}

/// Refuses a document that ends before it begins, or longer after than it may; `words` say how long
/// that is.
pub(crate) fn check_validity(
    (issued, expires): (Millis, Millis),
    longest: Millis,
    words: &str,
) -> Result<(), String> {
    if issued >= expires || expires.0 - issued.0 > longest.0 {
        return Err(format!("its end is before its beginning, or more than {words} after it"));
    }
    Ok(())
}

/// Refuses the first of these named texts that is not one line.
pub(crate) fn check_remarks(remarks: &[(&str, &str)]) -> Result<(), String> {
    match remarks.iter().find(|(_, text)| !is_remark(text)) {
        Some((name, _)) => Err(format!("`{name}` is not one line of 1 to 200 characters")),
        None => Ok(()),
    }
}

fn malformed<D: Document>(what: String) -> Refusal {
    Refusal::new(D::MALFORMED, format!("{} is malformed: {what}", D::NAME))
}
