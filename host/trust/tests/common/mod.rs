//! A small hospital: its keys, its trust root, one plugin and one release set. Everything is fixed, so bytes
//! can be golden.

use std::collections::BTreeMap;

use portcullis_keys::SecretKey;
use portcullis_model::Millis;
use portcullis_trust::{
    Manifest, ManifestSource, Refusal, ReleaseSet, ReleaseSource, RootSource, TrustRoot,
    VerifiedPlugin, sign, verify_plugin, verify_release, verify_root,
};

/// 2026-11-01T12:00:00Z and a bit.
pub const NOW: Millis = Millis(1_793_534_400_250);

/// Not a component that runs: this room only measures and digests it.
pub const WASM: &[u8] = b"\0asm\x0d\0\x01\0 and what a component holds";

pub const SETTINGS: &[u8] = br#"{"rules":[]}"#;

pub const SCHEMA: &str =
    "\n{ \"type\": \"object\",\n  \"properties\": { \"rules\": { \"type\": \"array\" } } }\n";

pub const MANIFEST_TOML: &str = include_str!("manifest.toml");

pub const RELEASE_TOML: &str = include_str!("release.toml");

pub const DAY: u64 = 24 * 60 * 60 * 1_000;

pub struct Hospital {
    pub root_key: SecretKey,
    pub release_key: SecretKey,
    pub log_key: SecretKey,
    /// The publisher `security-team` needs both.
    pub alice: SecretKey,
    pub bob: SecretKey,
    /// The publisher `pharmacy`, alone.
    pub carol: SecretKey,
    /// Whom no root names.
    pub mallory: SecretKey,
}

impl Hospital {
    pub fn new() -> Self {
        let key = |name: &str, seed| SecretKey::from_seed(name, &[seed; 32]).unwrap();
        Self {
            root_key: key("root.hospital.example", 1),
            release_key: key("release.hospital.example", 2),
            log_key: key("audit.hospital.example/2026", 3),
            alice: key("alice.hospital.example", 4),
            bob: key("bob.hospital.example", 5),
            carol: key("carol.hospital.example", 6),
            mallory: key("mallory.example", 7),
        }
    }

    pub fn root_toml(&self) -> String {
        let mut text = include_str!("trust-root.toml").to_owned();
        let keys =
            [&self.root_key, &self.release_key, &self.log_key, &self.alice, &self.bob, &self.carol];
        for (name, key) in ["ROOT", "RELEASE", "LOG", "ALICE", "BOB", "CAROL"].into_iter().zip(keys)
        {
            text = text.replace(name, &key.public().to_string());
        }
        text
    }

    pub fn root_payload(&self) -> String {
        let bytes = RootSource::parse(&self.root_toml()).unwrap().to_payload(None, NOW).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    pub fn sign_root(&self, payload: &str) -> Vec<u8> {
        sign(TrustRoot::PAYLOAD_TYPE, payload.as_bytes(), &[&self.root_key])
    }

    pub fn root(&self) -> TrustRoot {
        verify_root(&self.sign_root(&self.root_payload()), NOW).unwrap()
    }

    pub fn statement(&self) -> String {
        let bytes = ManifestSource::parse(MANIFEST_TOML)
            .unwrap()
            .to_statement(WASM, Some(SCHEMA), None, NOW)
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }

    pub fn sign_manifest(&self, statement: &str) -> Vec<u8> {
        sign(Manifest::PAYLOAD_TYPE, statement.as_bytes(), &[&self.alice, &self.bob])
    }

    pub fn release_payload(&self) -> String {
        self.release_payload_of(RELEASE_TOML).unwrap()
    }

    /// The same of another source, which may name the next version as `sod-next.manifest.json`.
    pub fn release_payload_of(&self, source: &str) -> Result<String, Refusal> {
        let source = ReleaseSource::parse(source)?;
        let next = MANIFEST_TOML.replace("serial = 7", "serial = 8").replace("2.0.0", "2.1.0");
        let next = ManifestSource::parse(&next)
            .unwrap()
            .to_statement(WASM, Some(SCHEMA), None, NOW)
            .unwrap();
        let files = BTreeMap::from([
            ("sod.manifest.json".to_owned(), self.sign_manifest(&self.statement())),
            (
                "sod-next.manifest.json".to_owned(),
                self.sign_manifest(std::str::from_utf8(&next).unwrap()),
            ),
            ("settings/sod.json".to_owned(), SETTINGS.to_vec()),
            ("settings/sod-next.json".to_owned(), b"{\"existing\":\"report\"}".to_vec()),
        ]);
        assert!(source.files().all(|path| files.contains_key(path)));
        Ok(String::from_utf8(source.to_payload(&self.root(), &files, NOW)?).unwrap())
    }

    /// A source with a candidate beside what is bound to `token`.
    pub fn release_toml_with_candidate() -> String {
        let token = RELEASE_TOML.find("hook = \"token\"").unwrap();
        let (before, binding) = RELEASE_TOML.split_at(token);
        let (binding, after) = binding
            .split_once("\n[[binding]]")
            .map_or((binding, None), |(it, rest)| (it, Some(rest)));
        let after = after.map(|rest| format!("\n[[binding]]{rest}")).unwrap_or_default();
        let plugins = "plugins = [";
        let before = before.replacen(
            plugins,
            &format!("candidates = [\"sod-next.manifest.json\"]\n{plugins}"),
            1,
        );
        format!(
            "{before}{binding}\nbounds = {{ concurrency = 2, failure_threshold = 3 }}\n\n[binding.candidate]\nsettings = \"settings/sod-next.json\"\ncanary = {{ percent = 5, departments = [\"radiology\"] }}\nabort = {{ max_differences = 1 }}\n{after}"
        )
    }

    pub fn sign_release(&self, payload: &str) -> Vec<u8> {
        sign(ReleaseSet::PAYLOAD_TYPE, payload.as_bytes(), &[&self.release_key])
    }

    pub fn release(&self) -> ReleaseSet {
        verify_release(&self.root(), &self.sign_release(&self.release_payload()), NOW).unwrap()
    }

    /// What loading the release's plugin from these bytes comes to.
    pub fn load(
        &self,
        envelope: &[u8],
        wasm: &[u8],
        now: Millis,
    ) -> Result<VerifiedPlugin, Refusal> {
        let release = self.release();
        verify_plugin(&self.root(), release.entry("org.hospital.sod")?, envelope, wasm, now)
    }
}

/// Asserts that this was refused with this code, in words for operators.
#[track_caller]
pub fn refused<T>(code: &str, outcome: Result<T, Refusal>) {
    match outcome {
        Ok(_) => panic!("taken, not refused as {code}"),
        Err(refusal) => {
            assert_eq!(refusal.code(), code, "{refusal}");
            let sentence = refusal.to_string();
            assert!(
                !sentence.ends_with('.') && sentence.starts_with(|c: char| !c.is_uppercase()),
                "{sentence}"
            );
            assert!(refusal.hint().is_some());
            println!("{code}: {sentence}");
        }
    }
}

/// When a window that begins at signing begins.
pub fn whole_second(time: Millis) -> Millis {
    Millis(time.0 - time.0 % 1_000)
}
