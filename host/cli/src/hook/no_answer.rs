//! Explains a response that is no hook's answer: what its status says, and what to look at.
//!
//! Invariant: pure. An answer of a hook is 200 or 202 with JSON, or 204 with nothing; everything
//! else has a sentence and a hint.

use std::path::Path;

use crate::exit::CliError;

/// The parts of a request that hints are about.
pub struct Sent<'a> {
    /// The file with the secret, where one was sent.
    pub secret_file: Option<&'a Path>,
    /// The header that carried it.
    pub header: &'a str,
    /// The file with the request's body.
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
pub fn explain(status: u16, sent: &Sent<'_>) -> CliError {
    let (why, hint) = match status {
        401 | 403 => ("the host does not accept the caller".to_owned(), rejected(sent)),
        404 => (
            "no hook has that path".to_owned(),
            format!(
                "compare `{}` with `hook.path` of the configuration; if they agree, another \
                 program than Portcullis answers at this address",
                sent.path
            ),
        ),
        405 => (
            "that path does not accept POST".to_owned(),
            "give the address of a hook; the admin listener and published documents accept GET \
             only"
                .to_owned(),
        ),
        400 | 415 | 422 => (
            "the request is not one of this hook kind".to_owned(),
            format!(
                "give `{}` the form that the platform sends to this hook kind; the host's log \
                 names the member that is wrong",
                sent.payload.display()
            ),
        ),
        408 => (
            "the whole request did not arrive in time".to_owned(),
            "check `listen.header_timeout_ms` and `listen.body_timeout_ms`, and proxies between \
             here and the host"
                .to_owned(),
        ),
        413 => (
            "the body is too large".to_owned(),
            "check `hook.body_bytes`, and the limit of a proxy in front of the host".to_owned(),
        ),
        414 | 431 => (
            "the request's head is too large".to_owned(),
            format!("check the length of the address and of the header `{}`", sent.header),
        ),
        429 => (
            "a proxy in front of the host limits the number of calls".to_owned(),
            "check the proxy; Portcullis itself never gives this answer".to_owned(),
        ),
        500 => (
            "the host or a proxy in front of it failed".to_owned(),
            "read the host's log and the causes in `/metrics`; most often a plugin failed, or \
             no release is active"
                .to_owned(),
        ),
        502 | 504 => (
            "a proxy got no answer from the host".to_owned(),
            "make sure that the host runs (`/ready` of the admin listener) and that the proxy \
             has its address"
                .to_owned(),
        ),
        503 => (
            "the host gives no decisions at the moment".to_owned(),
            "the host is starting or stopping or has too many calls, or a proxy found no host; \
             `/ready` of the admin listener and the host's log show which"
                .to_owned(),
        ),
        300..=399 => (
            "a proxy redirects the call to another address".to_owned(),
            "give the address that it leads to, or correct the proxy; Portcullis never \
             redirects, and platforms do not follow"
                .to_owned(),
        ),
        200..=299 => (
            "the answer does not have the form of a hook's answer".to_owned(),
            "check the address; another program than Portcullis answered, such as a proxy"
                .to_owned(),
        ),
        _ => (
            "a hook never gives this answer".to_owned(),
            "check the address and the proxy; another program than Portcullis answered".to_owned(),
        ),
    };
    CliError::wrong(format!("{why} ({status}): a hook answers 200 or 202 with JSON, or 204"))
        .hint(Some(hint))
}

/// Returns what to look at where the caller was rejected; never the secret itself.
fn rejected(sent: &Sent<'_>) -> String {
    let first = match sent.secret_file {
        None => "give the caller's secret with `--secret-file` and its header with `--header`; \
         no secret was sent"
            .to_owned(),
        Some(file) => format!(
            "compare the first line of `{}` with the secret that the configuration names under `hook.caller`, and the \
             header `{}` with the one that it asks for (`Basic` and `Bearer` stand before what they carry)",
            file.display(),
            sent.header
        ),
    };
    format!(
        "{first}; the host's log has the reason (`hook.caller-rejected`), and `portcullis hook \
         doctor` checks the rest"
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
