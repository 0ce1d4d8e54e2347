//! Loads a roster of ten million rows from CSV that is made as it is read, and looks keys up.
//!
//! Prints time, memory and the latency of look-ups. Nothing is stored: the rows follow from their
//! numbers. `cargo run --release -p portcullis-store --example table_benchmark [ROWS]`

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::Read;
use std::time::Instant;

use jiff::Timestamp;
use portcullis_store::tables::{Acceptance, Declaration, Table, decide};

fn main() -> Result<(), Box<dyn Error>> {
    let rows: u32 = match std::env::args().nth(1) {
        Some(rows) => rows.parse()?,
        None => 10_000_000,
    };
    let declaration: Declaration = toml::from_str(DECLARATION)?;
    let now = Timestamp::UNIX_EPOCH;
    let before = memory("VmRSS:");
    let begun = Instant::now();
    let table = Table::load_stream(&declaration, Export::new(rows, 0), now)?;
    let took = begun.elapsed();
    let (after, peak) = (memory("VmRSS:"), memory("VmHWM:"));
    println!(
        "{rows} rows, {} MB of CSV: loaded in {:.1} s ({:.2} million rows a second)",
        table.bytes() / 1_000_000,
        took.as_secs_f64(),
        f64::from(rows) / took.as_secs_f64() / 1e6
    );
    println!(
        "memory: {:.1} bytes a row by the table's own count, {:.1} resident, {:.1} at the peak",
        per_row(u64::try_from(table.memory())?, rows),
        per_row(after.saturating_sub(before), rows),
        per_row(peak.saturating_sub(before), rows)
    );
    look_up(&table, rows, 1_000, "a thousand keys again and again");
    look_up(&table, rows, 1_000_000, "a million keys over the whole table");
    let begun = Instant::now();
    let next = Table::load_stream(&declaration, Export::new(rows, 33), now)?;
    println!("the next version: loaded in {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let decision = decide(&table, &next);
    let (Acceptance::Accept(difference) | Acceptance::Hold(difference)) = &decision;
    println!("{difference}: compared in {:.1} s", begun.elapsed().as_secs_f64());
    println!("peak with both versions: {:.1} bytes a row", per_row(memory("VmHWM:"), rows));
    Ok(())
}

/// Rows of an export, made as they are read. Every `changed`-th row has another state.
struct Export {
    rows: u32,
    next: u32,
    changed: u32,
    text: String,
    given: usize,
}

impl Export {
    fn new(rows: u32, changed: u32) -> Self {
        let text = "employee,email,department,state,hired\n".to_owned();
        Self { rows, next: 0, changed, text, given: 0 }
    }
}

impl Read for Export {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given == self.text.len() {
            self.text.clear();
            self.given = 0;
            while self.next < self.rows && self.text.len() < buffer.len() {
                let row = self.next;
                let mixed = row.wrapping_mul(2_654_435_761);
                let is_other = self.changed > 0 && row.is_multiple_of(self.changed);
                let state =
                    if is_other || mixed.is_multiple_of(50) { "Terminated" } else { "Active" };
                let (day, month) = (mixed % 28 + 1, mixed / 28 % 12 + 1);
                let _ = writeln!(
                    self.text,
                    "{},user{row}@hospital.example,D{:03},{state},20{:02}-{month:02}-{day:02}",
                    key(row),
                    mixed % 400,
                    mixed / 400 % 27
                );
                self.next += 1;
            }
        }
        let rest = self.text.as_bytes().get(self.given..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given += count;
        Ok(count)
    }
}

fn key(row: u32) -> String {
    format!("E{row:08}")
}

fn look_up(table: &Table, rows: u32, distinct: u32, what: &str) {
    let spread = |at: u32| u64::from(at % distinct).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let keys: Vec<String> = (0..1_000_000)
        .map(|at| key(u32::try_from(spread(at) % u64::from(rows)).unwrap_or_default()))
        .collect();
    let mut found = 0;
    let looked_up = time_each(&keys, |key| found += table.lookup(&[key]).count());
    let clock = time_each(&keys, |_| {});
    println!(
        "look-up, {what}: median {} ns, p99 {} ns, p99.9 {} ns; the clock alone {} ns; {found} found",
        part(&looked_up, 500),
        part(&looked_up, 990),
        part(&looked_up, 999),
        part(&clock, 500)
    );
}

/// Returns the nanoseconds of each call, in order.
fn time_each(keys: &[String], mut work: impl FnMut(&str)) -> Vec<u128> {
    let mut nanos = Vec::with_capacity(keys.len());
    for key in keys {
        let begun = Instant::now();
        work(key);
        nanos.push(begun.elapsed().as_nanos());
    }
    nanos.sort_unstable();
    nanos
}

fn part(nanos: &[u128], per_mille: usize) -> u128 {
    nanos.get(nanos.len() * per_mille / 1000).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn per_row(bytes: u64, rows: u32) -> f64 {
    bytes as f64 / f64::from(rows)
}

/// Returns a size in bytes from the kernel's status of this process.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

const DECLARATION: &str = "
    name = 'roster'
    format = 'csv'
    max_rows = 50_000_000
    max_bytes = 4_294_967_296
    max_age_seconds = 86_400
    key = { columns = ['employee'] }
    hold = { watch = ['state'] }
    columns = [
        { name = 'employee', type = 'text', unique = true },
        { name = 'email', type = 'text' },
        { name = 'department', type = 'text' },
        { name = 'state', type = 'text', required = true },
        { name = 'hired', type = 'date' },
    ]
    match = [{ subject = 'email', column = 'email', rules = { case = 'unicode' } }]
";
