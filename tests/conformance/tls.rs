//! TLS, client certificates and HTTP/2, as a platform meets them; and strangers who connect and say nothing.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_tests::{
    Authority, Binding, Pair, Raw, SECRET, SetOnDrop, SignIn, TestDeployment, Trust, duties,
    send_2_plain,
};

fn deployment(authority: &Authority) -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    put(&deployment, &authority.server());
    deployment.configure(
        "[trust]",
        "[listen.tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n\n[trust]",
    );
    deployment
}

fn put(deployment: &TestDeployment, pair: &Pair) {
    deployment.write("tls.pem", &pair.certificate);
    deployment.write_secret("tls.key", &pair.key);
}

fn sign_in(secret: &str) -> Raw {
    Raw::post("/okta/token", secret, &SignIn::with_groups(&["ward-reader"]).bytes())
}

#[test]
fn both_versions_both_protocols_and_resumption() {
    let authority = Authority::new();
    let deployment = deployment(&authority);
    let host = deployment.serve();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let trust = Trust::with(&[version], &[&authority], None);
        let mut first = trust.connect(host.address()).unwrap();
        assert!(!first.resumed());
        for _ in 0..2 {
            assert_eq!(
                first.send(&sign_in(SECRET)).unwrap().without_reference(),
                "{}",
                "{version:?}"
            );
        }
        let mut second = trust.connect(host.address()).unwrap();
        assert!(second.resumed(), "{version:?}");
        assert_eq!(second.send(&sign_in(SECRET)).unwrap().without_reference(), "{}", "{version:?}");
        let requests: Vec<_> =
            (0..20).map(|_| sign_in(SECRET)).chain([sign_in("wrong-and-long-enough")]).collect();
        let answers = trust.send_2(host.address(), &requests);
        let (wrong, right) = answers.split_last().unwrap();
        assert!(wrong.stops_a_token(), "{version:?}");
        assert!(
            right.iter().all(|answer| answer.without_reference() == "{}"),
            "{version:?}: {right:?}"
        );
    }
    let stranger = Trust::new(&[&Authority::new()], None);
    assert!(stranger.connect(host.address()).is_err(), "another authority");
    // Plain HTTP is not spoken here.
    let mut socket = host.client().connect().unwrap();
    socket
        .write_all(b"POST /okta/token HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}")
        .unwrap();
    let mut said = Vec::new();
    drop(socket.read_to_end(&mut said));
    assert!(!said.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&said));
    host.stop();
    // Delivery is noted over either protocol: 2 x (3 + 20) decisions left.
    let delivered: u64 = deployment
        .records_of("answer.sent")
        .iter()
        .map(|it| it["delivered"].as_u64().unwrap())
        .sum();
    assert_eq!(delivered, 46);
}

#[test]
fn a_certificate_rotates_under_load_and_a_wrong_one_changes_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let deployment = deployment(&old);
    let host = deployment.serve();
    let (both, only_new) = (Trust::new(&[&old, &new], None), Trust::new(&[&new], None));
    let mut standing = both.connect(host.address()).unwrap();
    assert_eq!(standing.send(&sign_in(SECRET)).unwrap().status, 200);
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            // Each call on a connection of its own.
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let trust = Trust::new(&[&old, &new], None);
                    let answer = trust
                        .connect(host.address())
                        .and_then(|mut it| it.send(&sign_in(SECRET)))
                        .unwrap();
                    assert_eq!(answer.without_reference(), "{}");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _ends = SetOnDrop(&done);
        assert!(only_new.connect(host.address()).is_err());
        // A key that does not belong to the certificate, no key, no certificate.
        for (name, wrong) in [
            ("tls.key", new.server().key),
            ("tls.key", String::new()),
            ("tls.pem", "no PEM".to_owned()),
        ] {
            let before = deployment.read(name);
            deployment.write_secret(name, &wrong);
            let said = host.reload_until(["files.not-taken"]);
            assert!(!said.contains("PRIVATE"), "{said}");
            deployment.write_secret(name, &before);
        }
        assert!(only_new.connect(host.address()).is_err(), "the old one is still active");
        put(&deployment, &new.server());
        host.signal("HUP");
        host.wait_for("tls.changed");
        assert_eq!(
            only_new.connect(host.address()).unwrap().send(&sign_in(SECRET)).unwrap().status,
            200
        );
        thread::sleep(Duration::from_millis(300));
    });
    assert!(calls.into_inner() > 5);
    assert_eq!(
        standing.send(&sign_in(SECRET)).unwrap().without_reference(),
        "{}",
        "a connection that stood"
    );
    host.stop();
}

#[test]
fn a_client_certificate_is_pinned_by_name_and_a_wrong_one_is_told_in_the_hooks_own_words() {
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let deployment = deployment(&servers);
    deployment.write("clients.pem", clients.pem());
    deployment.configure("key = \"tls.key\"", "key = \"tls.key\"\nclient_ca = \"clients.pem\"");
    deployment.configure(
        "caller = { secret_file = \"secrets/token\" }",
        "caller = { certificate = { dns = [\"ping.hospital.test\"], uri = [\"spiffe://hospital.test/ping\"] } }",
    );
    let host = deployment.serve();
    let call = |own: Option<&Pair>| {
        let trust = Trust::new(&[&servers], own);
        let one = trust.connect(host.address()).unwrap().send(&sign_in("nothing")).unwrap();
        let two = trust.send_2(host.address(), &[sign_in("nothing")]).remove(0);
        assert_eq!(one.without_reference(), two.without_reference());
        one
    };
    for (dns, uri) in [
        ("ping.hospital.test", "spiffe://x/y"),
        ("PING.hospital.test", "spiffe://x/y"),
        ("a.test", "spiffe://hospital.test/ping"),
    ] {
        assert_eq!(call(Some(&clients.client(dns, uri))).without_reference(), "{}", "{dns} {uri}");
    }
    let good = others.client("ping.hospital.test", "spiffe://hospital.test/ping");
    assert!(call(Some(&good)).stops_a_token(), "another authority's");
    assert!(
        call(Some(&clients.client("ping2.hospital.test", "spiffe://hospital.test/ping2")))
            .stops_a_token()
    );
    assert!(call(None).stops_a_token());
    // The authorities rotate, and connections that stand are judged anew.
    let mut standing = Trust::new(&[&servers], Some(&good)).connect(host.address()).unwrap();
    assert!(standing.send(&sign_in("nothing")).unwrap().stops_a_token());
    deployment.write("clients.pem", others.pem());
    host.signal("HUP");
    host.wait_for("tls.changed");
    assert_eq!(standing.send(&sign_in("nothing")).unwrap().without_reference(), "{}");
    host.stop();
    let counted: Vec<_> = deployment
        .records_of("hook.rejected")
        .iter()
        .map(|it| format!("{} {}", it["detail"], it["count"]))
        .collect();
    let total = |detail: &str| -> u64 {
        let mine =
            deployment.records_of("hook.rejected").into_iter().filter(|it| it["detail"] == detail);
        mine.map(|it| it["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(
        [total("certificate-untrusted"), total("certificate-name"), total("no-certificate")],
        [3, 2, 2],
        "{counted:?}"
    );
}

#[test]
fn http_2_without_tls_on_this_machine() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let requests: Vec<_> = (0..30).map(|_| sign_in(SECRET)).collect();
    let answers = send_2_plain(host.address(), &requests);
    assert!(answers.iter().all(|answer| answer.without_reference() == "{}"), "{answers:?}");
    let large = Raw::post("/okta/token", SECRET, &vec![b' '; 300_000]);
    assert!(send_2_plain(host.address(), &[large]).remove(0).stops_a_token(), "too large");
    // Words that begin alike.
    for said in ["PRI * HTTP/1.1\r\nhost: h\r\n\r\n", "P", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        let mut socket = host.client().connect().unwrap();
        socket.write_all(said.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        drop(socket.read_to_end(&mut heard));
        assert!(!heard.starts_with(b"HTTP/1.1 200"), "{said}");
    }
    assert_eq!(host.sign_in(&SignIn::with_groups(&["ward-reader"])).without_reference(), "{}");
    host.stop();
}

#[test]
fn strangers_who_say_nothing_or_say_it_slowly_keep_nobody_out() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("[trust]", "max_connections = 8\n\n[trust]");
    let host = deployment.serve();
    let mut platform = host.client();
    assert_eq!(platform.send(&sign_in(SECRET)).unwrap().without_reference(), "{}");
    let mut strangers = Vec::new();
    for number in 0..40 {
        let mut socket = host.client().connect().unwrap();
        // Silent, a head that never ends, a preface that never ends.
        let word: &[u8] = [&b""[..], b"POST /okta/token HTTP/1.1\r\nx: ", b"PRI * HT"][number % 3];
        drop(socket.write_all(word));
        strangers.push(socket);
        if number % 10 == 9 {
            assert_eq!(
                host.sign_in(&SignIn::with_groups(&["ward-reader"])).without_reference(),
                "{}",
                "{number}"
            );
        }
    }
    assert_eq!(
        platform.send(&sign_in(SECRET)).unwrap().without_reference(),
        "{}",
        "a proven connection stays"
    );
    host.stop();
}
