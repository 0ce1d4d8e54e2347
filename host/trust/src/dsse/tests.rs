//! The envelope's tricks, one by one. Those that need a trust root are in `tests/refused_*.rs`.

use super::*;

#[test]
fn pae_is_the_specification_s() {
    // DSSE `protocol.md`, *Test Vectors*.
    let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
    assert_eq!(pae("é", b""), "DSSEv1 2 é 0 ".as_bytes(), "lengths are bytes");
}

#[test]
fn distinct_public_keys_are_counted() {
    let (one, two) = (key("one", 1), key("two", 2));
    let known = [one.public().clone(), two.public().clone()];
    let envelope = Envelope::parse(&sign("t", b"{}", &[&one, &two, &one])).unwrap();
    let verified = envelope.verify("t", &known).unwrap();
    assert_eq!((verified.signers, verified.unknown), (vec![one.public(), two.public()], 0));
    assert_eq!(verified.payload, b"{}");
}

#[test]
fn one_key_under_two_names_counts_once() {
    let (one, alias) = (key("one", 1), key("alias", 1));
    let known = [one.public().clone(), alias.public().clone()];
    let envelope = Envelope::parse(&sign("t", b"{}", &[&one, &alias])).unwrap();
    assert_eq!(envelope.verify("t", &known).unwrap().signers.len(), 1);
}

#[test]
fn a_stranger_s_signature_neither_counts_nor_harms() {
    let (one, stranger) = (key("one", 1), key("stranger", 9));
    let envelope = Envelope::parse(&sign("t", b"{}", &[&stranger, &one])).unwrap();
    let known = [one.public().clone()];
    let verified = envelope.verify("t", &known).unwrap();
    assert_eq!((verified.signers.len(), verified.unknown), (1, 1));
}

#[test]
fn a_signature_that_does_not_hold_neither_counts_nor_harms() {
    let (one, two) = (key("one", 1), key("two", 2));
    let known = [one.public().clone(), two.public().clone()];
    let mut envelope = Envelope::parse(&sign("t", b"{}", &[&one])).unwrap();
    // Anybody can write this without a key, before and after the genuine signature.
    for at in [0, 2] {
        let bytes = [u8::try_from(at).unwrap(); 64];
        envelope.signatures.insert(at, Signature { keyid: two.public().keyid(), bytes });
    }
    let copied = Signature { keyid: two.public().keyid(), bytes: one.sign(&envelope.message()) };
    envelope.signatures.push(copied);
    let verified = envelope.verify("t", &known).unwrap();
    let signers: Vec<_> = verified.signers.iter().map(|key| key.keyid()).collect();
    assert_eq!(signers, [one.public().keyid()], "one key counts, and once");
    let codes: Vec<_> = verified.rejected.iter().map(Refusal::code).collect();
    assert_eq!(codes, ["bad-signature", "bad-signature", "keyid-mismatch"]);
}

#[test]
fn key_ids_are_hints_that_must_not_lie() {
    let (one, two) = (key("one", 1), key("two", 2));
    let known = [one.public().clone(), two.public().clone()];
    let text = String::from_utf8(sign("t", b"{}", &[&one])).unwrap();
    let keyid = one.public().keyid();
    let verify = |text: &str| {
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        let verified = envelope.verify("t", &known).unwrap();
        let rejected: Vec<_> = verified.rejected.iter().map(Refusal::code).collect();
        (verified.signers.len(), rejected)
    };

    let named_two = text.replace(&keyid, &two.public().keyid());
    let named_nobody = text.replace(&keyid, "nobody+00000000");
    for lie in [&named_two, &named_nobody] {
        assert_eq!(verify(lie), (0, vec!["keyid-mismatch"]), "{lie}");
    }
    for silence in [text.replace(&keyid, ""), text.replace(&format!(r#""keyid":"{keyid}","#), "")] {
        assert_eq!(verify(&silence), (1, vec![]), "{silence}");
    }
}

#[test]
fn another_type_or_payload_is_another_message() {
    let one = key("one", 1);
    let known = [one.public().clone()];
    let text = String::from_utf8(sign("t", b"{}", &[&one])).unwrap();
    let code = |text: &str, payload_type| {
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        match envelope.verify(payload_type, &known) {
            Ok(verified) => {
                assert!(verified.signers.is_empty(), "{text}");
                verified.rejected.first().map(Refusal::code)
            }
            Err(refusal) => Some(refusal.code()),
        }
    };
    assert_eq!(code(&text, "u"), Some("wrong-payload-type"));
    assert_eq!(
        code(&text.replace(r#""t""#, r#""u""#), "u"),
        Some("bad-signature"),
        "the type is signed"
    );
    assert_eq!(
        code(&text.replace("e30=", "W10="), "t"),
        Some("bad-signature"),
        "the payload is signed"
    );
    let none = String::from_utf8(sign("t", b"{}", &[])).unwrap();
    assert_eq!(code(&none, "t"), Some("unsigned"));
}

#[test]
fn only_one_spelling_is_read() {
    let payload = [0xfb, 0xff];
    let one = key("one", 1);
    let text = String::from_utf8(sign("t", &payload, &[&one])).unwrap();
    assert!(text.contains("+/8="));
    let swap = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let many = sign("t", &payload, &[&one; 17]);
    let wrong = [
        swap("+/8=", "-/8="),
        swap("+/8=", "+/8"),
        text.replace(['+', '/'], "-").replacen("--8=", "+-8=", 1),
        swap("+/8=", "+/9="),
        swap("+/8=", "+/8=\\n"),
        swap(r#""payloadType":"#, r#""payloadtype":"#),
        swap(r#""payloadType":"t""#, r#""payloadType":"t","payloadType":"t""#),
        swap(r#""payload":"#, r#""payload":"","p\u0061yload":"#),
        swap(r#""signatures":["#, r#""note":1,"signatures":["#),
        swap(r#"{"keyid":"#, r#"{"by":"me","keyid":"#),
        swap("==\"}]", "\"}]"),
        format!("{text}{{}}"),
        format!("{text}\0"),
        format!("[{text}]"),
        String::from_utf8(many).unwrap(),
        String::new(),
        " ".repeat(Envelope::MAX_BYTES + 1),
    ];
    for text in wrong {
        let code = Envelope::parse(text.as_bytes()).err().map(|refusal| refusal.code());
        assert_eq!(code, Some("envelope-malformed"), "{}", text.get(..200).unwrap_or(&text));
    }
    assert!(Envelope::parse(format!(" {text}\n").as_bytes()).is_ok());
}

#[test]
fn both_alphabets_of_base64_are_read_and_never_mixed() {
    let one = key("one", 1);
    let known = [one.public().clone()];
    let signers = |text: &str| {
        let envelope = Envelope::parse(text.as_bytes()).map_err(|refusal| refusal.code())?;
        assert_eq!(envelope.verify("t", &known).unwrap().payload, envelope.unverified_payload());
        Ok(envelope.verify("t", &known).unwrap().signers.len())
    };
    // Payloads of every remainder, with and without letters that tell the alphabets apart.
    for payload in
        [&b""[..], b"{}", b"abc", b"abcd", &[0xfb, 0xff], &[0xfb, 0xff, 0xfe], &[0xff; 7]]
    {
        let text = String::from_utf8(sign("t", payload, &[&one])).unwrap();
        let url_safe = text.replace('+', "-").replace('/', "_");
        // The key's id is no base64 and keeps its plus sign.
        let url_safe =
            url_safe.replace(&one.public().keyid().replace('+', "-"), &one.public().keyid());
        let bare = url_safe.replace('=', "");
        assert_eq!(signers(&text), Ok(1));
        assert_eq!(signers(&url_safe), Ok(1), "{url_safe}");
        assert_eq!(signers(&bare), Ok(1), "{bare}");
        assert_eq!(Envelope::parse(bare.as_bytes()).unwrap().to_bytes(), text.as_bytes());
        // A letter of one alphabet among those of the other, and letters that no canonical text
        // ends in.
        let letters = url_safe.matches(['-', '_']).count();
        if letters > 1 {
            let at = url_safe.find(['-', '_']).unwrap();
            let mut mixed = url_safe.clone();
            let other = if mixed.as_bytes()[at] == b'-' { "+" } else { "/" };
            mixed.replace_range(at..=at, other);
            assert_eq!(signers(&mixed), Err("envelope-malformed"), "{mixed}");
        }
        assert_eq!(
            signers(&bare.replacen("\",\"payloadType", "=\",\"payloadType", 1)).is_ok(),
            payload.len() % 3 == 2
        );
    }
}

#[test]
fn signatures_are_added_later_and_elsewhere() {
    let (one, two) = (key("one", 1), key("two", 2));
    let known = [one.public().clone(), two.public().clone()];
    let first = sign("t", b"{}", &[&one]);
    let both = add_signature(&first, &two).unwrap();
    assert_eq!(both, sign("t", b"{}", &[&one, &two]));
    assert_eq!(add_signature(&both, &one).unwrap(), both, "once is enough");

    let mut envelope = Envelope::parse(&first).unwrap();
    assert_eq!(
        envelope.add(two.public(), one.sign(&envelope.message())).unwrap_err().code(),
        "bad-signature"
    );
    envelope.add(two.public(), two.sign(&envelope.message())).unwrap();
    assert_eq!(envelope.to_bytes(), both);
    assert_eq!(envelope.verify("t", &known).unwrap().signers.len(), 2);
}

fn key(name: &str, seed: u8) -> SecretKey {
    SecretKey::from_seed(name, &[seed; 32]).unwrap()
}
