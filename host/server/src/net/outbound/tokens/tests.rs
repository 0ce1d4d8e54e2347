//! Tokens for calls that the host makes: asked for once, renewed in time, and proven by secret or key.

use super::*;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex as Lock, mpsc};
use std::thread;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::engine::general_purpose::STANDARD;
use portcullis_tokens::{Issuer, KeySet, Token};

use crate::net::outbound::{OutboundConfig, parse_url};

/// Where it is, what it says next, and the forms that it gets.
type Endpoint = (Uri, Arc<Lock<(u16, String)>>, mpsc::Receiver<String>);

/// A token endpoint that gives what it is told to, and passes on the forms that it gets.
fn endpoint() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = parse_url(&format!("http://{}/token", listener.local_addr().unwrap())).unwrap();
    let says = Arc::new(Lock::new((200, String::new())));
    let (sender, forms) = mpsc::channel();
    let saying = Arc::clone(&says);
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut said = String::new();
            let mut chunk = [0; 8192];
            // Our own client sends head and body in one or two pieces.
            while !said.contains("\r\n\r\n") || said.ends_with("\r\n\r\n") {
                let count = socket.read(&mut chunk).unwrap_or(0);
                if count == 0 {
                    break;
                }
                said.push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
            drop(sender.send(said.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()));
            let (status, body) = saying.lock().unwrap().clone();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            drop(socket.write_all((head + &body).as_bytes()));
        }
    });
    (uri, says, forms)
}

fn secret_file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn get(tokens: &Tokens) -> Result<String, TokenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let value = runtime.block_on(tokens.get(Instant::now() + REQUEST_TIMEOUT))?;
    assert!(value.is_sensitive());
    Ok(value.to_str().unwrap().to_owned())
}

fn tokens(now: &Arc<AtomicU64>, token_uri: &Uri, proof: ClientProof) -> Tokens {
    let outbound = Arc::new(Outbound::new(&OutboundConfig::default()).unwrap());
    let config = TokenConfig {
        token_uri: token_uri.clone(),
        client_id: "the client".into(),
        proof,
        scope: "a/.default b".into(),
    };
    Tokens::new(outbound, Clock::fixed(Arc::clone(now)), config)
}

#[test]
fn a_token_is_kept_renewed_before_it_ends_and_used_while_it_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let secret = secret_file(&folder, "secret", "s&cret=1\n");
    let (uri, says, forms) = endpoint();
    let now = Arc::new(AtomicU64::new(1_795_000_000_000));
    let tokens = tokens(&now, &uri, ClientProof::Secret(secret.clone()));
    let say = |status: u16, body: &str| *says.lock().unwrap() = (status, body.to_owned());

    say(200, r#"{"access_token":"one","token_type":"Bearer","expires_in":"1000"}"#);
    assert_eq!(get(&tokens).unwrap(), "Bearer one");
    assert_eq!(
        forms.recv().unwrap(),
        "grant_type=client_credentials&client_id=the%20client&scope=a%2F.default%20b&client_secret=s%26cret%3D1"
    );
    now.fetch_add(899_000, Ordering::Relaxed);
    assert_eq!(get(&tokens).unwrap(), "Bearer one");
    assert!(forms.try_recv().is_err(), "nobody was asked");

    // A tenth before its end it is renewed, and where that fails, used on.
    now.fetch_add(1_000, Ordering::Relaxed);
    say(503, "busy");
    assert_eq!(get(&tokens).unwrap(), "Bearer one");
    secret_file(&folder, "secret", "rotated-meanwhile");
    say(200, r#"{"access_token":"two","token_type":"bearer","expires_in":1000}"#);
    assert_eq!(get(&tokens).unwrap(), "Bearer two");
    assert!(forms.iter().nth(1).unwrap().ends_with("client_secret=rotated-meanwhile"));

    now.fetch_add(1_000_000, Ordering::Relaxed);
    for (status, body, why) in [
        (
            400,
            r#"{"error":"invalid_client","error_description":"two"}"#,
            "the issuer answered 400: invalid_client",
        ),
        (200, r#"{"token_type":"Bearer"}"#, "the issuer answered 200: it has no access_token"),
        (
            200,
            r#"{"access_token":"x","token_type":"mac"}"#,
            "the issuer answered 200: its token_type is not Bearer",
        ),
        (
            200,
            r#"{"access_token":"x\n","token_type":"Bearer"}"#,
            "the issuer answered 200: its access_token cannot be sent in a header",
        ),
        (200, "<html>", "the issuer answered 200: it is not JSON"),
    ] {
        say(status, body);
        assert_eq!(get(&tokens).unwrap_err().to_string(), why);
    }
    say(200, r#"{"access_token":"three","token_type":"Bearer","expires_in":3600}"#);
    assert_eq!(get(&tokens).unwrap(), "Bearer three");
    say(200, r#"{"access_token":"four","token_type":"Bearer","expires_in":3600}"#);
    tokens.discard();
    assert_eq!(get(&tokens).unwrap(), "Bearer four");
}

#[test]
fn an_assertion_is_one_that_its_issuer_can_verify() {
    let folder = tempfile::tempdir().unwrap();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let file = secret_file(&folder, "key", &pem);
    let (uri, says, forms) = endpoint();
    *says.lock().unwrap() = (200, r#"{"access_token":"one","token_type":"Bearer"}"#.to_owned());
    let now = Arc::new(AtomicU64::new(1_795_000_000_000));
    let proof = ClientProof::Key { file, kid: Some("k\"1".into()), certificate: None };
    let tokens = tokens(&now, &uri, proof);
    assert_eq!(get(&tokens).unwrap(), "Bearer one");
    let form = forms.recv().unwrap();
    let assertion = form.split("client_assertion=").nth(1).unwrap();
    assert!(form.contains(
        "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&"
    ));

    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = (BASE64URL.encode(&point[..32]), BASE64URL.encode(&point[32..]));
    let keys =
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k\"1","x":"{x}","y":"{y}"}}]}}"#);
    let token = Token::parse(assertion).unwrap();
    let issuer = Issuer {
        names: vec![("the client".into(), "sub".into())],
        tenant: None,
        audiences: vec![uri.to_string()],
        clients: vec!["the client".into()],
        skew: 0,
    };
    assert!(issuer.check_claims(&token, Millis(1_795_000_000_000)).is_ok());
    assert!(token.verify(&KeySet::parse(keys.as_bytes()).unwrap()).is_ok());
}
