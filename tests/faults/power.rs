//! Lost power: of everything that the host wrote, only what a finished sync covers is still there.
//!
//! A trace of the system calls is played into a disk that promises as little as POSIX does: bytes
//! and length of a file are durable when an `fdatasync` that began after they were written has
//! finished; a name is durable when an `fsync` of its directory has. Then the process is killed,
//! its directory is replaced by what is durable, and the next one has to go on from there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use portcullis_tests::{Host, require_tool};

use super::answer_ledger::Ledger;
use super::kill_point::Moment;
use super::trace::{self, Call};
use super::{Chance, deployment};

#[test]
fn what_was_answered_survives_the_loss_of_every_byte_that_was_not_synced() {
    let deployment = deployment();
    let mut chance = Chance::new();
    let ledger = Ledger::default();
    // The first start is given to the disk whole, so that lives begin from a known one.
    drop(deployment.serve().stop());
    let audit = fs::canonicalize(deployment.path("audit")).unwrap();
    let output = deployment.path("trace");
    let mut lost = 0;
    for life in 0..LIVES {
        let command = require_tool!(trace::traced(&output));
        let mut disk = Disk::holding(&audit);
        let host = Host::start_with(&deployment.path(""), command);
        if life > 0 {
            let verified = deployment.verify_against("retained");
            assert_eq!(verified.code, 0, "life {life}: {}{}", verified.out, verified.err);
        }
        let enough = ledger.len() + 20 + usize::try_from(chance.below(20)).unwrap();
        let moment = Moment::of_life(life, &mut chance);
        ledger.under_load(host, |host| {
            ledger.until(enough);
            moment.wait(&deployment, &ledger);
            host.kill();
        });
        // An auditor may have kept a checkpoint whose name was not durable yet.
        deployment.write("retained", deployment.read("audit/log/checkpoint"));
        disk.play(&audit, &trace::read(&output));
        fs::rename(&audit, deployment.path(&format!("audit-{life}"))).unwrap();
        lost += disk.leave(&audit);
    }
    drop(deployment.serve().stop());
    assert_eq!(deployment.verify_against("retained").code, 0);
    ledger.hold_against(&deployment);
    // Otherwise this showed nothing.
    assert!(lost > 0, "the power took nothing");
    println!("{} answers, {lost} files and directories not as the kernel had them", ledger.len());
}

/// A disk that keeps what it was told to, and what it must.
struct Disk {
    nodes: Vec<Node>,
    /// The path that each descriptor was opened by last. The host names files below a folder that
    /// it holds open as `/proc/self/fd/NUMBER/…`.
    opened: BTreeMap<String, PathBuf>,
}

/// A file or a directory: as the kernel shows it, and as it is after the power is gone.
#[derive(Clone)]
enum Node {
    File { now: Vec<u8>, durable: Vec<u8> },
    Folder { now: Names, durable: Names },
}

type Names = BTreeMap<String, usize>;

impl Disk {
    /// One that holds this directory durably.
    fn holding(directory: &Path) -> Self {
        let mut disk = Self { nodes: Vec::new(), opened: BTreeMap::new() };
        disk.take_in(directory);
        disk
    }

    fn take_in(&mut self, path: &Path) -> usize {
        let at = self.nodes.len();
        if path.is_file() {
            let bytes = fs::read(path).unwrap();
            self.nodes.push(Node::File { now: bytes.clone(), durable: bytes });
            return at;
        }
        self.nodes.push(Node::Folder { now: Names::new(), durable: Names::new() });
        let mut names = Names::new();
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            names.insert(entry.file_name().into_string().unwrap(), self.take_in(&entry.path()));
        }
        self.nodes[at] = Node::Folder { now: names.clone(), durable: names };
        at
    }

    /// Plays what a host did below `root`.
    fn play(&mut self, root: &Path, calls: &[Call]) {
        // A sync covers what had been written when it began, and counts once it has finished.
        let mut moments: Vec<(usize, &Call, bool)> = Vec::new();
        for call in calls.iter().filter(|call| call.result >= 0) {
            let Some(ended) = call.ended else { continue };
            if is_sync(call) {
                moments.push((call.began, call, true));
            }
            moments.push((ended, call, false));
        }
        moments.sort_by_key(|(line, _, begins)| (*line, !begins));
        let mut covered: BTreeMap<usize, (usize, Node)> = BTreeMap::new();
        for (_, call, begins) in moments {
            if begins {
                if let Some(at) = self.find_descriptor(root, call) {
                    covered.insert(call.began, (at, self.nodes[at].clone()));
                }
            } else if is_sync(call) {
                if let Some((at, before)) = covered.remove(&call.began) {
                    self.make_durable(at, before);
                }
            } else {
                self.change(root, call);
            }
        }
    }

    fn change(&mut self, root: &Path, call: &Call) {
        let paths: Vec<_> = call.paths(root.parent().unwrap());
        let paths: Vec<_> = paths.into_iter().map(|path| self.resolve(path)).collect();
        if let (true, Some(path)) = (call.name.starts_with("open"), paths.first()) {
            self.opened.insert(call.result.to_string(), path.clone());
        }
        match call.name.as_str() {
            // Not `openat2`, whose flags stand in a structure, and no file without a name.
            "open" | "openat" if !call.says("O_TMPFILE") => {
                let path = &paths[0];
                let made = if call.says("O_CREAT") {
                    let empty = Node::File { now: Vec::new(), durable: Vec::new() };
                    self.create(root, path, empty)
                } else {
                    self.find(root, path)
                };
                if let Some(at) = made.filter(|_| call.says("O_TRUNC"))
                    && let Node::File { now, .. } = &mut self.nodes[at]
                {
                    now.clear();
                }
            }
            "mkdir" | "mkdirat" => {
                let empty = Node::Folder { now: Names::new(), durable: Names::new() };
                self.create(root, &paths[0], empty);
            }
            "pwrite64" => {
                let Some(at) = self.find_descriptor(root, call) else { return };
                let Node::File { now, .. } = &mut self.nodes[at] else {
                    panic!("a directory was written to")
                };
                let position = usize::try_from(call.last_number().unwrap()).unwrap();
                let bytes = &call.texts()[0][..usize::try_from(call.result).unwrap()];
                now.resize(now.len().max(position + bytes.len()), 0);
                now[position..position + bytes.len()].copy_from_slice(bytes);
            }
            "rename" | "renameat" | "renameat2" if !call.says("RENAME_EXCHANGE") => {
                let taken = self.take_name(root, &paths[0]);
                self.name_again(root, &paths, taken);
            }
            "link" | "linkat" => {
                let found = self.find(root, &paths[0]);
                self.name_again(root, &paths, found);
            }
            "unlink" | "unlinkat" | "rmdir" => {
                self.take_name(root, &paths[0]);
            }
            other => {
                let descriptor = PathBuf::from(call.descriptor());
                let elsewhere = |path: &PathBuf| !path.starts_with(root);
                // Written bytes need not be a path, but a path must not be below the
                // root.
                let writes = ["write", "writev", "sendto", "sendmsg"].contains(&other);
                let knows = elsewhere(&descriptor) && (writes || paths.iter().all(elsewhere));
                assert!(knows, "the disk does not know `{other}`");
            }
        }
    }

    fn make_durable(&mut self, at: usize, before: Node) {
        match (&mut self.nodes[at], before) {
            (Node::File { durable, .. }, Node::File { now, .. }) => *durable = now,
            (Node::Folder { durable, .. }, Node::Folder { now, .. }) => *durable = now,
            _ => panic!("a file became a directory"),
        }
    }

    /// Writes what is durable to this directory; gives the number of files that are not what they were.
    fn leave(&self, directory: &Path) -> usize {
        self.leave_at(0, directory)
    }

    fn leave_at(&self, at: usize, path: &Path) -> usize {
        match &self.nodes[at] {
            Node::File { now, durable } => {
                fs::write(path, durable).unwrap();
                usize::from(now != durable)
            }
            Node::Folder { now, durable } => {
                fs::create_dir(path).unwrap();
                let below: usize =
                    durable.iter().map(|(name, at)| self.leave_at(*at, &path.join(name))).sum();
                below + usize::from(now != durable)
            }
        }
    }

    /// The path with a leading `/proc/self/fd/NUMBER` replaced by what that descriptor was opened
    /// by.
    fn resolve(&self, path: PathBuf) -> PathBuf {
        let Ok(rest) = path.strip_prefix("/proc/self/fd") else { return path };
        let mut components = rest.components();
        let number = components.next().and_then(|one| one.as_os_str().to_str());
        match number.and_then(|number| self.opened.get(number)) {
            Some(folder) => folder.join(components.as_path()),
            None => path,
        }
    }

    /// The node at a path below `root`, by the names that the kernel shows.
    fn find(&self, root: &Path, path: &Path) -> Option<usize> {
        let below = path.strip_prefix(root).ok()?;
        below.components().try_fold(0, |at, component| match (&self.nodes[at], component) {
            (Node::Folder { now, .. }, Component::Normal(name)) => now.get(name.to_str()?).copied(),
            _ => None,
        })
    }

    fn find_descriptor(&self, root: &Path, call: &Call) -> Option<usize> {
        let path = call.descriptor();
        let found = self.find(root, Path::new(&path));
        assert!(
            found.is_some() || !Path::new(&path).starts_with(root),
            "`{path}` came from nowhere"
        );
        found
    }

    /// The node at that path, made if there is none.
    fn create(&mut self, root: &Path, path: &Path, node: Node) -> Option<usize> {
        if let Some(at) = self.find(root, path) {
            return Some(at);
        }
        path.strip_prefix(root).ok()?;
        self.nodes.push(node);
        let at = self.nodes.len() - 1;
        self.name(root, path, at);
        Some(at)
    }

    /// Gives a node, which had the first of these paths, the second one.
    fn name_again(&mut self, root: &Path, paths: &[PathBuf], node: Option<usize>) {
        match node {
            Some(at) => self.name(root, &paths[1], at),
            None => assert!(!paths[1].starts_with(root), "{paths:?}: from nowhere"),
        }
    }

    fn name(&mut self, root: &Path, path: &Path, at: usize) {
        if let Some((names, name)) = self.names(root, path) {
            names.insert(name, at);
        }
    }

    fn take_name(&mut self, root: &Path, path: &Path) -> Option<usize> {
        let (names, name) = self.names(root, path)?;
        names.remove(&name)
    }

    /// The names of the directory that holds this path, and the last of it.
    fn names(&mut self, root: &Path, path: &Path) -> Option<(&mut Names, String)> {
        let folder = self.find(root, path.parent()?)?;
        let name = path.file_name()?.to_str()?.to_owned();
        match &mut self.nodes[folder] {
            Node::Folder { now, .. } => Some((now, name)),
            Node::File { .. } => None,
        }
    }
}

fn is_sync(call: &Call) -> bool {
    ["fdatasync", "fsync"].contains(&call.name.as_str())
}

const LIVES: usize = 6;
