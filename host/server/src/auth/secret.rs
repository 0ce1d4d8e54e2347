//! Secrets that a caller sends: a header's whole value, or HTTP Basic's user and password. Several at once while one rotates.
//!
//! Invariant: secrets are held as digests, so that neither their bytes nor their length can leak by timing, a log or a panic; every one is
//! compared, in constant time, whichever it is. What is active is exchanged whole; files of which
//! one is wrong change nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName};
use portcullis_model::{Digest, sha256};
use portcullis_tokens::AuthError;
use zeroize::Zeroizing;

use super::{Identity, only_value};
use crate::error::StartError;
use crate::fs::replaceable::ReplaceableFiles;
use crate::start_problems::{CALLER_PASSWORD, CALLER_SECRET, StartProblems, key_file};

/// Secrets, any of which proves a caller.
pub struct Secrets {
    form: Form,
    identity: Identity,
    files: Vec<PathBuf>,
    watch: ReplaceableFiles,
    accepted: ArcSwap<Vec<Digest>>,
}

enum Form {
    /// This header's value is the secret.
    Header(HeaderName),
    /// `Authorization: Basic` with this user.
    Basic(String),
}

impl Secrets {
    /// Secrets that are a header's whole value.
    pub fn header(header: HeaderName, files: Vec<PathBuf>) -> Result<Self, StartError> {
        Self::load(Form::Header(header), Identity::named("header-secret"), files)
    }

    /// Passwords of a user, by HTTP Basic.
    pub fn basic(user: String, files: Vec<PathBuf>) -> Result<Self, StartError> {
        let identity = Identity::named(&format!("basic:{user}"));
        Self::load(Form::Basic(user), identity, files)
    }

    fn load(form: Form, identity: Identity, files: Vec<PathBuf>) -> Result<Self, StartError> {
        let watch = ReplaceableFiles::new(files.clone());
        let accepted = ArcSwap::from_pointee(read(&form, &files)?);
        Ok(Self { form, identity, files, watch, accepted })
    }

    /// Whether the request's head carries one of them: exactly once, exactly equal.
    pub fn check(&self, headers: &HeaderMap) -> Result<Identity, AuthError> {
        let given = match &self.form {
            Form::Header(name) => sha256(only_value(headers, name)?),
            Form::Basic(_) => sha256(credentials(only_value(headers, &AUTHORIZATION)?, b"basic")?),
        };
        let mut found = false;
        for secret in self.accepted.load().iter() {
            found |= verify_slices_are_equal(&given.0, &secret.0).is_ok();
        }
        if found { Ok(self.identity.clone()) } else { Err(AuthError::WrongSecret) }
    }

    /// Reads the files again if they have changed, or if `is_requested`. Gives how many secrets are
    /// active now, where that is another set.
    pub fn reload(&self, is_requested: bool) -> Result<Option<usize>, StartError> {
        if !self.watch.changed() && !is_requested {
            return Ok(None);
        }
        let fresh = read(&self.form, &self.files)?;
        if fresh == **self.accepted.load() {
            return Ok(None);
        }
        let count = fresh.len();
        self.accepted.store(Arc::new(fresh));
        Ok(Some(count))
    }

    /// The challenge for whoever comes without (RFC 9110 section 11.6.1).
    pub fn scheme(&self) -> &'static str {
        match self.form {
            Form::Header(_) => "Secret",
            Form::Basic(_) => "Basic",
        }
    }
}

/// What stands behind a scheme's name in an `Authorization` header; the name in any case (RFC 9110 section 11.1).
pub fn credentials<'v>(value: &'v [u8], scheme: &[u8]) -> Result<&'v [u8], AuthError> {
    let (name, rest) = value.split_at_checked(scheme.len()).ok_or(AuthError::NoCredential)?;
    match rest.split_first() {
        Some((b' ', given)) if name.eq_ignore_ascii_case(scheme) => Ok(given),
        _ => Err(AuthError::NoCredential),
    }
}

/// The secrets of all files, one a line. Each file is private to its owner and holds at least one.
fn read(form: &Form, files: &[PathBuf]) -> Result<Vec<Digest>, StartError> {
    let mut problems = StartProblems::default();
    let mut secrets = Vec::new();
    for path in files {
        secrets.extend(problems.keep(read_file(form, path)).into_iter().flatten());
    }
    problems.result()?;
    secrets.sort_unstable();
    secrets.dedup();
    Ok(secrets)
}

fn read_file(form: &Form, path: &Path) -> Result<Vec<Digest>, StartError> {
    let what = match form {
        Form::Header(_) => CALLER_SECRET,
        Form::Basic(_) => CALLER_PASSWORD,
    };
    let wrong = |why: String| {
        let hint = "generate a random one with `portcullis keys generate --kind secret`";
        StartError::File { what, path: path.to_owned(), why, hint: Some(hint.to_owned()) }
    };
    let text =
        portcullis_keys::read_secret_lines(path).map_err(|error| key_file(what, path, &error))?;
    let lines: Vec<&str> = text.iter().collect();
    if lines.is_empty() || lines.len() > MAX_SECRETS {
        let count = lines.len();
        return Err(wrong(format!(
            "it holds {count} secrets, not 1 to {MAX_SECRETS}; write one on each line"
        )));
    }
    if lines.iter().any(|line| line.len() < MIN_SECRET_BYTES) {
        return Err(wrong(format!("shorter than {MIN_SECRET_BYTES} characters")));
    }
    let digest = |line: &&str| match form {
        Form::Header(_) => sha256(line.as_bytes()),
        Form::Basic(user) => {
            let pair = Zeroizing::new(format!("{user}:{line}"));
            sha256(Zeroizing::new(STANDARD.encode(pair.as_bytes())).as_bytes())
        }
    };
    Ok(lines.iter().map(digest).collect())
}

/// A shorter secret can be guessed.
const MIN_SECRET_BYTES: usize = 16;
/// Secrets in one file: one in use, one that comes, and room for a mistake.
const MAX_SECRETS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    const FIRST: &str = "correct horse battery";
    const SECOND: &str = "staple correct horse";

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn check(
        secrets: &Secrets,
        name: &'static str,
        values: &[&str],
    ) -> Result<Identity, AuthError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        secrets.check(&headers)
    }

    #[test]
    fn only_a_whole_secret_exactly_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write(&path, &format!("{FIRST}\r\n{SECOND}\n"));
        let secrets =
            Secrets::header(HeaderName::from_static("x-hook-secret"), vec![path]).unwrap();
        let identity = |values: &[&str]| {
            check(&secrets, "x-hook-secret", values).map(|identity| identity.name().to_string())
        };
        assert_eq!(identity(&[FIRST]), Ok("header-secret".to_owned()));
        assert_eq!(identity(&[SECOND]), Ok("header-secret".to_owned()));
        for (wrong, why) in [
            (&[][..], AuthError::NoCredential),
            (&[FIRST, FIRST], AuthError::NoCredential),
            (&[""], AuthError::WrongSecret),
            (&["correct horse batter"], AuthError::WrongSecret),
            (&["correct horse battery x"], AuthError::WrongSecret),
            (&["correct horse battery\r"], AuthError::WrongSecret),
        ] {
            // A carriage return is no header's value at all.
            if wrong.iter().all(|value| !value.contains('\r')) {
                assert_eq!(identity(wrong), Err(why), "{wrong:?}");
            }
        }
    }

    #[test]
    fn basic_is_the_user_and_a_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        write(&path, &format!("{FIRST}:with colons\n"));
        let secrets = Secrets::basic("okta".into(), vec![path]).unwrap();
        let says = |scheme: &str, pair: &str| {
            check(&secrets, "authorization", &[&format!("{scheme} {}", STANDARD.encode(pair))])
        };
        let right = format!("okta:{FIRST}:with colons");
        assert_eq!(&**says("Basic", &right).unwrap().name(), "basic:okta");
        assert!(says("bAsIc", &right).is_ok());
        for (scheme, pair, why) in [
            ("Bearer", right.as_str(), AuthError::NoCredential),
            ("Basic ", &right, AuthError::WrongSecret),
            ("Basic", FIRST, AuthError::WrongSecret),
            ("Basic", "okta:correct horse battery", AuthError::WrongSecret),
            ("Basic", "other:correct horse battery:with colons", AuthError::WrongSecret),
            ("Basic", "", AuthError::WrongSecret),
        ] {
            assert_eq!(says(scheme, pair), Err(why), "{scheme} {pair}");
        }
        assert_eq!(check(&secrets, "authorization", &["Basic"]), Err(AuthError::NoCredential));
    }

    #[test]
    fn a_secret_rotates_and_a_wrong_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        write(&one, FIRST);
        write(&two, FIRST);
        let secrets = Secrets::header(AUTHORIZATION, vec![one.clone(), two.clone()]).unwrap();
        let takes = |secret: &str| check(&secrets, "authorization", &[secret]).is_ok();
        assert!(takes(FIRST) && !takes(SECOND));
        assert_eq!(secrets.reload(false).unwrap(), None);

        write(&two, SECOND);
        assert_eq!(secrets.reload(false).unwrap(), Some(2));
        assert!(takes(FIRST) && takes(SECOND), "both while one rotates");
        write(&one, SECOND);
        assert_eq!(secrets.reload(false).unwrap(), Some(1));
        assert!(!takes(FIRST) && takes(SECOND), "the old one is no longer listed");

        for (what, spoil) in [
            ("too short", Box::new(|| write(&one, "short")) as Box<dyn Fn()>),
            ("empty", Box::new(|| write(&one, "\n"))),
            ("too many", Box::new(|| write(&one, &format!("{FIRST}\n").repeat(5)))),
            ("gone", Box::new(|| fs::remove_file(&one).unwrap())),
            (
                "open to others",
                Box::new(|| {
                    write(&one, FIRST);
                    fs::set_permissions(&one, fs::Permissions::from_mode(0o644)).unwrap();
                }),
            ),
        ] {
            spoil();
            let error = secrets.reload(false).expect_err(what).to_string();
            assert!(!error.contains(FIRST) && error.contains("caller secret"), "{error}");
            assert!(!takes(FIRST) && takes(SECOND), "{what}");
            assert_eq!(secrets.reload(false).unwrap(), None, "{what}: said once");
            assert!(secrets.reload(true).is_err(), "{what}: asked");
        }
        write(&one, FIRST);
        assert_eq!(secrets.reload(false).unwrap(), Some(2));
    }
}
