//! The trust root as its owners write it.
//!
//! Invariant: keys stand once, where they are used; the payload's list of keys is made from that.

use std::collections::BTreeSet;

use portcullis_keys::PublicKey;
use portcullis_model::Millis;
use serde::Deserialize;

use super::{Validity, malformed, payload};
use crate::manifest::Capability;
use crate::names::quoted;
use crate::refusal::Refusal;
use crate::root::{LogText, PublisherText, RevokedText, RoleText, RolesText, RootText, TrustRoot};
use crate::{strict_json, time};

/// The source of a trust root.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootSource {
    /// Its number. Without one it is the number after its predecessor's, or 1.
    pub version: Option<u64>,
    validity: Validity,
    root: RoleSource,
    release: RoleSource,
    log: LogSource,
    reviewer: Option<RoleSource>,
    break_glass: Option<RoleSource>,
    data: Option<RoleSource>,
    #[serde(default, rename = "publisher")]
    publishers: Vec<PublisherSource>,
    #[serde(default)]
    revoked: RevokedText,
}

/// `[root]`, `[release]`, `[reviewer]`, `[break_glass]`, `[data]`: vkeys, and how many must sign.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSource {
    keys: Vec<String>,
    threshold: usize,
}

/// `[[publisher]]`: who may publish what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherSource {
    name: String,
    keys: Vec<String>,
    threshold: usize,
    plugin_prefix: String,
    hooks: Vec<String>,
    #[serde(default)]
    capabilities: BTreeSet<Capability>,
    #[serde(default)]
    needs_reviewer: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogSource {
    keys: Vec<String>,
}

impl RootSource {
    /// Reads a `trust-root.toml`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        strict_json::toml(text).map_err(malformed)
    }

    /// The payload to sign, as [`TrustRoot::PAYLOAD_TYPE`]. A root has no beginning: it holds once it is
    /// pinned, or once hosts see it. One that follows another carries that one's revocations on, so that nobody
    /// has to keep a list by hand.
    pub fn to_payload(
        &self,
        previous: Option<&TrustRoot>,
        now: Millis,
    ) -> Result<Vec<u8>, Refusal> {
        if self.validity.not_before.is_some() {
            return Err(malformed("a trust root has no `not_before`"));
        }
        let (issued, expires) = self.validity.window(now)?;
        let mut vkeys = Vec::new();
        let mut named = |keys: &[String]| {
            vkeys.extend_from_slice(keys);
            keys.iter().map(|vkey| keyid(vkey)).collect::<Result<Vec<_>, _>>()
        };
        let mut role = |source: &RoleSource| {
            Ok(RoleText { keys: named(&source.keys)?, threshold: source.threshold })
        };
        let root = role(&self.root)?;
        let release = role(&self.release)?;
        let reviewer = self.reviewer.as_ref().map(&mut role).transpose()?;
        let break_glass = self.break_glass.as_ref().map(&mut role).transpose()?;
        let data = self.data.as_ref().map(&mut role).transpose()?;
        let log = LogText { keys: named(&self.log.keys)? };
        let publishers = self.publishers.iter().map(|publisher| {
            Ok(PublisherText {
                name: publisher.name.clone(),
                keys: named(&publisher.keys)?,
                threshold: publisher.threshold,
                plugin_prefix: publisher.plugin_prefix.clone(),
                hooks: publisher.hooks.clone(),
                capabilities: publisher.capabilities.clone(),
                needs_reviewer: publisher.needs_reviewer,
            })
        });
        let publishers = publishers.collect::<Result<_, _>>()?;
        let roles = RolesText { root, release, log, reviewer, break_glass, data, publishers };
        let next = previous.map_or(1, |previous| previous.version.saturating_add(1));
        let version = self.version.unwrap_or(next);
        if previous.is_some() && version != next {
            return Err(malformed(format!(
                "`version` is {version}, and the root after the one before is {next}"
            )));
        }
        let revoked =
            previous.map_or_else(|| self.revoked.clone(), |previous| self.revoked.and(previous));
        let bytes = payload(&RootText {
            version,
            issued: Some(time::format(issued)),
            expires,
            keys: vkeys,
            roles,
            revoked,
        })?;
        TrustRoot::parse(&bytes)?.fresh(now)?;
        Ok(bytes)
    }
}

fn keyid(vkey: &str) -> Result<String, Refusal> {
    let key =
        PublicKey::parse(vkey).map_err(|error| malformed(format!("{}: {error}", quoted(vkey))))?;
    Ok(key.keyid())
}
