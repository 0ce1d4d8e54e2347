//! Explains a response that is no hook's answer: what its status says, and what to look at.
//!
//! Invariant: pure. An answer of a hook is 200 or 202 with JSON, or 204 with nothing; everything
//! else has a sentence and a hint.

use std::path::Path;

use crate::outcome::Failed;

/// The parts of a request that hints are about.
pub struct Sent<'a> {
    /// The file with the secret, where one was sent.
    pub secret_file: Option<&'a Path>,
    /// The header that carried it.
    pub header: &'a str,
    /// The request's body.
    pub payload: &'a Path,
    /// The path of the address.
    pub path: &'a str,
}

/// Whether a status and a body are an answer that a platform takes for one.
pub fn is_answer(status: u16, is_json: bool, is_empty: bool) -> bool {
    match status {
        // Entra's callouts that end with a call of the host's are answered with 202.
        200 | 202 => is_json,
        // An event hook acknowledges with nothing.
        204 => is_empty,
        _ => false,
    }
}

/// Why this is no answer, and what to do.
pub fn explain(status: u16, sent: &Sent<'_>) -> Failed {
    let (why, hint) = match status {
        401 | 403 => ("the host rejected the caller".to_owned(), rejected(sent)),
        404 => (
            "nobody serves that path".to_owned(),
            format!(
                "compare `{}` with `hook.path` of the configuration; where it is right, something else than \
                 Portcullis listens there",
                sent.path
            ),
        ),
        405 => (
            "that path takes no POST".to_owned(),
            "give the address of a hook: the admin listener and a published document are asked with GET".to_owned(),
        ),
        400 | 415 | 422 => (
            "the request was not taken for one of this kind of hook".to_owned(),
            format!(
                "see that `{}` is a request of the hook's kind, as its platform sends it; the host's log names the \
                 member, or says what else is wrong",
                sent.payload.display()
            ),
        ),
        408 => (
            "the request did not arrive whole in time".to_owned(),
            "see `listen.header_timeout_ms` and `listen.body_timeout_ms`, and what stands between here and the host".to_owned(),
        ),
        413 => (
            "the body is too large".to_owned(),
            "see `hook.body_bytes`, and the limit of a proxy in front".to_owned(),
        ),
        414 | 431 => (
            "the request's head is too large".to_owned(),
            format!("see the address and the header `{}`", sent.header),
        ),
        429 => (
            "there are too many calls for somebody in front of the host".to_owned(),
            "Portcullis itself never answers so: look at the proxy".to_owned(),
        ),
        500 => (
            "the host, or what stands in front, failed".to_owned(),
            "look at the host's log and at the causes in `/metrics`: most often a plugin failed, or none is in force"
                .to_owned(),
        ),
        502 | 504 => (
            "a proxy got no answer from the host".to_owned(),
            "see that the host runs, and that the proxy has its address: `/ready` of the admin listener".to_owned(),
        ),
        503 => (
            "the host gives no decision now".to_owned(),
            "it starts, stops or has too many calls, or a proxy found no host: `/ready` of the admin listener and the \
             host's log say which"
                .to_owned(),
        ),
        300..=399 => (
            "somebody sends callers elsewhere".to_owned(),
            "Portcullis never does, and platforms do not follow: give the address that it leads to, or correct the \
             proxy"
                .to_owned(),
        ),
        200..=299 => (
            "the answer has not the form that a hook's has".to_owned(),
            "something else than Portcullis answered, such as a proxy's page: look at the address".to_owned(),
        ),
        _ => (
            "no hook answers so".to_owned(),
            "something else than Portcullis answered: look at the address, and at the proxy".to_owned(),
        ),
    };
    Failed::wrong(format!(
        "{why} ({status}): this is no answer of the hook, which has 200 or 202 with JSON, or 204"
    ))
    .hint(Some(hint))
}

/// Returns what to look at where the caller was rejected; never the secret itself.
fn rejected(sent: &Sent<'_>) -> String {
    let first = match sent.secret_file {
        None => "no secret was sent: give the caller's with `--secret-file`, and its header with `--header`".to_owned(),
        Some(file) => format!(
            "compare the first line of `{}` with the secret that the configuration names under `hook.caller`, and the \
             header `{}` with the one that it asks for (`Basic` and `Bearer` stand before what they carry)",
            file.display(),
            sent.header
        ),
    };
    format!(
        "{first}; the host's log says why (`hook.caller-rejected`), and `portcullis hook doctor` looks at the rest"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_an_answer_or_explained() {
        let answers = [(200, true, false), (202, true, false), (204, false, true)];
        for status in 100..=999 {
            for (is_json, is_empty) in [(true, false), (false, true), (false, false)] {
                let expected = answers.contains(&(status, is_json, is_empty));
                assert_eq!(is_answer(status, is_json, is_empty), expected, "{status}");
            }
            let sent = Sent {
                secret_file: None,
                header: "authorization",
                payload: Path::new("sign-in.json"),
                path: "/okta/token",
            };
            assert!(explain(status, &sent).to_string().contains(&format!("({status})")));
        }
    }
}
