//! Where versions of reference tables come from, and who answers for them: signatures of the role
//! `data`, downloads, and what is pushed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::{
    Answer, Authority, Binding, Host, MovedClock, Pair, SignIn, TestDeployment, digest, log_event,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// A roster of people by employee number.
const ROSTER: &str = r#"
name = "roster"
format = "csv"
max_age_seconds = 86400
no_match = "treat-as-absent"

[[columns]]
name = "number"
type = "text"

[[columns]]
name = "login"
type = "text"
required = true

[[columns]]
name = "ward"
type = "text"

[[columns]]
name = "beds"
type = "integer"

[key]
columns = ["number"]

[[match]]
subject = "login"
column = "login"
rules = { case = "ascii" }

[hold]
watch = ["ward"]
"#;

const NETWORKS: &str = r#"
name = "networks"
format = "csv"
max_age_seconds = 86400
no_match = "treat-as-absent"

[[columns]]
name = "network"
type = "ip-network"

[[columns]]
name = "zone"
type = "text"

[key]
columns = ["network"]
kind = "network"
"#;

/// A roster in which 4711 works in this ward.
fn roster(ward: &str) -> String {
    let mut rows = format!("number,login,ward,beds\n4711,Noor.Haddad@ward.test,{ward},7\n");
    for number in 0..99 {
        rows.push_str(&format!("{number},person{number}@ward.test,south,\n"));
    }
    rows
}

fn version(rows: &str) -> String {
    digest(rows.as_bytes())
}

/// The declaration of the roster with this line more.
fn declared(line: &str) -> String {
    ROSTER.replace("no_match", &format!("{line}\nno_match"))
}

/// A deployment with a folder of tables, whose trust root has the role `data` with one key.
fn deployment() -> TestDeployment {
    let deployment = TestDeployment::build(&[]);
    for role in ["data", "data-2", "mallory"] {
        deployment.generate(role);
    }
    sign_root_with(&deployment, "data");
    std::fs::create_dir(deployment.path("release/tables")).unwrap();
    deployment.write("release/tables/networks.csv", "network,zone\n10.0.0.0/8,ward\n");
    deployment
}

fn data_role(deployment: &TestDeployment, key: &str) -> String {
    let vkey = deployment.read(&format!("keys/{key}.vkey"));
    format!("[data]\nkeys = [\"{}\"]\nthreshold = 1\n", vkey.trim())
}

fn sign_root_with(deployment: &TestDeployment, key: &str) {
    deployment.sign_root(|source| source + "\n" + &data_role(deployment, key));
}

/// Releases the roster by this declaration.
fn release(deployment: &mut TestDeployment, declaration: &str) {
    deployment.forget_tables();
    deployment.declare_table(declaration, "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
}

fn asking() -> Binding {
    Binding::new("token", "remembering", json!({}))
}

/// Asks for the row of 4711.
fn ask(host: &Host) -> Answer {
    let mut sign_in = SignIn::with_groups(&[]);
    sign_in.body["data"]["context"]["user"]["profile"]["questions"] =
        json!([["lookup", "roster", "4711"]]);
    host.sign_in(&sign_in)
}

/// The ward of 4711 that a call sees.
fn ward(deployment: &TestDeployment, host: &Host) -> Value {
    let sealed = deployment.sealed(ask(host).index().unwrap());
    let answers = &sealed["plugins"][0]["decision"]["findings"][0]["arguments"]["answers"];
    answers[0]["rows"][0]["ward"].clone()
}

/// Signs a file of the folder, by this clock where one is given.
fn sign(deployment: &TestDeployment, file: &str, key: &str, clock: Option<&MovedClock>) {
    let key = format!("keys/{key}.key");
    let roots = deployment.roots();
    let mut arguments =
        vec!["table", "sign", "--declaration", "release/roster.csv.toml", "--key", &key];
    arguments.extend(roots.iter().map(String::as_str));
    arguments.push(file);
    let ran = match clock {
        Some(clock) => deployment.run_by(clock.command(), &arguments),
        None => deployment.run(&arguments),
    };
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// Puts a signed version into the folder: its signature first.
fn bring(deployment: &TestDeployment, rows: &str, key: &str, clock: Option<&MovedClock>) {
    deployment.write("new.csv", rows);
    sign(deployment, "new.csv", key, clock);
    install(deployment, "new.csv");
}

/// Puts a file and its signature into the folder.
fn install(deployment: &TestDeployment, file: &str) {
    let read = |name: &str| std::fs::read(deployment.path(name)).unwrap();
    deployment.replace("release/tables/roster.csv.sig", read(&format!("{file}.sig")));
    deployment.replace("release/tables/roster.csv", read(file));
}

fn refused(code: &str) -> portcullis_tests::LogEvent {
    log_event("table.refused").field("table", "roster").field("code", code)
}

fn loaded(rows: &str) -> portcullis_tests::LogEvent {
    log_event("table.loaded").field("version", version(rows).as_str())
}

#[test]
fn a_signed_table_is_used_only_with_a_signature_of_its_role_for_these_bytes() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("release/tables/roster.csv", roster("north"));
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    let unsigned = host.wait_for(refused("table-signature").naming("problem", "[unsigned]"));
    assert!(unsigned.text("problem").contains("roster.csv.sig"), "{}", unsigned.text("problem"));
    assert!(ask(&host).stops_a_token(), "no version was accepted yet");

    bring(&deployment, &roster("north"), "data", None);
    host.wait_for(loaded(&roster("north")));
    assert_eq!(ward(&deployment, &host), "north");

    // Another file under the same signature; one that nobody of the role has signed; none at all.
    deployment.replace("release/tables/roster.csv", roster("vault"));
    host.wait_for(refused("table-signature").naming("problem", "[table-version-mismatch]"));
    let other_root = deployment.read("trust-root.json");
    sign_root_with(&deployment, "mallory");
    bring(&deployment, &roster("vault"), "mallory", None);
    host.wait_for(refused("table-signature").naming("problem", "[unknown-signer]"));
    deployment.write("trust-root.json", other_root);
    deployment.replace("release/tables/roster.csv.sig", "{}");
    host.wait_for(refused("table-signature").naming("problem", "[envelope-malformed]"));
    assert_eq!(ward(&deployment, &host), "north", "the last good version stays");

    bring(&deployment, &roster("east"), "data", None);
    host.wait_for(loaded(&roster("east")));
    assert_eq!(ward(&deployment, &host), "east");
    let log = host.stop();
    assert!(!log.contains("oor.Haddad") && !log.contains("person17"), "no person in the log");
    let records = deployment.records_of("table.loaded");
    let of_roster: Vec<_> = records.iter().filter(|record| record["table"] == "roster").collect();
    assert_eq!(of_roster.len(), 2);
    for record in &of_roster {
        assert!(record["signers"][0].as_str().unwrap().starts_with("test.example/data+"));
        assert!(record["signed_at"].as_u64().is_some(), "{record}");
    }
    let networks = records.iter().find(|record| record["table"] == "networks").unwrap();
    assert!(networks.get("signers").is_none(), "{networks}");
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_version_that_was_signed_earlier_never_returns() {
    let mut deployment = deployment();
    let clock = MovedClock::new();
    clock.ahead(-3_600);
    let declaration = declared("signed = true");
    deployment.write("release/roster.csv.toml", &declaration);
    deployment.write("earlier.csv", roster("north"));
    sign(&deployment, "earlier.csv", "data", Some(&clock));
    install(&deployment, "earlier.csv");
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north");
    bring(&deployment, &roster("west"), "data", None);
    host.wait_for(loaded(&roster("west")));

    install(&deployment, "earlier.csv");
    host.wait_for(refused("table-older").naming("problem", "[table-version-older]"));
    assert_eq!(ward(&deployment, &host), "west");
    host.stop();

    // The host's copy is as well signed as the file; without it there is no version, because the
    // log remembers that a newer one was used, also where the host's own file is lost.
    let host = deployment.serve();
    host.wait_for(refused("table-older"));
    assert_eq!(ward(&deployment, &host), "west");
    host.stop();
    std::fs::remove_dir_all(deployment.path("trust-state/tables")).unwrap();
    std::fs::remove_file(deployment.path("trust-state/memory")).unwrap();
    let host = deployment.serve();
    host.wait_for(refused("table-older"));
    assert!(ask(&host).stops_a_token());

    // The older rows on purpose: signed anew.
    bring(&deployment, &roster("north"), "data", None);
    host.wait_for(loaded(&roster("north")));
    assert_eq!(ward(&deployment, &host), "north");

    // A signature of the future could never be followed by another one.
    clock.ahead(86_400);
    bring(&deployment, &roster("vault"), "data", Some(&clock));
    host.wait_for(refused("table-signature").naming("problem", "[not-yet-valid]"));
    assert_eq!(ward(&deployment, &host), "north");
}

#[test]
fn an_altered_copy_of_a_signed_table_is_not_used() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("release/roster.csv.toml", &declaration);
    bring(&deployment, &roster("north"), "data", None);
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north");
    host.stop();
    std::fs::remove_file(deployment.path("release/tables/roster.csv")).unwrap();
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north", "the copy is used without the file");
    host.stop();
    deployment.write("trust-state/tables/roster", roster("vault"));
    let host = deployment.serve();
    assert!(ask(&host).stops_a_token());
}

#[test]
fn a_revoked_key_takes_its_versions_out_of_use_and_an_omitted_one_does_not() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("release/roster.csv.toml", &declaration);
    bring(&deployment, &roster("north"), "data", None);
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north");

    // The next root names another key: the version stays, also through a restart.
    let vkey = |key: &str| deployment.read(&format!("keys/{key}.vkey")).trim().to_owned();
    let (first, second) = (vkey("data"), vkey("data-2"));
    let next = deployment.next_root(2, &["root"], |source| source.replace(&first, &second));
    assert_eq!(next.code, 0, "{next:?}");
    host.wait_for(log_event("trust.root-accepted"));
    assert_eq!(ward(&deployment, &host), "north");
    host.stop();
    let host = deployment.serve();
    host.wait_for(refused("table-signature").naming("problem", "[unknown-signer]"));
    assert_eq!(ward(&deployment, &host), "north");
    bring(&deployment, &roster("west"), "data-2", None);
    host.wait_for(loaded(&roster("west")));

    // The root after that revokes the key that has signed the version in use.
    let third = vkey("mallory");
    let next = deployment.next_root(3, &["root"], |source| {
        source.replace(&second, &third) + &format!("\n[revoked]\nkeys = [\"{second}\"]\n")
    });
    assert_eq!(next.code, 0, "{next:?}");
    host.wait_for(log_event("table.withdrawn").field("code", "revoked-key"));
    host.wait_for(refused("table-signature").naming("problem", "[revoked-key]"));
    assert!(ask(&host).stops_a_token());
    host.stop();
    let host = deployment.serve();
    assert!(ask(&host).stops_a_token(), "the copy is not used either");
    bring(&deployment, &roster("east"), "mallory", None);
    host.wait_for(loaded(&roster("east")));
    assert_eq!(ward(&deployment, &host), "east");
}

#[test]
fn nothing_is_signed_that_no_host_would_use() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("roster.toml", &declaration);
    deployment.write("roster.csv", roster("north"));
    let run = |key: &str, more: &[&str]| {
        let mut arguments = vec!["table", "sign", "--declaration", "roster.toml", "--key", key];
        arguments.extend(["--root", "trust-root.json", "roster.csv"]);
        arguments.extend(more);
        deployment.run(&arguments)
    };
    let wrong_role = run("keys/release.key", &[]);
    assert!(wrong_role.code == 1 && wrong_role.err.contains("unknown-signer"), "{wrong_role:?}");
    deployment.write("roster.csv", roster("north").replace(",7\n", ",seven\n"));
    let wrong_cell = run("keys/data.key", &[]);
    assert!(wrong_cell.code == 1 && wrong_cell.err.contains("`beds`"), "{wrong_cell:?}");
    assert!(!wrong_cell.err.contains("seven"), "{wrong_cell:?}");
    assert!(!deployment.path("roster.csv.sig").exists());

    // Two people sign, one after the other.
    deployment.sign_root(|source| {
        let second = deployment.read("keys/data-2.vkey");
        let role = data_role(&deployment, "data").replace("threshold = 1", "threshold = 2");
        source + "\n" + &role.replace("keys = [", &format!("keys = [\"{}\", ", second.trim()))
    });
    deployment.write("roster.csv", roster("north"));
    let one = run("keys/data.key", &["--format", "json"]);
    let said: Value = serde_json::from_str(&one.out).unwrap();
    assert!(said["missing"].as_str().unwrap().contains("1 of the 2"), "{said}");
    let two = run("keys/data-2.key", &["--add", "--format", "json"]);
    let said: Value = serde_json::from_str(&two.out).unwrap();
    assert_eq!(said["missing"], Value::Null, "{said}");
    deployment.write("roster.csv", roster("west"));
    let other = run("keys/data-2.key", &["--add"]);
    assert!(other.code == 1 && other.err.contains("table-version-mismatch"), "{other:?}");

    // A trust root without the role signs no tables, and no set that needs signed ones.
    deployment.sign_root(|source| source);
    let no_role = run("keys/data.key", &[]);
    assert!(no_role.code == 1 && no_role.err.contains("data-unavailable"), "{no_role:?}");
    deployment.sign_plugin("remembering", |source| source);
    deployment.declare_table(&declaration, "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    let set = deployment.refused_release(&[asking()]);
    assert!(set.err.contains("role `data`"), "{set:?}");
}

/// A web server with one export and its signature.
#[derive(Clone)]
struct Source {
    address: String,
    shared: Arc<Mutex<Export>>,
}

#[derive(Default)]
struct Export {
    /// The status line's rest, such as `200 OK`.
    status: String,
    body: String,
    etag: String,
    modified: String,
    signature: Vec<u8>,
    /// The heads of requests, and the answer to each.
    requests: Vec<(String, String)>,
}

impl Source {
    /// Serves over plain HTTP on this machine.
    fn start() -> Self {
        Self::start_with(|socket, export| respond(&mut &socket, export))
    }

    /// Serves over TLS with this certificate.
    fn start_tls(pair: &Pair) -> Self {
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        Self::start_with(move |socket, export| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            respond(&mut rustls::StreamOwned::new(connection, socket), export);
        })
    }

    fn start_with(serve: impl Fn(TcpStream, &Mutex<Export>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Mutex::new(Export {
            status: "200 OK".to_owned(),
            etag: "\"1\"".to_owned(),
            body: roster("north"),
            ..Export::default()
        }));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                serve(socket, &serving);
            }
        });
        Self { address, shared }
    }

    fn set(&self, change: impl FnOnce(&mut Export)) {
        change(&mut self.shared.lock().unwrap());
    }

    fn requests(&self) -> Vec<(String, String)> {
        self.shared.lock().unwrap().requests.clone()
    }

    /// The line of a declaration that names it.
    fn line(&self, scheme: &str, more: &str) -> String {
        format!("source = {{ url = \"{scheme}://{}/roster.csv\"{more} }}", self.address)
    }
}

/// Reads a request and answers it, as long as the caller speaks HTTP.
fn respond(socket: &mut (impl Read + Write), export: &Mutex<Export>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(socket.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let mut export = export.lock().unwrap();
    let is_signature = head.starts_with("get /roster.csv.sig ");
    let known = format!("if-none-match: {}\r\n", export.etag);
    let is_known = !is_signature && !export.etag.is_empty() && head.contains(&known);
    let is_good = export.status == "200 OK";
    let status = if is_good && is_known { "304 Not Modified" } else { &export.status }.to_owned();
    let body = match (status.as_str(), is_signature) {
        ("200 OK", true) => export.signature.clone(),
        ("200 OK", false) => export.body.clone().into_bytes(),
        _ => Vec::new(),
    };
    let mut answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for (name, value) in [("etag", &export.etag), ("last-modified", &export.modified)] {
        if !value.is_empty() {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if status.starts_with("302") {
        answer.push_str("location: https://other.example/roster.csv\r\n");
    }
    answer.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    export.requests.push((head, status));
    drop(export);
    // A host that hung up has its reasons.
    drop(socket.write_all(&[answer.into_bytes(), body].concat()).and_then(|()| socket.flush()));
}

/// A deployment that downloads its roster, by a declaration with these lines.
fn downloading(lines: &str, configuration: &str) -> TestDeployment {
    let mut deployment = deployment();
    deployment.write_secret("secrets/hr", "Bearer open-sesame-of-the-hr-system");
    let text = deployment.read("portcullis.toml") + "\n" + configuration;
    deployment.write("portcullis.toml", text);
    release_sourced(&mut deployment, lines);
    deployment
}

fn release_sourced(deployment: &mut TestDeployment, lines: &str) {
    deployment.forget_tables();
    deployment.declare_sourced_table(&declared(lines));
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
}

/// Has the host ask its sources until its log has this event.
fn download_until(host: &Host, event: portcullis_tests::LogEvent) {
    drop(host.reload_until([event]));
}

fn not_downloaded(code: &str) -> portcullis_tests::LogEvent {
    log_event("table.not-downloaded").field("table", "roster").field("code", code)
}

#[test]
fn a_download_is_checked_as_a_file_is_and_a_source_that_fails_changes_nothing() {
    let source = Source::start();
    let configuration = format!(
        "[tables.roster]\norigin = \"http://{}\"\nsecret_file = \"secrets/hr\"\n",
        source.address
    );
    let lines = source.line("http", ", every_seconds = 86400") + "\nmax_bytes = 65536";
    let deployment = downloading(&lines, &configuration);
    deployment.must(&["check", "--config", "portcullis.toml"]);
    let host = deployment.serve();
    host.wait_for(loaded(&roster("north")));
    assert_eq!(ward(&deployment, &host), "north");
    let (head, _) = source.requests()[0].clone();
    assert!(head.contains("authorization: bearer open-sesame-of-the-hr-system\r\n"), "{head}");
    assert!(!head.contains("if-none-match"), "{head}");

    // What has not changed is not sent again.
    source.set(|export| export.etag = "\"2\"".to_owned());
    let west = roster("west");
    source.set(|export| export.body = west.clone());
    download_until(&host, loaded(&west));
    assert_eq!(ward(&deployment, &host), "west");
    let before = source.requests().len();
    source.set(|export| export.status = "500 Internal Server Error".to_owned());
    download_until(&host, not_downloaded("table-source-status"));
    for (status, code) in [
        ("302 Found", "table-source-redirect"),
        ("401 Unauthorized", "table-source-denied"),
        ("404 Not Found", "table-source-status"),
    ] {
        source.set(|export| export.status = status.to_owned());
        download_until(&host, not_downloaded(code));
    }
    let ready = String::from_utf8_lossy(&host.admin("/ready").body).into_owned();
    assert!(ready.contains("table-source-status"), "{ready}");
    source.set(|export| export.status = "200 OK".to_owned());
    download_until(&host, log_event("table.source-answers").field("table", "roster"));
    let after = source.requests()[before..].to_vec();
    assert!(after.iter().all(|(head, _)| head.contains("if-none-match: \"2\"\r\n")), "{after:?}");
    assert_eq!(after.last().unwrap().1, "304 Not Modified");

    // Wrong cells by line and column, too many bytes, and a version that waits.
    let version_of = |etag: &str, body: String| {
        source.set(|export| {
            (export.etag, export.body) = (format!("\"{etag}\""), body);
        });
    };
    version_of("3", west.replace("person17@ward.test,south,", "person17@ward.test,south,Zebulon"));
    download_until(&host, refused("table-rows").naming("problem", "row 20, column `beds`"));
    version_of("4", west.clone() + &"9,many@ward.test,south,\n".repeat(5_000));
    download_until(&host, not_downloaded("table-source-too-large"));
    version_of("5", west.lines().take(60).map(|line| format!("{line}\n")).collect());
    download_until(&host, log_event("table.held").field("table", "roster"));
    assert_eq!(ward(&deployment, &host), "west", "the last good version stays");
    let folder = deployment.path("trust-state/received-tables");
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, 1, "nothing of what was given up is left");
    let log = host.stop();
    assert!(!log.contains("open-sesame") && !log.contains("Zebulon"), "a secret is in the log");
    let records = deployment.records_of("table.loaded");
    let versions: Vec<_> = records
        .iter()
        .filter(|record| record["table"] == "roster")
        .map(|record| record["version"].clone())
        .collect();
    assert_eq!(versions, [json!(version(&roster("north"))), json!(version(&west))]);

    // A start without its source has the version that was used last.
    source.set(|export| export.status = "503 Service Unavailable".to_owned());
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "west");
    host.wait_for(not_downloaded("table-source-status"));
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_source_is_asked_again_by_itself_and_its_own_time_is_the_age_of_the_rows() {
    let source = Source::start();
    source.set(|export| export.modified = "Sat, 01 Feb 2020 12:00:00 GMT".to_owned());
    let deployment = downloading(&source.line("http", ", every_seconds = 1"), "");
    let host = deployment.serve();
    host.wait_for(loaded(&roster("north")));
    let record = deployment.record(ask(&host).index().unwrap());
    assert_eq!(record["bindings"][0]["codes"], json!(["ANSWER", "TABLE_STALE"]));
    let east = roster("east");
    source.set(|export| {
        (export.etag, export.body) = ("\"2\"".to_owned(), east.clone());
        export.modified = String::new();
    });
    host.wait_for(loaded(&east));
    assert_eq!(ward(&deployment, &host), "east");
    // After a failure too.
    source.set(|export| export.status = "500 Internal Server Error".to_owned());
    host.wait_for(not_downloaded("table-source-status"));
    source.set(|export| export.status = "200 OK".to_owned());
    host.wait_for(log_event("table.source-answers"));
}

#[test]
fn a_secret_is_sent_to_its_origin_alone() {
    let source = Source::start();
    let configuration =
        "[tables.roster]\norigin = \"https://hr.example\"\nsecret_file = \"secrets/hr\"\n";
    let deployment = downloading(&source.line("http", ""), configuration);
    let checked = deployment.must(&["check", "--config", "portcullis.toml"]);
    assert!(checked.contains("the secret is for https://hr.example:443"), "{checked}");
    let host = deployment.serve();
    let told = host.wait_for(not_downloaded("table-source-configuration"));
    assert!(told.text("problem").contains("https://hr.example:443 only"));
    assert!(ask(&host).stops_a_token());
    host.stop();
    assert!(source.requests().is_empty());
}

#[test]
fn a_signed_table_is_downloaded_with_its_signature() {
    let source = Source::start();
    let url = format!(", signature_url = \"http://{}/roster.csv.sig\"", source.address);
    let lines = format!("signed = true\n{}", source.line("http", &url));
    let deployment = downloading(&lines, "");
    deployment.write("release/roster.csv.toml", declared("signed = true"));
    let publish = |ward: &str, etag: &str| {
        deployment.write("export.csv", roster(ward));
        sign(&deployment, "export.csv", "data", None);
        let signature = std::fs::read(deployment.path("export.csv.sig")).unwrap();
        source.set(|export| {
            (export.body, export.etag) = (roster(ward), format!("\"{etag}\""));
            export.signature = signature;
        });
    };
    publish("north", "1");
    let host = deployment.serve();
    host.wait_for(loaded(&roster("north")));
    // Whoever has the web server has not the key.
    source.set(|export| (export.body, export.etag) = (roster("vault"), "\"2\"".to_owned()));
    download_until(&host, refused("table-signature").naming("problem", "[table-version-mismatch]"));
    assert_eq!(ward(&deployment, &host), "north");
    publish("west", "3");
    download_until(&host, loaded(&roster("west")));
    assert_eq!(ward(&deployment, &host), "west");
}

#[test]
fn a_source_over_tls_is_believed_by_the_authority_that_the_operator_names() {
    let authority = Authority::new();
    let source = Source::start_tls(&authority.server());
    let deployment = downloading(&source.line("https", ""), "");
    let host = deployment.serve();
    host.wait_for(not_downloaded("table-source-unreachable"));
    host.stop();
    assert!(source.requests().is_empty());
    deployment.write("hr-ca.pem", authority.pem());
    let text = deployment.read("portcullis.toml") + "\n[tables.roster]\nca_file = \"hr-ca.pem\"\n";
    deployment.write("portcullis.toml", text);
    let host = deployment.serve();
    host.wait_for(loaded(&roster("north")));
    assert_eq!(ward(&deployment, &host), "north");
}

#[test]
fn every_problem_of_a_source_is_named_before_anything_is_served() {
    let mut deployment = deployment();
    deployment.sign_plugin("remembering", |source| source);
    let mut refused = |lines: &str, file: bool| {
        deployment.forget_tables();
        if file {
            deployment.declare_table(&declared(lines), "roster.csv", None);
        } else {
            deployment.declare_sourced_table(&declared(lines));
        }
        deployment.declare_table(NETWORKS, "networks.csv", None);
        deployment.refused_release(&[asking()]).err
    };
    let none = refused("", false);
    assert!(none.contains("neither a `file`") && none.contains("roster"), "{none}");
    let both = refused("source = { url = \"https://hr.example/r.csv\" }", true);
    assert!(both.contains("remove `file`"), "{both}");
    let plain = refused("source = { url = \"http://hr.example/r.csv\", every_seconds = 0 }", false);
    assert!(plain.contains("it is not https") && plain.contains("every_seconds"), "{plain}");
    let unclear = refused("source = { url = \"https://hr.example/r.csv\", push = true }", false);
    assert!(unclear.contains("either `url` or `push = true`"), "{unclear}");
    let signed = refused("signed = true\nsource = { url = \"https://hr.example/r.csv\" }", false);
    assert!(signed.contains("source.signature_url"), "{signed}");

    let text = deployment.read("portcullis.toml")
        + "\n[tables.roster]\nsecret_file = \"secrets/none\"\ntimeout_ms = 1\n\
           [tables.networks]\norigin = \"https://hr.example/exports\"\npush = { secret_file = \"a\" }\n";
    deployment.write("portcullis.toml", text);
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(checked.code, 64, "{checked:?}");
    for problem in [
        "[tables.roster]: secret_file needs origin",
        "[tables.roster]: timeout_ms is 1",
        "[tables.networks]: origin `https://hr.example/exports`: it has a path",
        "[tables.networks]: push needs the listener [table_push]",
    ] {
        assert!(checked.err.contains(problem), "{problem}: {}", checked.err);
    }
}

/// What the listener for pushed tables answers: status and body.
fn push(host: &Host, secret: &str, headers: &str, body: &[u8]) -> (u16, Value) {
    let log = host.log();
    let address = log.first(log_event("tables.listening")).unwrap().text("address").to_owned();
    let mut socket = TcpStream::connect(&address).unwrap();
    say(&mut socket, "PUT /tables/roster", secret, headers, body)
}

/// Sends a request and reads the answer to its end.
fn say(
    socket: &mut (impl Read + Write),
    line: &str,
    secret: &str,
    headers: &str,
    body: &[u8],
) -> (u16, Value) {
    let length = if headers.contains("transfer-encoding") {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let head = format!(
        "{line} HTTP/1.1\r\nhost: tables.test\r\nauthorization: {secret}\r\n{headers}{length}\r\n"
    );
    // A host that refuses early may hang up before all is sent: its answer counts.
    drop(socket.write_all(&[head.as_bytes(), body].concat()));
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer));
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    (status.parse().unwrap(), body)
}

/// A deployment that takes its roster from whoever has this secret.
fn pushed(lines: &str, listener: &str) -> TestDeployment {
    let mut deployment = deployment();
    deployment.write_secret("secrets/hr", PUSH_SECRET);
    let text = deployment.read("portcullis.toml")
        + "\n[tables.roster]\npush = { secret_file = \"secrets/hr\" }\n\
           [table_push]\naddress = \"127.0.0.1:0\"\n"
        + listener;
    deployment.write("portcullis.toml", text);
    release_sourced(&mut deployment, &format!("source = {{ push = true }}\n{lines}"));
    deployment
}

const PUSH_SECRET: &str = "a-secret-of-the-job-that-pushes-exports";

#[test]
fn a_pushed_version_is_answered_for_what_became_of_it() {
    let mut deployment = pushed("max_bytes = 65536", "");
    deployment.must(&["check", "--config", "portcullis.toml"]);
    let host = deployment.serve();
    assert!(ask(&host).stops_a_token(), "nothing was pushed yet");
    let north = roster("north");
    let (status, said) = push(&host, PUSH_SECRET, "", north.as_bytes());
    let expected =
        json!({"table": "roster", "state": "used", "version": version(&north), "rows": 100});
    assert_eq!((status, said), (200, expected));
    assert_eq!(ward(&deployment, &host), "north");

    // Who is not authenticated learns nothing, and nothing of the body is read.
    let (status, said) = push(&host, "another-secret", "", roster("vault").as_bytes());
    assert_eq!((status, &said["code"]), (401, &json!("unauthenticated")));
    host.wait_for(log_event("table.push-rejected").field("table", "roster"));

    // Every problem by row and column; no cell.
    let wrong = north
        .replace("person17@ward.test,south,", "person17@ward.test,south,Zebulon")
        .replace("3,person3@ward.test,", "3,,");
    let (status, said) = push(&host, PUSH_SECRET, "", wrong.as_bytes());
    assert_eq!((status, &said["code"]), (400, &json!("table-rows")), "{said}");
    let places: Vec<_> = said["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["row"].clone(), it["column"].clone()))
        .collect();
    assert_eq!(places, [(json!(6), json!("login")), (json!(20), json!("beds"))], "{said}");
    assert!(!said.to_string().contains("Zebulon"), "{said}");

    // Too large by its head, and by what follows a head that does not say.
    let large = north.clone() + &"9,many@ward.test,south,\n".repeat(5_000);
    let (status, said) = push(&host, PUSH_SECRET, "", large.as_bytes());
    assert_eq!((status, &said["code"]), (413, &json!("table-too-large")));
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let (status, _) =
        push(&host, PUSH_SECRET, "transfer-encoding: chunked\r\n", chunked.as_bytes());
    assert_eq!(status, 413);
    assert_eq!(ward(&deployment, &host), "north", "the last good version stays");

    // A version that waits, until the next set confirms it.
    let fewer: String = north.lines().take(60).map(|line| format!("{line}\n")).collect();
    let (status, said) = push(&host, PUSH_SECRET, "", fewer.as_bytes());
    assert_eq!((status, &said["state"]), (202, &json!("held")), "{said}");
    assert_eq!(ward(&deployment, &host), "north");
    let log = host.stop();
    assert!(!log.contains(PUSH_SECRET) && !log.contains("Zebulon") && !log.contains("person17"));
    let folder = deployment.path("trust-state/received-tables");
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, 1, "nothing of what was given up is left");

    // The host's own file outlives a restart, and goes with the declaration.
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north");
    let (status, _) = push(&host, PUSH_SECRET, "", roster("east").as_bytes());
    assert_eq!((status, ward(&deployment, &host)), (200, json!("east")));
    deployment.write("release/tables/roster.csv", roster("west"));
    deployment.forget_tables();
    deployment.declare_table(ROSTER, "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
    host.wait_for(portcullis_tests::release_active(3));
    let (status, said) = push(&host, PUSH_SECRET, "", roster("vault").as_bytes());
    assert_eq!((status, &said["code"]), (409, &json!("table-not-declared")), "{said}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "it holds personal data");
    host.stop();
    let loaded = deployment.records_of("table.loaded");
    let pushed = loaded.iter().filter(|it| it["version"] == version(&north)).count();
    assert!(pushed >= 1, "each version is on record: {loaded:?}");
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn the_listener_for_tables_takes_pushes_alone_and_the_admin_listener_takes_none() {
    let deployment = pushed("", "");
    let host = deployment.serve();
    let log = host.log();
    let address = log.first(log_event("tables.listening")).unwrap().text("address").to_owned();
    let request = |line: &str, secret: &str| {
        let mut socket = TcpStream::connect(&address).unwrap();
        let (status, said) = say(&mut socket, line, secret, "", b"");
        (status, said["code"].as_str().unwrap_or_default().to_owned())
    };
    for unknown in ["PUT /tables/networks", "PUT /", "GET /status", "PUT /tables/../roster"] {
        assert_eq!(request(unknown, PUSH_SECRET), (404, "table-unknown".to_owned()), "{unknown}");
    }
    assert_eq!(request("GET /tables/roster", PUSH_SECRET).0, 405);
    assert_eq!(request("GET /tables/roster", "no secret").0, 401, "before anything else");
    // An empty export is a failed one.
    assert_eq!(request("PUT /tables/roster", PUSH_SECRET), (400, "table-rows".to_owned()));

    let mut admin = TcpStream::connect(host.admin_address()).unwrap();
    let head = format!(
        "PUT /tables/roster HTTP/1.1\r\nhost: {}\r\nauthorization: {PUSH_SECRET}\r\n\
         content-length: 0\r\n\r\n",
        host.admin_address()
    );
    admin.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    admin.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");

    // A body that is cut off is not taken.
    let mut socket = TcpStream::connect(&address).unwrap();
    let head = format!(
        "PUT /tables/roster HTTP/1.1\r\nhost: t\r\nauthorization: {PUSH_SECRET}\r\n\
         content-length: 1000\r\n\r\nnumber,login"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    drop(socket.read_to_string(&mut answer));
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert!(ask(&host).stops_a_token(), "nothing was taken");
    host.stop();
    assert!(deployment.records_of("table.loaded").iter().all(|it| it["table"] != "roster"));
}

#[test]
fn a_signed_table_is_pushed_over_tls_with_its_signature_in_a_header() {
    let authority = Authority::new();
    let pair = authority.server();
    let tls = "[table_push.tls]\ncertificate = \"push.pem\"\nkey = \"push.key\"\n";
    let deployment = pushed("signed = true", tls);
    deployment.write("push.pem", &pair.certificate);
    deployment.write_secret("push.key", &pair.key);
    deployment.write("release/roster.csv.toml", declared("signed = true"));
    let host = deployment.serve();
    let log = host.log();
    let address = log.first(log_event("tables.listening")).unwrap().text("address").to_owned();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let put = |headers: &str, body: &str| {
        let name = "127.0.0.1".try_into().unwrap();
        let connection = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
        let socket = TcpStream::connect(&address).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        say(&mut stream, "PUT /tables/roster", PUSH_SECRET, headers, body.as_bytes())
    };
    let header = |rows: &str| {
        deployment.write("export.csv", rows);
        sign(&deployment, "export.csv", "data", None);
        let signature = std::fs::read(deployment.path("export.csv.sig")).unwrap();
        format!("portcullis-signature: {}\r\n", STANDARD.encode(signature))
    };
    let (status, said) = put("", &roster("north"));
    assert_eq!((status, &said["code"]), (400, &json!("table-signature")), "{said}");
    let of_north = header(&roster("north"));
    let (status, said) = put(&of_north, &roster("north"));
    assert_eq!((status, &said["state"]), (200, &json!("used")), "{said}");
    assert_eq!(ward(&deployment, &host), "north");
    let (status, said) = put(&of_north, &roster("vault"));
    assert_eq!((status, &said["code"]), (400, &json!("table-signature")), "{said}");
    let (status, said) = put("portcullis-signature: %%%\r\n", &roster("vault"));
    assert_eq!((status, &said["code"]), (400, &json!("table-signature")), "{said}");
    assert_eq!(ward(&deployment, &host), "north");
    let of_west = header(&roster("west"));
    assert_eq!(put(&of_west, &roster("west")).0, 200);
    assert_eq!(ward(&deployment, &host), "west");
}
