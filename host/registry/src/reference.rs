//! `registry.example:5000/hospital/hooks:live`: where something lies.
//!
//! Invariant: the registry is always named, with nobody's as the default; what was read is written back the same; no part can reach beyond
//! its place in a URL.

use std::fmt;
use std::str::FromStr;

use portcullis_model::Digest;
use thiserror::Error;

/// A repository: a registry and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// Host, and port where there is one.
    pub host: String,
    /// The name.
    pub name: String,
}

/// Something in a repository: a tag, or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The repository.
    pub repository: Repository,
    /// What is looked for in it.
    pub target: TagOrDigest,
}

/// How something is named in its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagOrDigest {
    /// By a tag, which moves.
    Tag(String),
    /// By its digest, which does not.
    Digest(Digest),
}

/// The text is no reference.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not a reference: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl ImageRef {
    /// The same repository's thing of this tag. `None` where that is no tag.
    pub fn tagged(&self, tag: &str) -> Option<Self> {
        is_tag(tag).then(|| Self {
            repository: self.repository.clone(),
            target: TagOrDigest::Tag(tag.to_owned()),
        })
    }

    /// Its tag, where it is named by one.
    pub fn tag(&self) -> Option<&str> {
        if let TagOrDigest::Tag(tag) = &self.target { Some(tag) } else { None }
    }
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            TagOrDigest::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            TagOrDigest::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |why| ReferenceError { text: shown(text), why };
        if text.len() > MAX_CHARS {
            return Err(wrong("it is too long"));
        }
        if text.contains("://") {
            return Err(wrong(
                "it is a URL; leave `https://` out, so that it begins with the \
             registry's host",
            ));
        }
        let (place, what) = match text.split_once('@') {
            Some((place, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|_| wrong("the part after `@` is not a SHA-256 digest"))?;
                (place, TagOrDigest::Digest(digest))
            }
            None => {
                let slash = text
                    .rfind('/')
                    .ok_or_else(|| wrong("it does not name a registry, as `host/name:tag` does"))?;
                let (path, last) = text.split_at(slash);
                let (name, tag) =
                    last.split_once(':').ok_or_else(|| wrong("it lacks a tag or a digest"))?;
                if !is_tag(tag) {
                    return Err(wrong("its tag is not 1 to 128 letters, digits, `_`, `.` or `-`"));
                }
                let end = path.len() + name.len();
                (text.get(..end).unwrap_or_default(), TagOrDigest::Tag(tag.to_owned()))
            }
        };
        let (host, name) = place
            .split_once('/')
            .ok_or_else(|| wrong("it does not name a registry, as `host/name:tag` does"))?;
        if !is_host(host) {
            return Err(wrong(
                "it does not begin with a registry's host, such as `registry.example` or `127.0.0.1:5000`",
            ));
        }
        if !is_name(name) {
            return Err(wrong(
                "its name is not lower-case letters, digits and inner `.`, `_`, `-`, in parts between slashes",
            ));
        }
        Ok(Self {
            repository: Repository { host: host.to_owned(), name: name.to_owned() },
            target: what,
        })
    }
}

/// The tag under which a registry without a referrers API keeps what refers to a digest (Distribution 1.1, *Referrers Tag Schema*).
pub fn referrers_tag(digest: Digest) -> String {
    digest.to_string().replacen(':', "-", 1)
}

/// What a person wrote, short and printable.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(100).collect()
}

fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first
        && text.len() <= 128
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A host with a dot, a port or brackets, or `localhost`: else it could be the first part of a name.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => ("localhost", Some(port)),
                None if rest.is_empty() => return true,
                None => return false,
            }
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|it| it.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    port_fits
        && host.split('.').all(label)
        && (port.is_some() || host.contains('.') || host == "localhost")
}

/// Distribution 1.1, *Pulling manifests*: the grammar of names.
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let ends = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let bytes = part.as_bytes();
        let inner =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
        let marks = ["..", "._", "_.", ".-", "-.", "_-", "-_", "___"];
        ends(bytes.first())
            && ends(bytes.last())
            && bytes.iter().all(inner)
            && !marks.iter().any(|it| part.contains(it))
    };
    text.split('/').all(part)
}

/// The longest reference: a name has at most 255 letters with its host, and a tag 128.
const MAX_CHARS: usize = 400;
