//! The spelling of request paths: one form in which all spellings of a path are the same.
//!
//! Invariant: pure. [`normalize`] is idempotent, and linear in the path's length. A request is
//! routed by its path as it came; the normal form only tells that a path which leads nowhere means
//! a hook's (RFC 3986 section 6.2.2, and what proxies and typing errors do to paths besides).

/// The normal form: percent-encoding decoded to its end, `\` as `/`, ASCII letters in lower case,
/// parameters (`;a=b`), empty segments, dot segments and the trailing slash left out, and
/// everything from an encoded `?` or `#` on cut off.
pub fn normalize(path: &str) -> String {
    let decoded = String::from_utf8_lossy(&decode(path.as_bytes())).into_owned();
    let end = decoded.find(['?', '#']).unwrap_or(decoded.len());
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.get(..end).unwrap_or_default().split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        match name.trim_matches(|letter: char| letter <= ' ') {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut normal = String::with_capacity(path.len() + 1);
    for segment in segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() { "/".to_owned() } else { normal }
}

/// Decodes until nothing is encoded any more, in one pass: a byte that completes an encoding
/// replaces it, and can complete another one.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path {
        decoded.push(plain(*byte));
        while let [rest @ .., b'%', high, low] = decoded.as_slice()
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            let kept = rest.len();
            decoded.truncate(kept);
            decoded.push(plain(high * 16 + low));
        }
    }
    decoded
}

fn plain(byte: u8) -> u8 {
    if byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_a_path_have_one_normal_form() {
        for spelling in [
            "/okta/token",
            "/okta/token/",
            "//okta/token",
            "/okta//token",
            "/okta/./token",
            "/x/../okta/token",
            "/../okta/token",
            "/okta%2Ftoken",
            "/okta%2ftoken",
            "/%6fkta/%74oken",
            "/okta/%2574oken",
            "/okta/%25252574oken",
            "/OKTA/Token",
            "/okta/token;a=b",
            "/okta;v=1/token",
            "\\okta\\token",
            "/okta/token%20",
            "/okta/token%00",
            "/okta/token%3Fa=b",
            "/okta/token%23a",
            "/okta/%2e%2E/okta/token",
            "okta/token",
        ] {
            assert_eq!(normalize(spelling), "/okta/token", "{spelling}");
        }
        for (other, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/okta/token2", "/okta/token2"),
            ("/okta/toke", "/okta/toke"),
            ("/okta/token/x", "/okta/token/x"),
            ("/hooks/okta/token", "/hooks/okta/token"),
            ("/okta/%zz", "/okta/%zz"),
            ("/okta/token%2", "/okta/token%2"),
            ("/okta/...", "/okta/..."),
        ] {
            assert_eq!(normalize(other), normal, "{other}");
        }
    }

    /// One segment of a path, spelled in some way.
    fn spelled(segment: &str, choices: &[u8]) -> String {
        let mut out = String::new();
        for (byte, choice) in segment.bytes().zip(choices.iter().cycle()) {
            match choice % 5 {
                0 => out.push_str(&format!("%{byte:02x}")),
                1 => out.push_str(&format!("%{byte:02X}")),
                2 => out.push_str(&format!("%25{byte:02x}")),
                3 => out.push(char::from(byte.to_ascii_uppercase())),
                _ => out.push(char::from(byte)),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn is_idempotent_and_normal(path in ".{0,80}") {
            let normal = normalize(&path);
            prop_assert_eq!(&normalize(&normal), &normal);
            prop_assert!(normal.starts_with('/') && !normal.contains("//") && !normal.contains('\\'));
            prop_assert!(normal == "/" || !normal.ends_with('/'));
            prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(!normal.bytes().any(|byte| byte.is_ascii_uppercase()));
        }

        #[test]
        fn is_idempotent_where_much_is_encoded(path in "[/%;.2357efEF ?#\\\\]{0,40}") {
            let normal = normalize(&path);
            prop_assert_eq!(normalize(&normal), normal);
        }

        #[test]
        fn however_a_path_is_spelled_it_is_the_same(
            segments in prop::collection::vec("[a-z0-9._~-]{1,8}", 1..4),
            choices in prop::collection::vec(any::<u8>(), 1..20),
            around in prop::sample::select(vec!["", "/", "/.", "//", "/;a", "/x/..", "?"]),
        ) {
            let plain = format!("/{}", segments.join("/"));
            let spelled: Vec<_> =
                segments.iter().map(|segment| spelled(segment, &choices)).collect();
            let around = around.replace('?', "%3f");
            let path = format!("/{}{around}", spelled.join("/"));
            prop_assert_eq!(normalize(&path), normalize(&plain));
        }

        #[test]
        fn other_paths_stay_others(one in "[a-z]{1,8}", two in "[a-z]{1,8}") {
            prop_assume!(one != two);
            prop_assert_ne!(normalize(&format!("/{one}/")), normalize(&format!("/{two}")));
        }
    }
}
