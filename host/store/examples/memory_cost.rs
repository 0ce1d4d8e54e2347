//! Measures what plugin memory costs: nanoseconds an operation, bytes a subject, and the disk view.
//!
//! `cargo run --release -p portcullis-store --example memory_cost [SUBJECTS] [DIR]`

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measuring tool")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use portcullis_keys::SymmetricKey;
use portcullis_store::memory::{
    ImportItem, ImportOwner, ImportWhat, Memory, Namespace, NamespaceName, Quota, Scope,
    Transaction,
};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let argument =
        |place: usize, default: &str| env::args().nth(place).unwrap_or_else(|| default.to_owned());
    if argument(1, "") == "open" {
        return open(Path::new(&argument(2, ".")));
    }
    let subjects: u64 = argument(1, "100000").parse().unwrap();
    let folder = tempfile::tempdir_in(argument(2, ".")).unwrap();
    let key = SymmetricKey::from_bytes([7; 32]);
    let (memory, _) = Memory::open(folder.path(), &key).unwrap();
    let name = NamespaceName::new("default", "org.example.risk", "live").unwrap();
    let mut quota = Quota::default();
    quota.subject.bytes *= 4;
    quota.subject.entries *= 4;
    let namespace = memory.namespace(&name, quota).unwrap();

    let before = resident();
    let filling = Instant::now();
    for first in (0..subjects).step_by(1000) {
        let items: Vec<_> = (first..first + 1000).flat_map(items_of).collect();
        for changes in memory.import(&namespace, &items, NOW).unwrap() {
            memory.apply(memory.applied(), &changes).unwrap();
        }
    }
    let usage = memory.usage(&namespace);
    println!(
        "{subjects} subjects, each a value of 700 bytes and 3 counters of 8 events, in {:.1} s: {} \
         bytes resident each, {} of them items",
        filling.elapsed().as_secs_f64(),
        (resident() - before) / subjects,
        usage.subject.0 / subjects - 96,
    );

    operations(&memory, &namespace, subjects);

    let flushing = Instant::now();
    let flushed = memory.flush(NOW).unwrap();
    let path = folder.path().join("memory.redb");
    println!(
        "flush of {} cells in {:.1} s, file of {} MB, {} bytes resident each",
        flushed.cells,
        flushing.elapsed().as_secs_f64(),
        fs::metadata(&path).unwrap().len() >> 20,
        (resident() - before) / subjects,
    );
    let batches = Instant::now();
    for batch in 0..20 {
        for step in 0..1000 {
            let subject = (batch * 1000 + step) * 7919 % subjects;
            run(&memory, &namespace, subject, |call| {
                call.tally(Scope::Subject, b"failures", 600).unwrap();
            });
        }
        memory.flush(NOW).unwrap();
    }
    println!(
        "1000 calls and their flush: {:.0} ms",
        batches.elapsed().as_secs_f64() * 1000.0 / 20.0
    );
    drop((memory, namespace));
    // In a process of its own, whose RAM holds nothing else.
    let itself = env::current_exe().unwrap();
    assert!(Command::new(itself).arg("open").arg(folder.path()).status().unwrap().success());
}

fn open(folder: &Path) {
    let before = resident();
    let opening = Instant::now();
    let (_memory, opened) = Memory::open(folder, &SymmetricKey::from_bytes([7; 32])).unwrap();
    println!(
        "opened with {} cells in {:.1} s: {} bytes resident each",
        opened.cells,
        opening.elapsed().as_secs_f64(),
        (resident() - before) / opened.cells,
    );
}

/// Nanoseconds of each step of a call: medians, so that other processes matter little.
fn operations(memory: &Memory, namespace: &Namespace, subjects: u64) {
    let rounds = 50_000;
    let mut steps = [const { ("begin", Vec::new()) }; 8];
    let [begin, recall, count, remember, tally, distinct, finish, sequence] = &mut steps;
    (recall.0, count.0, remember.0, tally.0) = ("recall", "count", "remember", "tally");
    (distinct.0, finish.0, sequence.0) =
        ("tally-distinct, shared", "finish", "sequence and confirm");
    for round in 0..rounds {
        let subject = format!("user {}", round * 7919 % subjects);
        let mut call = timed(begin, || memory.begin(namespace, Some(&subject), NOW));
        timed(recall, || call.recall(Scope::Subject, b"profile").unwrap());
        timed(count, || call.count(Scope::Subject, b"failures", 600).unwrap());
        timed(remember, || call.remember(Scope::Subject, b"profile", &[1; 700], 86_400).unwrap());
        timed(tally, || call.tally(Scope::Subject, b"failures", 600).unwrap());
        let member = round.to_be_bytes();
        timed(distinct, || {
            call.tally_distinct(Scope::Shared, b"192.0.2.1", &member, 600).unwrap();
        });
        let changes = timed(finish, || call.finish().unwrap());
        timed(sequence, || {
            let position = memory.applied();
            memory.sequence(&changes, || Ok::<_, ()>((position, ()))).unwrap();
            memory.confirm_before(position + 1);
        });
    }
    for (name, mut nanos) in steps {
        nanos.sort_unstable();
        let at = |part: usize| nanos.get(nanos.len() * part / 100).copied().unwrap_or_default();
        println!("{name}: median {} ns, 99 of 100 below {} ns", at(50), at(99));
    }
}

fn timed<T>(step: &mut (&str, Vec<u128>), work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    step.1.push(started.elapsed().as_nanos());
    result
}

fn run(memory: &Memory, namespace: &Namespace, subject: u64, work: impl FnOnce(&mut Transaction)) {
    let mut call = memory.begin(namespace, Some(&format!("user {subject}")), NOW);
    work(&mut call);
    let position = memory.applied();
    memory.sequence(&call.finish().unwrap(), || Ok::<_, ()>((position, ()))).unwrap();
    memory.confirm_before(position + 1);
}

fn items_of(subject: u64) -> Vec<ImportItem> {
    let item = |key: &[u8], what| ImportItem {
        owner: ImportOwner::Subject(format!("user {subject}")),
        key: key.to_vec(),
        what,
    };
    let value = ImportWhat::Value { value: vec![7; 700], expires_at: NOW + 86_400_000 };
    let mut items = vec![item(b"profile", value)];
    for (key, window) in
        [(&b"failures"[..], 86_400), (b"sign-ins", 30 * 86_400), (b"resets", 86_400)]
    {
        items.extend((0..8).map(|event| {
            let at = NOW - u64::from(window) * 100 * (event + subject % 3);
            item(key, ImportWhat::Events { at, window, amount: 1 })
        }));
    }
    items
}

/// Bytes of RAM that this process takes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

const NOW: u64 = 1_800_000_000_000;
