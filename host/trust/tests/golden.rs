//! What third parties see: the exact payloads that are signed. A change here changes what others verify: it
//! is a decision. `BLESS=1` writes the files anew.

#![expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")]

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::{Hospital, NOW, SETTINGS, WASM};
use portcullis_model::{Effect, Limits, Mode, sha256};
use portcullis_trust::{RefusalCode, verify_binding};

#[test]
fn payloads_are_as_published() {
    let hospital = Hospital::new();
    let envelope = hospital.sign_manifest(&hospital.statement());
    for (name, payload) in [
        ("trust-root.payload.json", hospital.root_payload()),
        ("manifest.statement.json", hospital.statement()),
        ("manifest.envelope.json", String::from_utf8(envelope).unwrap()),
        ("release-set.payload.json", hospital.release_payload()),
        (
            "release-set-candidate.payload.json",
            hospital.release_payload_of(&Hospital::release_toml_with_candidate()).unwrap(),
        ),
    ] {
        let path = format!("{}/tests/golden/{name}", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &payload).unwrap();
        }
        assert_eq!(payload, std::fs::read_to_string(&path).unwrap(), "{name}");
    }
}

#[test]
fn what_was_written_is_what_is_loaded() {
    let hospital = Hospital::new();
    let release = hospital.release();
    let plugin = hospital.load(&hospital.sign_manifest(&hospital.statement()), WASM, NOW).unwrap();
    let manifest = &plugin.manifest;
    assert_eq!(
        (manifest.id.as_str(), manifest.version.as_str(), manifest.serial),
        ("org.hospital.sod", "2.0.0", 7)
    );
    assert_eq!((manifest.wasm, manifest.wasm_size), (sha256(WASM), WASM.len() as u64));
    assert_eq!(manifest.limits, Limits { time_ms: 20, ..Limits::DEFAULT });
    assert_eq!(manifest.reads.paths().len(), 3);
    assert_eq!(manifest.emits.effects(), [Effect::Allow, Effect::Review, Effect::Deny]);
    assert!(manifest.messages.has("SOD_CONFLICT"));
    assert_eq!(manifest.settings_schema.as_ref().unwrap().text, common::SCHEMA.trim());
    assert_eq!(plugin.publisher, "security-team");
    assert_eq!(plugin.signers, [hospital.alice.public().keyid(), hospital.bob.public().keyid()]);
    assert_eq!(plugin.digest, sha256(hospital.statement().as_bytes()));

    let [import, token] = release.bindings.as_slice() else { panic!("{:?}", release.bindings) };
    assert_eq!((import.hook.as_str(), token.hook.as_str()), ("import", "token"));
    assert_eq!(
        (token.mode, token.fallback.get("review").map(String::as_str)),
        (Mode::Enforce, Some("deny"))
    );
    assert_eq!(verify_binding(token, manifest, "okta.token", SETTINGS), Ok(()));
    assert_eq!(verify_binding(import, manifest, "okta.user-import", b"{}"), Ok(()));
    let other_kind = verify_binding(token, manifest, "entra.token", SETTINGS).unwrap_err();
    assert_eq!(other_kind.kind(), RefusalCode::HookNotDeclared);
    let other_settings = verify_binding(token, manifest, "okta.token", b"{}").unwrap_err();
    assert_eq!(other_settings.kind(), RefusalCode::SettingsMismatch);
}

#[test]
fn the_order_of_bindings_carries_no_meaning() {
    let hospital = Hospital::new();
    let payload = hospital.release_payload();
    let release: serde_json::Value = serde_json::from_str(&payload).unwrap();
    let mut turned = release.clone();
    turned["bindings"].as_array_mut().unwrap().reverse();
    assert_ne!(release, turned);
    let envelope = hospital.sign_release(&turned.to_string());
    let turned = portcullis_trust::verify_release(&hospital.root(), &envelope, NOW).unwrap();
    assert_eq!(turned, hospital.release());
}
