//! A stand-in for a registry that can be told to misbehave: it holds what is pushed, and serves it, or something else.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::record::digest;
use crate::service::{Request, listen};

/// The stand-in; it listens until the test's process ends.
pub struct Shelf {
    address: String,
    shared: Arc<Mutex<Shared>>,
}

/// What it does instead of serving what it holds.
#[derive(Clone, Debug)]
pub enum Trick {
    /// Answers with this status and these header lines.
    Status(u16, String),
    /// Serves other bytes.
    Bytes(Vec<u8>),
    /// Says how long it is and ends before that.
    Torn,
    /// Never ends.
    Endless,
    /// Gives a byte now and then.
    Drip,
    /// Never answers.
    Silent,
}

#[derive(Default)]
struct Shared {
    /// Blobs and manifests, by the last part of their path.
    held: BTreeMap<String, (String, Vec<u8>)>,
    trick: Option<(String, Trick)>,
    /// Where tokens are to be had, if it wants them.
    realm: Option<String>,
    /// What it heard: method, path and `authorization`.
    heard: Vec<(String, String, String)>,
}

#[expect(clippy::unwrap_used, reason = "a stand-in that cannot stand is a failed test")]
impl Shelf {
    /// Begins to listen, and holds nothing.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// The same, at another address of this machine.
    pub fn start_at(host: &str) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let own = Arc::clone(&shared);
        Self { address: listen(host, move |socket| drop(serve(socket, &own))), shared }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on misbehaves on every path that holds this text, and behaves on all others.
    pub fn trick(&self, path: &str, trick: Trick) {
        self.shared().trick = Some((path.to_owned(), trick));
    }

    /// Behaves again.
    pub fn behave(&self) {
        self.shared().trick = None;
    }

    /// Wants tokens from there; `/token` of its own gives them for `ci` and the password `secret`.
    pub fn want_tokens(&self, realm: &str) {
        self.shared().realm = Some(realm.to_owned());
    }

    /// What it heard: method, path and `authorization`.
    pub fn heard(&self) -> Vec<(String, String, String)> {
        self.shared().heard.clone()
    }

    /// The bytes under a tag or digest.
    pub fn held(&self, name: &str) -> Vec<u8> {
        self.shared().held.get(name).unwrap().1.clone()
    }

    /// The digests of everything of a media type.
    pub fn of_type(&self, media_type: &str) -> Vec<String> {
        let shared = self.shared();
        let found = shared
            .held
            .iter()
            .filter(|(name, (is, _))| name.starts_with("sha256:") && is == media_type);
        found.map(|(name, _)| name.clone()).collect()
    }

    /// Holds something under this name, as if it had been pushed.
    pub fn hold(&self, name: &str, media_type: &str, bytes: &[u8]) {
        self.shared().held.insert(name.to_owned(), (media_type.to_owned(), bytes.to_vec()));
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(mut socket: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    while let Some(request) = Request::read(&mut reader) {
        let (method, path) = (request.method().to_owned(), request.path().to_owned());
        let (authorization, kind) =
            (request.header("authorization"), request.header("content-type"));
        let (trick, answer) = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.heard.push((method.clone(), path.clone(), authorization.clone()));
            let trick = shared
                .trick
                .clone()
                .filter(|(part, _)| path.contains(part))
                .map(|(_, trick)| trick);
            (trick, shared.answer(&method, &path, &authorization, kind, request.body))
        };
        let (status, headers, mut body) = answer;
        let (mut status, mut headers, mut promised) = (status, headers, body.len());
        match trick {
            None => {}
            Some(Trick::Status(other, lines)) => {
                (status, headers, body, promised) = (other, lines, Vec::new(), 0)
            }
            Some(Trick::Bytes(other)) => (promised, body) = (other.len(), other),
            Some(Trick::Torn) => {
                body.truncate(body.len() / 2);
                socket.write_all(
                    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {promised}\r\n\r\n")
                        .as_bytes(),
                )?;
                return socket.write_all(&body);
            }
            Some(trick @ (Trick::Endless | Trick::Drip)) => {
                socket.write_all(
                    format!("HTTP/1.1 200 X\r\n{headers}transfer-encoding: chunked\r\n\r\n")
                        .as_bytes(),
                )?;
                loop {
                    if matches!(trick, Trick::Drip) {
                        socket.write_all(b"1\r\n{\r\n")?;
                        thread::sleep(Duration::from_millis(100));
                    } else {
                        socket.write_all(b"1000\r\n")?;
                        socket.write_all(&[b' '; 4_096])?;
                        socket.write_all(b"\r\n")?;
                    }
                }
            }
            Some(Trick::Silent) => {
                thread::sleep(Duration::from_secs(120));
                return Ok(());
            }
        }
        if method == "HEAD" {
            body.clear();
        }
        socket.write_all(
            format!("HTTP/1.1 {status} X\r\n{headers}content-length: {promised}\r\n\r\n")
                .as_bytes(),
        )?;
        socket.write_all(&body)?;
    }
    Ok(())
}

impl Shared {
    fn answer(
        &mut self,
        method: &str,
        path: &str,
        authorization: &str,
        kind: String,
        body: Vec<u8>,
    ) -> (u16, String, Vec<u8>) {
        if path.starts_with("/token") {
            // `ci:secret`
            let known = authorization == "Basic Y2k6c2VjcmV0";
            return (
                if known { 200 } else { 401 },
                String::new(),
                br#"{"token":"a-token","expires_in":300}"#.to_vec(),
            );
        }
        if let Some(realm) = &self.realm
            && authorization != "Bearer a-token"
        {
            let challenge = format!(
                "www-authenticate: Bearer realm=\"{realm}\",service=\"shelf\",scope=\"everything:*\"\r\n"
            );
            return (401, challenge, Vec::new());
        }
        let name =
            path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        match method {
            "POST" => (202, "location: /v2/uploads/1?state=x\r\n".to_owned(), Vec::new()),
            "PUT" if path.contains("/uploads/") => {
                self.held.insert(digest(&body), ("blob".to_owned(), body));
                (201, String::new(), Vec::new())
            }
            "PUT" => {
                self.held.insert(name.to_owned(), (kind.clone(), body.clone()));
                self.held.insert(digest(&body), (kind, body));
                (201, String::new(), Vec::new())
            }
            _ => match self.held.get(name) {
                Some((kind, bytes)) if !path.contains("/referrers/") => {
                    (200, format!("content-type: {kind}\r\n"), bytes.clone())
                }
                _ => (404, String::new(), Vec::new()),
            },
        }
    }
}
