//! Against `serde_json`, an oracle by other hands, except where we are stricter: duplicates and depth.

use proptest::prelude::*;
use serde_json::Value as Theirs;

use super::*;

fn cause(text: impl AsRef<[u8]>) -> Option<Cause> {
    Document::parse(text.as_ref()).err().map(|error| error.cause)
}

fn document(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn refuses_with_the_right_cause_and_place() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases: &[(&[u8], Cause, usize)] = &[
        (b"", Cause::NotJson, 0),
        (b"  ", Cause::NotJson, 2),
        (b"{", Cause::NotJson, 1),
        (b"{\"a\":1,}", Cause::NotJson, 7),
        (b"[1,]", Cause::NotJson, 3),
        (b"[1 2]", Cause::NotJson, 3),
        (b"{'a':1}", Cause::NotJson, 1),
        (b"01", Cause::NotJson, 1),
        (b"-", Cause::NotJson, 1),
        (b"1.", Cause::NotJson, 2),
        (b".5", Cause::NotJson, 0),
        (b"1e", Cause::NotJson, 2),
        (b"+1", Cause::NotJson, 0),
        (b"NaN", Cause::NotJson, 0),
        (b"nul", Cause::NotJson, 0),
        (b"true1", Cause::NotJson, 4),
        (b"\"a", Cause::NotJson, 2),
        (b"\"a\nb\"", Cause::NotJson, 2),
        (b"\"\\x\"", Cause::NotJson, 2),
        (b"\"\\u12g4\"", Cause::NotJson, 5),
        (b"\"\\ud800\"", Cause::NotJson, 7),
        (b"\"\\ud800\\u0041\"", Cause::NotJson, 13),
        (b"\"\\udc00\"", Cause::NotJson, 7),
        (b"{} x", Cause::NotJson, 3),
        (b"\xEF\xBB\xBF{}", Cause::NotJson, 0),
        (b"\"\xFF\"", Cause::NotUtf8, 1),
        (b"{\"a\":1,\"b\":2,\"a\":3}", Cause::DuplicateMember, 13),
        (b"{\"a\":1,\"\\u0061\":2}", Cause::DuplicateMember, 7),
        (b"[{\"k\":{\"\\/\":1,\"/\":2}}]", Cause::DuplicateMember, 14),
        (deep(65).leak().as_bytes(), Cause::TooDeep, 64),
        (deep(100_000).leak().as_bytes(), Cause::TooDeep, 64),
    ];
    for (text, cause, at) in cases {
        let error = Document::parse(text).err().unwrap();
        assert_eq!((error.cause, error.at), (*cause, *at), "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(cause(deep(64)), None);
    assert_eq!(cause(vec![b' '; MAX_BYTES + 1]), Some(Cause::BodyTooLarge));
}

#[test]
fn finds_duplicates_among_many_members_in_little_time() {
    let names: Vec<String> =
        (0..50_000).map(|index| format!("\"{}-{index}\":0", "x".repeat(40))).collect();
    assert_eq!(cause(format!("{{{}}}", names.join(","))), None);
    let again = names[49_000].replace("x-", "\\u0078-");
    assert_eq!(cause(format!("{{{},{again}}}", names.join(","))), Some(Cause::DuplicateMember));
}

#[test]
fn follows_pointers_as_rfc_6901_section_5_does() {
    let document = document(
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#,
    );
    let cases = [
        ("/foo", r#"["bar","baz"]"#),
        ("/foo/0", "\"bar\""),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ];
    for (pointer, raw) in cases {
        assert_eq!(document.pointer(pointer).unwrap().raw(), raw, "{pointer}");
    }
    assert_eq!(document.pointer("").unwrap().raw(), document.text());
    for nowhere in [
        "foo", "/foo/2", "/foo/-", "/foo/00", "/foo/+0", "/foo/ 0", "/m~n", "/m~2n", "/foo/0/x",
        "/x",
    ] {
        assert!(document.pointer(nowhere).is_none(), "{nowhere}");
    }
}

#[test]
fn reads_values_by_their_kind_only() {
    let document = document(
        r#" {"n":null,"t":true,"s":"\ud83d\ude00\u00e9\b","i":18446744073709551615,"f":1.0,"m":-1,"o":{}} "#,
    );
    let get = |name| document.root().get(name).unwrap();
    assert!(get("n").is_null() && get("o").is_object() && !get("o").is_array());
    assert_eq!(get("t").as_bool(), Some(true));
    assert_eq!(get("s").as_str().unwrap(), "😀é\u{8}");
    assert_eq!(get("i").as_u64(), Some(u64::MAX));
    assert_eq!(
        (get("f").as_u64(), get("m").as_u64(), get("t").as_u64(), get("s").as_u64()),
        (None, None, None, None)
    );
    assert_eq!((get("i").as_str(), get("i").as_bool()), (None, None));
    assert!(get("s").get("x").is_none() && get("s").index(0).is_none());
    assert_eq!(
        get("f").members().count() + get("f").elements().count() + get("o").members().count(),
        0
    );
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_valid_text(value in arbitrary(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        // Read back: without its `float_roundtrip`, the oracle rounds differently than it writes.
        same(document(&text).root(), &serde_json::from_str(&text).unwrap());
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_text(value in arbitrary(), damage in prop::collection::vec((any::<u16>(), damage()), 1..4)) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (place, (cut, insert)) in damage {
            let place = usize::from(place) % (text.len() + 1);
            let end = (place + cut).min(text.len());
            text.splice(place..end, insert);
        }
        agrees(&text)?;
    }

    #[test]
    fn agrees_with_serde_json_on_soup(text in "[\\[\\]{}\",:\\\\0-9a-fu.eE+ truenl-]{0,24}") {
        agrees(text.as_bytes())?;
    }

    #[test]
    fn agrees_with_serde_json_on_strings(inner in "(\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\u[0-9a-f]{4}|\\\\.|[^\"\\\\])*") {
        agrees(format!("\"{inner}\"").as_bytes())?;
    }

    #[test]
    fn quoting_is_undone_by_reading(text: String) {
        let mut quoted = String::new();
        quote(&mut quoted, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), &*text);
        let document = document(&quoted);
        prop_assert_eq!(document.root().as_str().unwrap(), text);
    }

    #[test]
    fn every_member_is_found_by_its_escaped_token(name: String) {
        let pointer = format!("/{}", escape_token(&name));
        prop_assert_eq!(split_pointer(&pointer).unwrap(), [name.as_str()]);
        let mut object = String::from("{\"other\\u0000\":0,");
        quote(&mut object, &name);
        object.push_str(":1}");
        let document = document(&object);
        prop_assert_eq!(document.pointer(&pointer).unwrap().raw(), "1");
    }
}

/// Both accept and read the same, or both refuse; we may refuse duplicates and depth, they refuse numbers
/// that `f64` cannot hold.
fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    match (Document::parse(text), serde_json::from_slice::<Theirs>(text)) {
        (Ok(ours), Ok(theirs)) => same(ours.root(), &theirs),
        (Ok(_), Err(error)) => {
            prop_assert!(error.to_string().contains("number out of range"), "{error}")
        }
        (Err(error), Ok(_)) => {
            prop_assert!(matches!(error.cause, Cause::DuplicateMember | Cause::TooDeep), "{error}")
        }
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

fn same(ours: Value<'_>, theirs: &Theirs) {
    assert_eq!(serde_json::from_str::<Theirs>(ours.raw()).unwrap(), *theirs);
    match theirs {
        Theirs::Null => assert!(ours.is_null()),
        Theirs::Bool(truth) => assert_eq!(ours.as_bool(), Some(*truth)),
        Theirs::Number(number) => {
            // They read `-0` as a fraction, we as no whole number from 0.
            assert_eq!(ours.kind(), Kind::Number);
            assert_eq!(ours.as_u64(), number.as_u64());
        }
        Theirs::String(text) => assert_eq!(ours.as_str().unwrap(), text.as_str()),
        Theirs::Array(elements) => {
            assert_eq!(ours.elements().count(), elements.len());
            ours.elements().zip(elements).for_each(|(ours, theirs)| same(ours, theirs));
            assert!(ours.index(elements.len()).is_none());
        }
        Theirs::Object(members) => {
            assert_eq!(ours.members().count(), members.len());
            for (name, value) in ours.members() {
                same(value, &members[&*name]);
                assert_eq!(ours.get(&name).unwrap().raw(), value.raw());
            }
        }
    }
}

fn arbitrary() -> impl Strategy<Value = Theirs> {
    let leaf = prop_oneof![
        Just(Theirs::Null),
        any::<bool>().prop_map(Theirs::from),
        any::<u64>().prop_map(Theirs::from),
        any::<i64>().prop_map(Theirs::from),
        any::<f64>().prop_map(Theirs::from),
        any::<String>().prop_map(Theirs::from),
        "[a-z\"\\\\/\n\u{7f}é😀]{0,20}".prop_map(Theirs::from),
    ];
    leaf.prop_recursive(6, 64, 24, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Theirs::from),
            prop::collection::btree_map("[a-c\"\\\\]{0,3}|.{0,3}", inner, 0..24)
                .prop_map(|members| Theirs::Object(members.into_iter().collect())),
        ]
    })
}

fn damage() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let byte = prop_oneof![
        prop::sample::select(b"{}[]\",:\\u0189aAdDfF+-.eE tfn\n\0".to_vec()),
        any::<u8>(),
    ];
    (0..3usize, prop::collection::vec(byte, 0..3))
}

#[test]
fn what_is_left_out_is_left_out_wherever_it_stands_inside() {
    let text = r#" {"a":{"p":"x","q":[1,{"p":"y"}]},"p":"z"} "#;
    let document = Document::parse(text.as_bytes()).unwrap();
    let without = |at: &str, pointers: &[&str]| {
        document.pointer(at).unwrap().without(pointers, "null").into_owned()
    };
    assert_eq!(without("", &["/p", "/a/q/1/p"]), r#"{"a":{"p":"x","q":[1,{"p":null}]},"p":null}"#);
    assert_eq!(without("/a", &["/p", "/a/q/1/p", "/a/q"]), r#"{"p":"x","q":null}"#);
    assert_eq!(without("/p", &["/p"]), r#""z""#, "itself is not inside itself");
    assert_eq!(without("/a", &["/nothing", "/p"]), r#"{"p":"x","q":[1,{"p":"y"}]}"#);
}

proptest! {
    #[test]
    fn bytes_that_need_no_escape_are_told_from_those_that_do(text in "[ -~]{0,7}([\"\\\\]|\\PC|[\u{0}-\u{20}]){0,20}") {
        let mut quoted = String::new();
        quote(&mut quoted, &text);
        prop_assert_eq!(quoted, slow(&text));
    }
}

fn slow(text: &str) -> String {
    let escaped = text.chars().map(|char| match char {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        control if control < ' ' => format!("\\u{:04x}", u32::from(control)),
        plain => plain.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
