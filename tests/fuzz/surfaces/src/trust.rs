//! The three signed documents: as strangers send them, and past the signatures, as a careless signer would let them through.

use std::sync::LazyLock;

use portcullis_keys::{KeyError, SecretKey};
use portcullis_model::{Limits, Millis};
use portcullis_trust::{
    Envelope, Manifest, ManifestSource, Refusal, ReleaseSet, ReleaseSource, RootSource, TrustRoot, sha256, sign,
    verify_manifest, verify_release, verify_root,
};

/// A DSSE envelope with whatever inside: nobody's signature, nobody's document.
pub fn envelope(bytes: &[u8]) {
    if let Ok(parsed) = Envelope::parse(bytes) {
        let again = parsed.to_bytes();
        assert!(Envelope::parse(&again).is_ok(), "what was read can be written and read");
    }
    if let Ok(root) = verify_root(bytes, NOW) {
        // Only who holds the root's own keys can make one: then it must at least refuse itself as anything else.
        assert!(verify_manifest(&root, bytes, NOW).is_err() && verify_release(&root, bytes, NOW).is_err());
    }
    assert!(verify_manifest(&HOUSE.root, bytes, NOW).is_err() && verify_release(&HOUSE.root, bytes, NOW).is_err());
}

/// What a publisher signed as a manifest: it is taken only as what was signed, within what the publisher may publish and any plugin may have.
pub fn statement(bytes: &[u8]) {
    let envelope = sign(Manifest::PAYLOAD_TYPE, bytes, &[&HOUSE.publisher]);
    match verify_manifest(&HOUSE.root, &envelope, NOW) {
        Ok(verified) => {
            assert_eq!(verified.digest, sha256(bytes));
            let Manifest { id, limits, hooks, messages, .. } = &verified.manifest;
            assert!(id.starts_with("org.hospital.") && hooks.iter().all(|hook| hook.starts_with("okta.")));
            assert!(limits.within_ceiling() && limits.memory_bytes <= Limits::CEILING.memory_bytes);
            assert_eq!(messages.validate(), Ok(()));
        }
        Err(refusal) => said(&refusal),
    }
}

/// What the release key signed as a release set: whatever it binds it lists.
pub fn release(bytes: &[u8]) {
    let envelope = sign(ReleaseSet::PAYLOAD_TYPE, bytes, &[&HOUSE.release]);
    match verify_release(&HOUSE.root, &envelope, NOW) {
        Ok(set) => assert!(set.version > 0 && set.bindings.iter().all(|binding| set.entry(&binding.plugin).is_ok())),
        Err(refusal) => said(&refusal),
    }
}

/// The TOML that authors and operators write.
pub fn source(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(manifest) = ManifestSource::parse(text) {
        drop(manifest.to_statement(b"\0asm", None, NOW));
    }
    if let Ok(root) = RootSource::parse(text) {
        drop(root.to_payload(NOW));
    }
    drop(ReleaseSource::parse(text));
}

/// A refusal goes to logs and terminals: one line, and no control characters from the bytes.
fn said(refusal: &Refusal) {
    let sentence = refusal.to_string();
    assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
    assert!(refusal.hint().is_some());
}

struct House {
    publisher: SecretKey,
    release: SecretKey,
    root: TrustRoot,
}

#[expect(clippy::expect_used, reason = "nothing of it comes from outside")]
static HOUSE: LazyLock<House> = LazyLock::new(|| House::new().expect("a house of fixed keys stands"));

impl House {
    fn new() -> Result<Self, String> {
        let key =
            |name: &str, seed| SecretKey::from_seed(name, &[seed; 32]).map_err(|error: KeyError| error.to_string());
        let (root, release) = (key("root.hospital.example", 1)?, key("release.hospital.example", 2)?);
        let (log, publisher) = (key("audit.hospital.example/2026", 3)?, key("alice.hospital.example", 4)?);
        let mut source = ROOT.to_owned();
        for (name, key) in [("{root}", &root), ("{release}", &release), ("{log}", &log), ("{publisher}", &publisher)] {
            source = source.replace(name, &key.public().to_string());
        }
        let refused = |refusal: Refusal| refusal.to_string();
        let payload = RootSource::parse(&source).and_then(|source| source.to_payload(NOW)).map_err(refused)?;
        let root = verify_root(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&root]), NOW).map_err(refused)?;
        Ok(Self { publisher, release, root })
    }
}

/// When the corpus's documents are valid: 2026-11-01T12:00:00Z and a bit.
const NOW: Millis = Millis(1_793_534_400_250);

const ROOT: &str = r#"version = 3
validity = { days = 365 }

[root]
keys = ["{root}"]
threshold = 1

[release]
keys = ["{release}"]
threshold = 1

[log]
keys = ["{log}"]

[[publisher]]
name = "security-team"
keys = ["{publisher}"]
threshold = 1
plugin_prefix = "org.hospital."
hooks = ["okta.*"]
capabilities = ["journal"]
"#;
