//! Folders that others fill: whatever lies in them, the host answers, keeps its memory, goes on
//! polling and stops in order.
//!
//! Each round plants a random set of FIFOs, devices, links, sparse files, odd names, sub-folders
//! and files that change while they are read, before a start and while the host serves. The seed is
//! printed with a failure.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Binding, CONFLICT, Host, SetOnDrop, SignIn, TestDeployment, binary, duties, release_active,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

/// A deployment whose folders are planted, and what a round plants.
struct Planter {
    state: u64,
    planted: Vec<PathBuf>,
}

/// Files that change while they are read.
const CHANGING: usize = 2;
/// More memory than this over that of the start is a leak: one component of the largest size, and
/// room.
const MAX_GROWTH_KIB: u64 = 192 << 10;
/// The time that a call may take while folders are full: far less than any platform waits.
const PATIENCE: Duration = Duration::from_secs(3);

impl Planter {
    fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), planted: Vec::new() }
    }

    /// SplitMix64 (Steele et al. 2014).
    fn next(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((value ^ (value >> 31)) % below as u64).unwrap()
    }

    /// A name with one of the endings that are looked for, or another.
    fn name(&mut self) -> OsString {
        let number = self.next(1_000_000);
        let stem = match self.next(8) {
            0 => format!("._{number}"),
            1 => format!("{number}\nx"),
            2 => format!("-rf {number}"),
            3 => "n".repeat(150) + &number.to_string(),
            4 => format!("sod.{number}"),
            _ => format!("0{number}"),
        };
        let ends = ["wasm", "json", "manifest.json", "suite.json", "open.json", "close", "txt"];
        let end = ends[self.next(ends.len())];
        let mut bytes = format!("{stem}.{end}").into_bytes();
        if self.next(10) == 0 {
            bytes.insert(0, 0xff);
        }
        OsString::from_vec(bytes)
    }

    /// Puts one thing into a folder.
    fn plant(&mut self, folder: &Path) {
        let path = folder.join(self.name());
        if fs::symlink_metadata(&path).is_ok() {
            return;
        }
        self.planted.push(path.clone());
        let link = |to: &str| symlink(to, &path).unwrap();
        match self.next(12) {
            0 => fifo(&path),
            // Not everybody may make a device; everybody may link to one.
            1 => {
                let device = rustix::fs::makedev(1, 5);
                let mode = Mode::RUSR | Mode::WUSR;
                if mknodat(CWD, &path, FileType::CharacterDevice, mode, device).is_err() {
                    link("/dev/zero");
                }
            }
            2 => link("/dev/zero"),
            3 => link("/proc/self/mem"),
            4 => link("nowhere"),
            5 => symlink(path.file_name().unwrap(), &path).unwrap(),
            6 => link("/"),
            7 => sparse(&path, [1 << 10, 64 << 20, (64 << 20) + 1, 1 << 40][self.next(4)]),
            8 => fs::create_dir(&path).unwrap(),
            9 => {
                fs::write(&path, "{}").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            }
            10 => fs::write(&path, vec![b'['; self.next(100_000)]).unwrap(),
            _ => fs::write(&path, "not what it should be").unwrap(),
        }
    }

    /// Takes everything away again that was planted.
    fn clear(&mut self) {
        for path in std::mem::take(&mut self.planted) {
            if fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_dir()) {
                fs::remove_dir_all(path).unwrap();
            } else {
                drop(fs::remove_file(path));
            }
        }
    }
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn sparse(path: &Path, bytes: u64) {
    File::create(path).unwrap().set_len(bytes).unwrap();
}

/// The folders of a deployment that others may fill.
fn folders(deployment: &TestDeployment) -> Vec<PathBuf> {
    let names = [
        "release/plugins",
        "release/settings",
        "release",
        "trust-roots",
        "break-glass",
        "secrets",
        ".",
    ];
    for name in names {
        fs::create_dir_all(deployment.path(name)).unwrap();
    }
    names.map(|name| deployment.path(name)).to_vec()
}

/// The largest memory that a process has had, KiB.
fn peak_kib(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A call is answered in time, and decided.
fn decides(host: &Host, what: &str) {
    let begin = Instant::now();
    let answer = host.sign_in(&SignIn::with_groups(&CONFLICT));
    assert!(answer.stops_a_token(), "{what}: {answer:?}");
    assert!(answer.index().is_some(), "{what}: not recorded");
    let took = begin.elapsed();
    assert!(took < PATIENCE, "{what}: a call took {took:?}");
}

/// Replaces a file by renaming, as whoever means harm would.
fn replace(path: &Path, plant: impl FnOnce(&Path)) {
    let beside = path.with_file_name("planted.tmp");
    plant(&beside);
    fs::rename(&beside, path).unwrap();
}

/// Puts something in the place of a file.
type Plant = fn(&Path);

/// Things that may stand in the place of a file.
const REPLACEMENTS: [(&str, Plant); 6] = [
    ("a FIFO", fifo),
    ("a link to /dev/zero", |path| symlink("/dev/zero", path).unwrap()),
    ("a link to /proc/self/mem", |path| symlink("/proc/self/mem", path).unwrap()),
    ("a link to nowhere", |path| symlink("nowhere", path).unwrap()),
    ("a sparse file", |path| sparse(path, 1 << 40)),
    ("a file that is no release", |path| fs::write(path, "{}").unwrap()),
];

/// One round: plants before a start and while the host serves, and holds the host to what it
/// promises.
fn round(seed: u64, planted: usize, many: usize) {
    println!("seed {seed}");
    let mut planter = Planter::new(seed);
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let folders = folders(&deployment);
    for number in 0..planted {
        planter.plant(&folders[number % folders.len()]);
    }
    let host = deployment.serve();
    host.wait_for(release_active(1));
    decides(&host, "after a start among planted files");
    let at_start = peak_kib(&host);
    let size = fs::metadata(deployment.path("release/plugins/sod.wasm")).unwrap().len();

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let changing = deployment.path("release/plugins");
        let ends = SetOnDrop(&over);
        for number in 0..CHANGING {
            let (path, over) = (changing.join(format!("changing{number}.wasm")), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut file =
                        OpenOptions::new().create(true).append(true).open(&path).unwrap();
                    file.write_all(&[7; 50_000]).unwrap();
                    if file.metadata().unwrap().len() > 1 << 20 {
                        fs::remove_file(&path).unwrap();
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        for number in 0..planted {
            planter.plant(&folders[number % folders.len()]);
        }
        // Sparse files of the very size of the signed component, and of the largest that is read:
        // all of them no more than a few hundred kilobytes of disk.
        for number in 0..40 {
            let path = deployment.path(&format!("release/plugins/0{number}.sparse.wasm"));
            sparse(&path, if number % 2 == 0 { size } else { 64 << 20 });
            planter.planted.push(path);
        }
        for number in 0..many {
            for (folder, end) in [("release/plugins", "wasm"), ("break-glass", "open.json")] {
                let path = deployment.path(&format!("{folder}/!{number}.{end}"));
                fs::write(&path, format!("stray {number}")).unwrap();
                planter.planted.push(path);
            }
        }
        decides(&host, "while files are planted");
        // The file in the set's place is refused, and the active release goes on.
        let good = fs::read(deployment.path("release/release.json")).unwrap();
        for (what, plant) in REPLACEMENTS {
            replace(&deployment.path("release/release.json"), plant);
            host.reload_until(["release.refused"]);
            decides(&host, what);
        }
        replace(&deployment.path("release/release.json"), |path| fs::write(path, &good).unwrap());
        drop(ends);
    });
    // The folders are still looked at: a good release, a trust root and a new secret are taken
    // among all of that.
    let mut lenient = duties();
    lenient["rules"][0]["action"] = json!("allow");
    deployment.release(&[Binding::new("token", "sod", lenient)]);
    host.wait_for(release_active(2));
    let ran = deployment.next_root(2, &["root"], |source| source);
    assert_eq!(ran.code, 0, "{ran:?}");
    host.wait_for("trust.root-accepted");
    replace(&deployment.path("secrets/token"), fifo);
    host.reload_until(["files.not-taken"]);
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(), "generation 2 decides");
    let ready = host.admin("/ready");
    assert_eq!(ready.status, 200, "{ready:?}");
    let peak = peak_kib(&host);
    println!("seed {seed}: {at_start} KiB at the start, {peak} KiB at most");
    assert!(peak < at_start + MAX_GROWTH_KIB, "{at_start} KiB at the start, {peak} KiB at most");
    let begin = Instant::now();
    host.stop();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "the stop took {took:?}");
    planter.clear();
    drop(fs::remove_file(deployment.path("changing0.wasm")));
    assert_eq!(deployment.verify().code, 0);
    somebody_elses_log(&mut planter, &deployment);
}

/// A log that was copied from elsewhere, with anything in it: `audit verify` ends in time and says
/// that it is not whole.
fn somebody_elses_log(planter: &mut Planter, deployment: &TestDeployment) {
    deployment.back_up(&["audit"], "copied");
    let log = deployment.path("copied/audit/log");
    let mut files = Vec::new();
    let mut folders = vec![log.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for (what, plant) in REPLACEMENTS {
        let victim = &files[planter.next(files.len())];
        let good = fs::read(victim).unwrap();
        replace(victim, plant);
        let mut verify = Command::new("timeout");
        verify.arg("60").arg(binary()).args(["audit", "verify", "--log", "copied/audit/log"]);
        let ran =
            verify.args(["--vkey", "log.vkey"]).current_dir(deployment.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        // A superseded tile may be missing; whatever else is not what was signed is named.
        assert!(
            matches!(ran.status.code(), Some(0 | 1)),
            "{what} in {}: {:?} {said}",
            victim.display(),
            ran.status
        );
        replace(victim, |path| fs::write(path, good).unwrap());
    }
}

#[test]
fn a_host_among_planted_files_answers_polls_and_stops() {
    for seed in 1..=2 {
        round(seed, 80, 1_000);
    }
}

#[test]
#[ignore = "long: ten minutes of random folders"]
fn a_host_among_many_planted_files_answers_polls_and_stops() {
    let begin = Instant::now();
    for seed in 1_000.. {
        round(seed, 300, 12_000);
        if begin.elapsed() > Duration::from_secs(600) {
            break;
        }
    }
}

#[test]
fn a_start_with_something_else_in_a_files_place_ends_or_serves_and_never_hangs() {
    for (what, plant) in REPLACEMENTS {
        let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
        // Without a release the host serves, and every call gets its safe answer.
        replace(&deployment.path("release/release.json"), plant);
        let host = deployment.serve();
        host.wait_for("release.none");
        assert!(host.sign_in(&SignIn::with_groups(&[])).stops_a_token(), "{what}");
        host.stop();
        // Without its own files it ends at once and says why.
        for name in ["portcullis.toml", "secrets/token", "trust-root.json"] {
            let good = fs::read(deployment.path(name)).unwrap();
            replace(&deployment.path(name), plant);
            let mut serve = Command::new("timeout");
            serve.arg("60").arg(binary()).args(["serve", "--config", "portcullis.toml"]);
            let ran = serve.current_dir(deployment.path("")).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(ran.status.code(), Some(64), "{what} in place of {name}: {said}");
            assert!(said.contains(name), "{what} in place of {name}: {said}");
            replace(&deployment.path(name), |path| {
                fs::write(path, good).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            });
        }
    }
}

#[test]
fn planted_links_are_never_followed_when_the_host_writes() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    fs::create_dir(deployment.path("trust-state")).unwrap();
    fs::set_permissions(deployment.path("trust-state"), fs::Permissions::from_mode(0o777)).unwrap();
    deployment.write("victim", "untouched");
    let plant = |name: &str| symlink(deployment.path("victim"), deployment.path(name)).unwrap();
    for name in ["trust-state/memory.new", "trust-state/memory", "release/.release.json.new"] {
        plant(name);
    }
    let host = deployment.serve();
    decides(&host, "with links in the host's own folder");
    assert!(host.log().has("trust.state-folder-closed"), "{}", host.log());
    host.stop();
    let mode = fs::metadata(deployment.path("trust-state")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // A command replaces a link and does not write through it.
    let set = deployment.path("release/release.json");
    let archive = fs::read(&set).unwrap();
    fs::remove_file(&set).unwrap();
    plant("release/release.json");
    deployment.write("set.json", archive);
    let publish = ["release", "publish", "--set", "set.json", "--from", "release"];
    deployment.must(&[&publish[..], &["--to", "release", "--root", "trust-root.json"]].concat());
    assert!(!fs::symlink_metadata(&set).unwrap().file_type().is_symlink());
    assert_eq!(deployment.read("victim"), "untouched");
}
