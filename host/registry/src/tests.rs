//! What a registry holds is read strictly and written the same way every time: what is refused, what comes back whole, and that no bytes panic.

use portcullis_model::sha256;
use proptest::prelude::*;

use crate::plugin::{attachment, layer};
use crate::*;

#[test]
fn references_are_read_and_written_back() {
    for good in [
        "registry.example/hooks:live",
        "127.0.0.1:5000/hospital/hooks:release-12",
        "[::1]:5000/a/b-c/d__e/f.g:v1.0",
        "localhost/a:b",
        &format!("registry.example/a@sha256:{}", "0f".repeat(32)),
    ] {
        assert_eq!(good.parse::<ImageRef>().map(|it| it.to_string()), Ok(good.to_owned()));
    }
    for bad in [
        "",
        "hooks",
        "hooks:live",
        "hospital/hooks:live",
        "registry.example/hooks",
        "registry.example/Hooks:live",
        "registry.example/a/../b:c",
        "registry.example//a:b",
        "registry.example/a:",
        "registry.example/a:-x",
        "https://registry.example/a:b",
        "registry.example:x/a:b",
        "registry.example:99999/a:b",
        "user@registry.example/a:b",
        "registry.example/a?x:b",
        "registry.example/a@sha256:00",
        "[::1/a:b",
        "[zz]:1/a:b",
        "-a.b/c:d",
        "registry.example/a-:b",
        "registry.example/a..b:c",
        "registry.example/a b:c",
    ] {
        assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
    }
}

#[test]
fn a_component_is_named_three_times_alike() {
    let made = component(b"\0asm", "sod.wasm", "2026-01-01T00:00:00Z", ComponentFacts::default());
    let bytes = made.image.to_bytes();
    assert_eq!(Image::parse(&bytes).as_ref(), Ok(&made.image));
    assert_eq!(layer(&made.image, &made.config).map(|layer| layer.digest), Ok(sha256(b"\0asm")));
    let other = component(b"\0asm2", "sod.wasm", "2026-01-01T00:00:00Z", ComponentFacts::default());
    assert!(layer(&made.image, &other.config).is_err(), "the configuration names another layer");
    let mut two = made.image.clone();
    two.layers.push(other.image.layers[0].clone());
    assert!(layer(&two, &made.config).is_err());

    let descriptor = made.image.descriptor(&bytes);
    let signed = attached(&descriptor, MANIFEST_ARTIFACT, Descriptor::of(DSSE, b"{}"));
    assert!(attachment(&signed, descriptor.digest, MANIFEST_ARTIFACT).is_ok());
    assert!(attachment(&signed, sha256(b"another"), MANIFEST_ARTIFACT).is_err());
    assert!(attachment(&signed, descriptor.digest, SUITE_ARTIFACT).is_err());
    let statement =
        format!(r#"{{"subject":[{{"name":"a","digest":{{"sha256":"{}"}}}}]}}"#, "0f".repeat(32));
    assert_eq!(
        subject(statement.as_bytes()).map(|digest| digest.to_string()),
        Some(format!("sha256:{}", "0f".repeat(32)))
    );
    assert_eq!(subject(br#"{"subject":[]}"#), None);
}

#[test]
fn the_same_bytes_are_not_two_kinds_of_document() {
    let image = component(b"\0asm", "a", "2026-01-01T00:00:00Z", ComponentFacts::default()).image;
    let text = String::from_utf8(image.to_bytes()).unwrap();
    for wrong in [
        text.replacen('{', r#"{"manifests":[],"#, 1),
        text.replacen('{', r#"{"schemaVersion":2,"#, 1),
        text.replacen(":2", ":1", 1),
        text.replacen("image.manifest", "image.index", 1),
        format!("{text}x"),
    ] {
        assert!(
            Image::parse(wrong.as_bytes()).is_err() && Index::parse(wrong.as_bytes()).is_err(),
            "{wrong}"
        );
    }
    assert!(Index::parse(text.as_bytes()).is_err());
    assert!(
        Image::parse(text.replacen('{', r#"{"later":1,"#, 1).as_bytes()).is_ok(),
        "others may write more"
    );
}

#[test]
fn a_release_lists_everything_once() {
    let descriptor = |artifact: &str, bytes: &[u8]| Descriptor {
        artifact_type: Some(artifact.to_owned()),
        ..Descriptor::of(Image::MEDIA_TYPE, bytes)
    };
    let release = Release {
        documents: descriptor(RELEASE_DOCUMENTS, b"d"),
        components: vec![descriptor(WASM_CONFIG, b"c")],
        manifests: vec![descriptor(MANIFEST_ARTIFACT, b"m")],
    };
    let mut index = Index::parse(&release.to_index(7).to_bytes()).unwrap();
    assert_eq!(Release::of(&index), Ok(release));
    index.put(descriptor(RELEASE_DOCUMENTS, b"d"));
    assert!(Release::of(&index).is_ok(), "the same again is the same");
    index.put(descriptor(RELEASE_DOCUMENTS, b"another"));
    assert!(Release::of(&index).is_err(), "which of the two?");
    index.manifests =
        (0..=MAX_PLUGINS).map(|it| descriptor(WASM_CONFIG, &it.to_be_bytes())).collect();
    index.put(descriptor(RELEASE_DOCUMENTS, b"d"));
    assert!(Release::of(&index).is_err());
    assert!(Release::of(&Index::new(Some("application/vnd.other"), Vec::new())).is_err());
}

#[test]
fn challenges_are_read() {
    let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
        realm: realm.to_owned(),
        service: service.map(str::to_owned),
        scope: scope.map(str::to_owned),
    };
    let scope = "repository:a/b:pull,push";
    let value =
        format!(r#"Bearer realm="https://auth.example/token",service="reg",scope="{scope}""#);
    assert_eq!(
        challenges(&value),
        [bearer("https://auth.example/token", Some("reg"), Some(scope))]
    );
    assert_eq!(
        challenges(r#"Basic realm="a, b=c \"d", bearer realm=x"#),
        [Challenge::Basic, bearer("x", None, None)],
        "commas and equals signs in quotes are text"
    );
    assert_eq!(challenges("Negotiate, Basic realm=x"), [Challenge::Basic]);
    for nothing in [
        "",
        "Bearer",
        "Bearer realm",
        "=x",
        "Bearer realm=\"x",
        "Bearer realm=\"a\",realm=\"b\"",
        "\"",
        &"a".repeat(5_000),
    ] {
        assert!(challenges(nothing).is_empty(), "{nothing}");
    }
}

proptest! {
    #[test]
    fn a_reference_that_reads_stays_in_its_place(text in "[a-z0-9.:/@_-]{1,60}") {
        if let Ok(reference) = text.parse::<ImageRef>() {
            prop_assert_eq!(reference.to_string(), text);
            let name = &reference.repository.name;
            prop_assert!(!name.contains("..") && !name.contains("//") && !name.contains('?') && !name.starts_with('/'));
        }
    }

    #[test]
    fn challenges_never_panic(text in "\\PC{0,200}") {
        let _ = challenges(&text);
    }
}
