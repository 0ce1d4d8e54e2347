//! The trust root: which keys exist, and what each may sign.
//!
//! Invariant: every key serves exactly one role, every threshold can be reached and none is zero, so a stolen
//! key does one kind of harm and no document needs a signature that cannot exist. A revoked key serves none.
//! The first root is verified by its own root role: it is believed because the operator pins it. How roots
//! follow each other is in `chain`.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_keys::PublicKey;
use portcullis_model::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::manifest::Capability;
use crate::names::{HookPattern, is_plugin_prefix, quoted};
use crate::refusal::{Refusal, RefusalCode};
use crate::revoked::RevokedPlugins;
use crate::{strict_json, time};

/// A trust root that says what its format needs. Whether it is signed is for
/// [`verify_root`](crate::verify_root).
#[derive(Clone, Debug)]
pub struct TrustRoot {
    /// Its number; a later root has a higher one.
    pub version: u64,
    /// When it was made; `None` for one that does not tell.
    pub issued: Option<Millis>,
    /// When it ends.
    pub expires: Millis,
    /// The digest of its payload: what an operator pins.
    pub digest: Digest,
    /// Who may sign a trust root.
    pub root: Role,
    /// Who may sign release sets.
    pub release: Role,
    /// The keys of the transparency logs.
    pub log: Vec<PublicKey>,
    /// Who may second a manifest, where its publisher needs that.
    pub reviewer: Option<Role>,
    /// Who may sign break-glass documents; without it there are none.
    pub break_glass: Option<Role>,
    /// Who may sign versions of reference tables; without it no table can be signed.
    pub data: Option<Role>,
    /// Who may publish which plugins.
    pub publishers: Vec<Publisher>,
    /// Keys whose signatures count no more, for good.
    pub revoked_keys: Vec<PublicKey>,
    /// Manifests that must never run again.
    pub revoked: RevokedPlugins,
    keys: Vec<PublicKey>,
    /// Both the keys that serve and the revoked ones: so that a revoked key is told from a stranger's.
    known: Vec<PublicKey>,
}

/// Who signed a document, as a trust root sees them.
pub(crate) struct Signers<'r> {
    /// The root's keys, each once.
    pub(crate) counted: Vec<&'r PublicKey>,
    /// Keys that the root has revoked: they count no more.
    pub(crate) revoked: Vec<&'r PublicKey>,
    /// The first signature that counts for nothing, and why.
    pub(crate) rejected: Option<Refusal>,
}

/// Some keys, and how many of them must sign.
#[derive(Clone, Debug)]
pub struct Role {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many distinct ones must sign; at least 1, at most all.
    pub threshold: usize,
}

/// Somebody who may publish plugins.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Their name, for people.
    pub name: String,
    /// Their keys.
    pub role: Role,
    /// What their plugins' ids begin with; ends with a dot.
    pub plugin_prefix: String,
    /// For which hook kinds they may publish.
    pub hooks: Vec<HookPattern>,
    /// What their plugins may ask for.
    pub capabilities: BTreeSet<Capability>,
    /// Whether their manifests need the signatures of the role `reviewer` too.
    pub needs_reviewer: bool,
}

impl TrustRoot {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.trust-root.v1+json";

    /// Reads the payload of a trust root.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let text: RootText = strict_json::json(payload).map_err(malformed)?;
        let mut unused = Keys::read(&text.keys)?;
        let keys: Vec<_> = unused.0.values().cloned().collect();
        let revoked_keys = text.revoked.keys(&keys)?;
        let revoked = text.revoked.plugins();
        revoked.check().map_err(malformed)?;
        if text.version == 0 {
            return Err(malformed("`version` is 0; the first is 1"));
        }
        let root = unused.role("root", &text.roles.root)?;
        let release = unused.role("release", &text.roles.release)?;
        let log = unused.take("log", &text.roles.log.keys)?;
        let reviewer =
            text.roles.reviewer.as_ref().map(|role| unused.role("reviewer", role)).transpose()?;
        let break_glass = text
            .roles
            .break_glass
            .as_ref()
            .map(|role| unused.role("break_glass", role))
            .transpose()?;
        let data = text.roles.data.as_ref().map(|role| unused.role("data", role)).transpose()?;
        if reviewer.is_none()
            && let Some(publisher) =
                text.roles.publishers.iter().find(|publisher| publisher.needs_reviewer)
        {
            let name = quoted(&publisher.name);
            return Err(malformed(format!(
                "{name} needs a reviewer, and there is no role `reviewer`"
            )));
        }
        let publishers = text
            .roles
            .publishers
            .iter()
            .map(|publisher| publisher.read(&mut unused))
            .collect::<Result<_, _>>()?;
        let names: BTreeSet<_> =
            text.roles.publishers.iter().map(|publisher| &publisher.name).collect();
        if names.len() != text.roles.publishers.len() {
            return Err(malformed("two publishers have the same name"));
        }
        if let Some(keyid) = unused.0.keys().next() {
            return Err(malformed(format!("the key {} is of no role", quoted(keyid))));
        }
        let digest = portcullis_model::sha256(payload);
        let known = keys.iter().chain(&revoked_keys).cloned().collect();
        Ok(Self {
            version: text.version,
            issued: text.issued.as_deref().map(issued).transpose()?,
            expires: text.expires,
            digest,
            root,
            release,
            log,
            reviewer,
            break_glass,
            data,
            publishers,
            revoked_keys,
            revoked,
            keys,
            known,
        })
    }

    /// Every key that serves a role.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Whether this key's signatures count no more, under whatever name.
    pub fn is_revoked(&self, key: &PublicKey) -> bool {
        self.revoked_keys.iter().any(|revoked| revoked.bytes() == key.bytes())
    }

    /// Returns this root with further keys revoked.
    #[must_use]
    pub fn without_keys(&self, revoked: &[PublicKey]) -> Self {
        let mut root = self.clone();
        root.revoked_keys.extend(revoked.iter().cloned());
        root
    }

    /// Who signed this envelope, of those whom this root knows.
    pub(crate) fn signers(
        &self,
        envelope: &Envelope,
        payload_type: &str,
    ) -> Result<Signers<'_>, Refusal> {
        let verified = envelope.verify(payload_type, &self.known)?;
        let (revoked, counted) = verified.signers.into_iter().partition(|key| self.is_revoked(key));
        Ok(Signers { counted, revoked, rejected: verified.rejected.into_iter().next() })
    }

    /// Returns why signatures of an envelope count for nothing, although the document may have
    /// enough others: somebody altered it, or signed it wrongly.
    ///
    /// # Errors
    /// The envelope does not read, or has no signature.
    pub fn rejected_signatures(&self, envelope: &[u8]) -> Result<Vec<Refusal>, Refusal> {
        let envelope = Envelope::parse(envelope)?;
        Ok(envelope.verify(envelope.payload_type(), &self.known)?.rejected)
    }

    /// Refuses once this root's time is over.
    pub fn fresh(&self, now: Millis) -> Result<(), Refusal> {
        if now < self.expires {
            return Ok(());
        }
        let sentence =
            format!("the trust root {} expired at {}", self.version, time::format(self.expires));
        Err(Refusal::new(RefusalCode::Expired, sentence))
    }
}

impl Role {
    /// How many distinct keys of this role are among the signers, each of which is a distinct key.
    pub(crate) fn count(&self, signers: &[&PublicKey]) -> usize {
        self.among(signers).len()
    }

    /// Which of the signers, each of which is a distinct key, are keys of this role.
    pub(crate) fn among<'r>(&self, signers: &[&'r PublicKey]) -> Vec<&'r PublicKey> {
        let ours = |signer: &&&PublicKey| self.keys.iter().any(|key| key.bytes() == signer.bytes());
        signers.iter().filter(ours).copied().collect()
    }

    /// Refuses a document that this role has not signed, or not often enough. `what` and `role` name them in
    /// the sentence.
    pub(crate) fn demand(
        &self,
        signers: &Signers<'_>,
        what: &str,
        role: &str,
    ) -> Result<(), Refusal> {
        match self.count(&signers.counted) {
            few if few < self.threshold && signers.rejected.is_some() => signers.unrejected(),
            few if few < self.threshold && !signers.revoked.is_empty() => {
                Err(signers.revoked(what))
            }
            0 => Err(Refusal::new(
                RefusalCode::UnknownSigner,
                format!("no key of the role `{role}` has signed {what}"),
            )),
            few if few < self.threshold => Err(self.below_threshold(few, what, role)),
            _ => Ok(()),
        }
    }

    /// The refusal of a document that `few` keys have signed.
    pub(crate) fn below_threshold(&self, few: usize, what: &str, role: &str) -> Refusal {
        let sentence =
            format!("{few} of the {} keys that `{role}` needs have signed {what}", self.threshold);
        Refusal::new(RefusalCode::BelowThreshold, sentence)
    }
}

impl Signers<'_> {
    /// Refuses where a signature counts for nothing: what a document with too few signatures is
    /// refused for.
    pub(crate) fn unrejected(&self) -> Result<(), Refusal> {
        self.rejected.clone().map_or(Ok(()), Err)
    }

    /// The refusal of a document that has too few signatures without those of revoked keys.
    pub(crate) fn revoked(&self, what: &str) -> Refusal {
        let names: Vec<_> = self.revoked.iter().map(|key| quoted(&key.keyid())).collect();
        let sentence = format!(
            "{what} is signed by the revoked key {}, and by too few others",
            names.join(", ")
        );
        Refusal::new(RefusalCode::RevokedKey, sentence)
    }
}

/// The wire form; also what [`RootSource`](crate::RootSource) writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootText {
    pub(crate) version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issued: Option<String>,
    #[serde(with = "time::text")]
    pub(crate) expires: Millis,
    /// Vkeys.
    pub(crate) keys: Vec<String>,
    pub(crate) roles: RolesText,
    #[serde(default, skip_serializing_if = "RevokedText::is_empty")]
    pub(crate) revoked: RevokedText,
}

/// What counts no more, for good.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RevokedText {
    /// Vkeys: a key is revoked by its bytes, so that no other name brings it back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) keys: Vec<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) manifests: BTreeSet<Digest>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) serials: BTreeMap<String, BTreeSet<u64>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolesText {
    pub(crate) root: RoleText,
    pub(crate) release: RoleText,
    pub(crate) log: LogText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reviewer: Option<RoleText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) break_glass: Option<RoleText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<RoleText>,
    pub(crate) publishers: Vec<PublisherText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleText {
    /// Key ids.
    pub(crate) keys: Vec<String>,
    pub(crate) threshold: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogText {
    pub(crate) keys: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublisherText {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) threshold: usize,
    pub(crate) plugin_prefix: String,
    pub(crate) hooks: Vec<String>,
    pub(crate) capabilities: BTreeSet<Capability>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) needs_reviewer: bool,
}

impl RevokedText {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.manifests.is_empty() && self.serials.is_empty()
    }

    /// These revocations and all of the trust root before.
    pub(crate) fn and(&self, previous: &TrustRoot) -> Self {
        let mut plugins = self.plugins();
        plugins.merge(&previous.revoked);
        let mut keys = self.keys.clone();
        let named = |key: &&PublicKey| {
            let said = |vkey: &String| {
                PublicKey::parse(vkey).is_ok_and(|said| said.bytes() == key.bytes())
            };
            self.keys.iter().any(said)
        };
        keys.extend(
            previous.revoked_keys.iter().filter(|key| !named(key)).map(ToString::to_string),
        );
        Self { keys, manifests: plugins.manifests, serials: plugins.serials }
    }

    fn plugins(&self) -> RevokedPlugins {
        RevokedPlugins { manifests: self.manifests.clone(), serials: self.serials.clone() }
    }

    /// The revoked keys, none of which serves a role.
    fn keys(&self, serving: &[PublicKey]) -> Result<Vec<PublicKey>, Refusal> {
        let mut keys: Vec<PublicKey> = Vec::new();
        if self.keys.len() > MAX_REVOKED_KEYS {
            return Err(malformed(format!("it revokes more than {MAX_REVOKED_KEYS} keys")));
        }
        for vkey in &self.keys {
            let key = PublicKey::parse(vkey)
                .map_err(|error| malformed(format!("{}: {error}", quoted(vkey))))?;
            if keys.iter().any(|known| known.bytes() == key.bytes()) {
                return Err(malformed(format!(
                    "the key {} is revoked twice",
                    quoted(&key.keyid())
                )));
            }
            if let Some(serving) = serving.iter().find(|serving| serving.bytes() == key.bytes()) {
                return Err(malformed(format!(
                    "the key {} is revoked, but a role uses it",
                    quoted(&serving.keyid())
                )));
            }
            keys.push(key);
        }
        Ok(keys)
    }
}

impl PublisherText {
    fn read(&self, unused: &mut Keys) -> Result<Publisher, Refusal> {
        let name = quoted(&self.name);
        if self.name.is_empty() {
            return Err(malformed("a publisher has no name"));
        }
        let role = unused.role_of(&name, &self.keys, self.threshold)?;
        if !is_plugin_prefix(&self.plugin_prefix) {
            let prefix = quoted(&self.plugin_prefix);
            return Err(malformed(format!(
                "the prefix {prefix} of {name} is not one that ends with a dot, such as `org.hospital.`"
            )));
        }
        let mut hooks = Vec::with_capacity(self.hooks.len());
        for pattern in &self.hooks {
            hooks.push(HookPattern::parse(pattern).ok_or_else(|| {
                malformed(format!(
                    "the hook pattern {} of {name} is neither a kind nor a platform and `.*`",
                    quoted(pattern)
                ))
            })?);
        }
        let (name, plugin_prefix) = (self.name.clone(), self.plugin_prefix.clone());
        let (capabilities, needs_reviewer) = (self.capabilities.clone(), self.needs_reviewer);
        Ok(Publisher { name, role, plugin_prefix, hooks, capabilities, needs_reviewer })
    }
}

/// The keys of a root that no role has taken yet, by key id: so that each serves one role, and one only.
struct Keys(BTreeMap<String, PublicKey>);

impl Keys {
    fn read(vkeys: &[String]) -> Result<Self, Refusal> {
        if vkeys.len() > MAX_KEYS {
            return Err(malformed(format!("it names more than {MAX_KEYS} keys")));
        }
        let mut keys = BTreeMap::new();
        let mut bytes = BTreeSet::new();
        for vkey in vkeys {
            let key = PublicKey::parse(vkey)
                .map_err(|error| malformed(format!("{}: {error}", quoted(vkey))))?;
            let keyid = key.keyid();
            if !bytes.insert(*key.bytes()) || keys.insert(keyid.clone(), key).is_some() {
                return Err(malformed(format!(
                    "the key {} is listed twice, under one name or two",
                    quoted(&keyid)
                )));
            }
        }
        Ok(Self(keys))
    }

    fn take(&mut self, role: &str, keyids: &[String]) -> Result<Vec<PublicKey>, Refusal> {
        if keyids.is_empty() {
            return Err(malformed(format!("{role} has no key")));
        }
        let take = |keyid: &String| {
            self.0.remove(keyid).ok_or_else(|| {
                malformed(format!(
                    "the key {} of {role} is missing in `keys`, or is used twice",
                    quoted(keyid)
                ))
            })
        };
        keyids.iter().map(take).collect()
    }

    fn role(&mut self, name: &str, text: &RoleText) -> Result<Role, Refusal> {
        self.role_of(name, &text.keys, text.threshold)
    }

    fn role_of(
        &mut self,
        name: &str,
        keyids: &[String],
        threshold: usize,
    ) -> Result<Role, Refusal> {
        let keys = self.take(name, keyids)?;
        if !(1..=keys.len()).contains(&threshold) {
            return Err(malformed(format!(
                "{name} needs {threshold} of {} keys: at least 1, at most all",
                keys.len()
            )));
        }
        Ok(Role { keys, threshold })
    }
}

fn issued(text: &str) -> Result<Millis, Refusal> {
    time::parse(text).ok_or_else(|| malformed(format!("`issued`: {}", time::EXPECTED)))
}

fn malformed(what: impl AsRef<str>) -> Refusal {
    Refusal::new(
        RefusalCode::RootMalformed,
        format!("the trust root is malformed: {}", what.as_ref()),
    )
}

/// Bounds the work of one verification: at most this many checks a signature.
const MAX_KEYS: usize = 64;

/// Bounds it likewise: a key stays revoked for ever.
const MAX_REVOKED_KEYS: usize = 256;
