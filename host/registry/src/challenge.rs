//! `WWW-Authenticate`: how a registry wants to be told who asks (RFC 9110 section 11; Distribution's *Token Authentication*).
//!
//! Invariant: what cannot be read is no challenge; nothing is taken from one beyond what is named here.

/// A challenge that can be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token, to be had elsewhere.
    Bearer {
        /// Where.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
}

/// The challenges of one header's value, in its order. Parameters are those of the scheme before them.
pub fn challenges(value: &str) -> Vec<Challenge> {
    if value.len() > MAX_BYTES {
        return Vec::new();
    }
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !is_token(letter)).unwrap_or(rest.len());
        if end == 0 {
            return Vec::new();
        }
        let (word, after) = rest.split_at(end);
        if let Some(after) = after.trim_start().strip_prefix('=') {
            let Some((value, after)) = parameter(after.trim_start()) else { return Vec::new() };
            let Some((_, parameters)) = found.last_mut() else { return Vec::new() };
            parameters.push((word.to_ascii_lowercase(), value));
            rest = after;
        } else {
            found.push((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found.into_iter().filter_map(|(scheme, parameters)| challenge(&scheme, parameters)).collect()
}

fn challenge(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    let get = |name: &str| {
        let mut found =
            parameters.iter().filter(|(is, _)| is == name).map(|(_, value)| value.clone());
        let first = found.next();
        // Said twice, it could be read either way.
        if found.next().is_some() { None } else { first }
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: get("realm")?,
            service: get("service"),
            scope: get("scope"),
        }),
        _ => None,
    }
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|letter: char| !is_token(letter)).unwrap_or(text.len());
        return (end > 0).then(|| {
            (text.get(..end).unwrap_or_default().to_owned(), text.get(end..).unwrap_or_default())
        });
    };
    let (mut value, mut letters) = (String::new(), quoted.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(letters.next()?.1),
            _ if letter.is_control() => return None,
            _ => value.push(letter),
        }
    }
    None
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(letter)
}

/// The longest header that is read.
const MAX_BYTES: usize = 4_096;
