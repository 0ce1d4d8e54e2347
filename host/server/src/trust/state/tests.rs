//! What is remembered although the log did not take it, in this run and after a restart.

use std::fs;
use std::sync::atomic::AtomicU64;

use portcullis_audit::{Options, SealKey, Sealer};
use portcullis_trust::{RevokedPlugins, RootSource, sign};

use super::*;

/// A folder with everything that a keeper reads.
struct Home {
    folder: tempfile::TempDir,
    config: Config,
    place: LogLocation,
    root_key: SecretKey,
    source: String,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str, seed| SecretKey::from_seed(name, &[seed; 32]).unwrap();
        let (root_key, release) = (key("root.example", 1), key("keeper.example", 2));
        let log = key("log.example/2026", 3);
        let source = format!(
            "[validity]\ndays = 365\n[root]\nkeys = [\"{}\"]\nthreshold = 1\n[release]\nkeys = [\"{}\"]\n\
             threshold = 1\n[log]\nkeys = [\"{}\"]\n[[publisher]]\nname = \"team\"\nkeys = [\"{}\"]\n\
             threshold = 1\nplugin_prefix = \"org.example.\"\nhooks = [\"okta.token\"]\n",
            root_key.public(),
            release.public(),
            log.public(),
            key("team.example", 4).public(),
        );
        let text = "[listen]\naddress = \"127.0.0.1:0\"\n[trust]\nroot = \"root.json\"\n[release]\nset = \"set.json\"\n\
             plugins = \"plugins\"\nsettings = \"settings\"\n[audit]\ndirectory = \"audit\"\norigin = \"log.example/2026\"\n\
             signing_key = \"k\"\nsealing_key = \"k\"\npseudonym_key = \"k\"\n[[hook]]\nname = \"token\"\n\
             kind = \"okta.token\"\npath = \"/token\"\ncaller = { secret_file = \"secret\" }\n";
        let file = folder.path().join("portcullis.toml");
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let place =
            LogLocation { directory: config.audit.directory.clone(), signer: Arc::new(log) };
        let home = Self { folder, config, place, root_key, source };
        home.sign("root.json", None);
        fs::create_dir(home.folder.path().join("trust-roots")).unwrap();
        home
    }

    /// Signs a trust root, which follows another one.
    fn sign(&self, name: &str, before: Option<&TrustRoot>) {
        let source = RootSource::parse(&self.source).unwrap();
        let payload = source.to_payload(before, Clock::system().now()).unwrap();
        let root = sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&self.root_key]);
        fs::write(self.folder.path().join(name), root).unwrap();
    }

    fn log(&self) -> Log {
        let sealer = Sealer::new(SealKey::new(SymmetricKey::from_bytes([9; 32])));
        let signer = Arc::clone(&self.place.signer);
        let clock = Arc::new(|| Clock::system().now().0.into());
        let directory = self.place.directory.clone();
        let options = Options::new(directory, "default".to_owned(), signer, sealer, clock);
        Log::open(Options { segment_bytes: 2 << 20, ..options }).unwrap().0
    }

    fn keeper(&self) -> TrustState {
        let sealing = SymmetricKey::from_bytes([7; 32]);
        let folder = StateDirLock::acquire(&self.config.trust).unwrap();
        let mut trust_state =
            TrustState::prepare(&self.config, &sealing, &self.place, &Clock::system()).unwrap();
        trust_state.attach_lock(folder);
        trust_state
    }

    /// A start: keeper and log, with everything said that was to be said.
    fn start(&self) -> (TrustState, Log) {
        let mut trust_state = self.keeper();
        let log = self.log();
        trust_state.open(&self.config, &self.place).unwrap();
        trust_state.record_startup_findings(&log);
        (trust_state, log)
    }

    fn count(&self, kind: &str) -> usize {
        let key = self.place.signer.public();
        let log = reader(&OsDisk, &self.place.directory, key).unwrap().unwrap();
        let mut count = 0;
        let it = |_, leaf: &[u8]| count += usize::from(Record::parse(leaf).unwrap().kind == kind);
        log.scan(0, it).unwrap();
        count
    }
}

fn revoked(serial: u64) -> RevokedPlugins {
    let serials = [("org.example.a".to_owned(), [serial].into())].into();
    RevokedPlugins { serials, ..RevokedPlugins::default() }
}

/// A revocation and a trust root arrive while the log takes nothing.
fn miss(home: &Home, trust_state: &mut TrustState, stopped: &Log) {
    let new = revoked(3);
    trust_state.state.history.revoked.merge(&new);
    trust_state.record_revoked(stopped, &new);
    home.sign("trust-roots/2.json", Some(trust_state.root()));
    let arrived = ArrivedRoots::read(&home.config.trust.roots, 1);
    assert!(trust_state.load_new_roots(arrived, stopped).0);
    assert!(trust_state.state.unrecorded, "the file tells that the log lacks something");
    assert!(trust_state.history().revoked.includes(&new) && trust_state.root().version == 2);
}

#[test]
fn what_the_log_did_not_take_is_recorded_when_it_takes_records_again() {
    let home = Home::new();
    let (mut trust_state, log) = home.start();
    assert!(!trust_state.state.unrecorded);
    log.close().unwrap();
    miss(&home, &mut trust_state, &log);
    trust_state.refresh(&log, Learned::default);
    assert!(trust_state.state.unrecorded, "the log still takes nothing");
    drop(log);
    let log = home.log();
    trust_state.refresh(&log, Learned::default);
    assert!(trust_state.state.unrecorded, "it is not tried again at once");
    trust_state.retried = None;
    trust_state.refresh(&log, Learned::default);
    assert!(!trust_state.state.unrecorded);
    // Once is enough.
    trust_state.retried = None;
    trust_state.refresh(&log, Learned::default);
    log.close().unwrap();
    assert_eq!((home.count("trust.revoked"), home.count("trust.root")), (1, 2));
}

#[test]
fn what_the_log_did_not_take_is_recorded_by_the_next_start() {
    let home = Home::new();
    let (mut trust_state, log) = home.start();
    log.close().unwrap();
    miss(&home, &mut trust_state, &log);
    trust_state.close(Learned::default);
    drop((trust_state, log));
    for _ in 0..2 {
        let (mut trust_state, log) = home.start();
        assert!(!trust_state.state.unrecorded);
        assert!(trust_state.history().revoked.includes(&revoked(3)));
        log.close().unwrap();
        trust_state.close(Learned::default);
        assert_eq!((home.count("trust.revoked"), home.count("trust.root")), (1, 2));
    }
}

#[test]
fn what_a_start_found_is_recorded_although_the_log_took_nothing_then() {
    let home = Home::new();
    fs::create_dir_all(&home.config.trust.state).unwrap();
    fs::write(home.config.trust.state.join(STATE_FILE), "not ours").unwrap();
    let mut trust_state = home.keeper();
    let log = home.log();
    trust_state.open(&home.config, &home.place).unwrap();
    log.close().unwrap();
    trust_state.record_startup_findings(&log);
    drop(log);
    let log = home.log();
    trust_state.refresh(&log, Learned::default);
    log.close().unwrap();
    assert_eq!((home.count("trust.state-corrupt"), home.count("trust.root")), (1, 1));
}

#[test]
fn a_trust_root_that_could_not_be_kept_is_kept_once_the_disk_takes_it() {
    let home = Home::new();
    let (mut trust_state, log) = home.start();
    // A file in the place of the folder: whoever the test runs as, nothing can be written there.
    let kept = home.config.trust.state.join("roots");
    fs::remove_dir_all(&kept).unwrap();
    fs::write(&kept, "").unwrap();
    home.sign("trust-roots/2.json", Some(trust_state.root()));
    let arrived = ArrivedRoots::read(&home.config.trust.roots, 1);
    assert!(trust_state.load_new_roots(arrived, &log).0);
    fs::remove_file(&kept).unwrap();
    trust_state.persist_roots();
    assert!(kept.join("000002.json").exists());
    // It is the host's own copy that the next start goes by.
    fs::remove_file(home.folder.path().join("trust-roots/2.json")).unwrap();
    log.close().unwrap();
    trust_state.close(Learned::default);
    drop((trust_state, log));
    assert_eq!(home.start().0.root().version, 2);
}

#[test]
fn what_a_trust_root_revokes_that_waits_for_the_clock_holds_whatever_its_folder_answers() {
    let home = Home::new();
    let (mut trust_state, log) = home.start();
    let confirmed = trust_state.trusted_time();
    let now = Clock::system().now();
    let ahead = Arc::new(AtomicU64::new(now.0 + 400 * 24 * 60 * 60 * 1_000));
    trust_state.trusted_time = Arc::new(TrustedTime::new(Clock::fixed(ahead), now, &[]));
    assert!(trust_state.trusted_time.is_unconfirmed());
    home.sign("trust-roots/2.json", Some(trust_state.root()));
    let read = || ArrivedRoots::read(&home.config.trust.roots, 1);
    assert!(!trust_state.load_new_roots(read(), &log).0);
    let versions = |trust_state: &TrustState| {
        (trust_state.root().version, trust_state.strictest_root().version)
    };
    assert_eq!(versions(&trust_state), (1, 2), "it waits, and what it revokes holds");
    // The folder does not answer in time, and answers then.
    assert!(!trust_state.load_new_roots(ArrivedRoots::default(), &log).0);
    assert_eq!(versions(&trust_state), (1, 2));
    trust_state.trusted_time = confirmed;
    assert!(!trust_state.load_new_roots(ArrivedRoots::default(), &log).0);
    assert_eq!(versions(&trust_state), (1, 2), "also once the clock is confirmed");
    assert!(trust_state.load_new_roots(read(), &log).0);
    assert_eq!(versions(&trust_state), (2, 2));
    assert!(trust_state.pending_root.is_none());
}

#[test]
fn what_the_hosts_own_folder_does_not_take_is_in_the_second_copy() {
    let mut home = Home::new();
    let second = home.folder.path().join("second");
    fs::create_dir(&second).unwrap();
    home.config.audit.state_copy = Some(second.clone());
    let (mut trust_state, log) = home.start();
    let copy = |trust_state: &TrustState| {
        assert!(trust_state.state_copy.as_ref().unwrap().flush(Duration::from_secs(60)));
        let Ok(LoadedState::State(memory)) =
            PersistedState::read(&second.join(STATE_FILE), &trust_state.mac)
        else {
            panic!("the second copy cannot be read")
        };
        *memory
    };
    let before = copy(&trust_state);
    // A folder in the place of the file: whoever the test runs as, nothing can be written there.
    let file = home.config.trust.state.join(STATE_FILE);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    trust_state.state.history.revoked.merge(&revoked(3));
    trust_state.record_revoked(&log, &revoked(3));
    assert!(trust_state.saved.is_none(), "the host's own file could not be written");
    assert!(copy(&trust_state).history.revoked.includes(&revoked(3)));
    // And at the end it has the head that the log was closed with.
    log.close().unwrap();
    trust_state.close(Learned::default);
    let after = copy(&trust_state);
    assert!(after.size() > before.size(), "{} {}", after.size(), before.size());
}

/// A break-glass document that is spent, as the keeper remembers it.
fn spent() -> TrustHistory {
    TrustHistory {
        used_documents: [("ab".repeat(16), Millis(9))].into(),
        ..TrustHistory::default()
    }
}

#[test]
fn what_others_record_counts_as_recorded_only_once_it_is_durable() {
    let home = Home::new();
    let (mut trust_state, log) = home.start();
    trust_state.retried = None;
    trust_state.refresh(&log, || Learned { known: spent(), ..Learned::default() });
    assert!(trust_state.state.unrecorded, "the file tells that the log lacks something");
    assert_eq!(home.count("trust.imported"), 0, "whoever gave it to the log sees to it");
    trust_state.refresh(&log, || Learned { recorded: spent(), ..Learned::default() });
    assert!(!trust_state.state.unrecorded);
    log.close().unwrap();
    trust_state.close(Learned::default);
    assert_eq!(home.count("trust.imported"), 0);
}

#[test]
fn what_others_could_not_record_is_recorded_by_the_next_start() {
    let home = Home::new();
    let (mut trust_state, log) = home.start();
    log.close().unwrap();
    // The log takes nothing, and the process ends.
    trust_state.close(|| Learned { known: spent(), ..Learned::default() });
    drop((trust_state, log));
    for _ in 0..2 {
        let (mut trust_state, log) = home.start();
        assert!(!spent().minus(trust_state.history()));
        log.close().unwrap();
        trust_state.close(Learned::default);
        assert_eq!(home.count("trust.imported"), 1);
    }
}
