//! The whole of a simulation before it runs: people, tables, and everything that will be sent, in
//! the order of time.
//!
//! Invariant: a plan follows from its size and seed.

use portcullis_tests::RiskTables;

use super::attackers::{self, Run};
use super::days::{self, SignIn, WORKSTATIONS};
use super::dice::Dice;
use super::networks::{CAMPUS, network_rows};
use super::people::{self, DAY, Person};

/// The size of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub people: usize,
    /// Days of history, whose sign-ins are not measured.
    pub history: i64,
    /// Days after these, which are measured and attacked.
    pub measured: i64,
    /// How many times as many runs of attacks as [`attackers::RUNS`].
    pub attacks: usize,
}

/// A plan.
pub struct Plan {
    pub size: Size,
    pub people: Vec<Person>,
    /// Ascending by time.
    pub sign_ins: Vec<SignIn>,
    pub runs: Vec<Run>,
    /// The beginning, in seconds since 1970: a midnight.
    pub begin: i64,
    pub tables: RiskTables,
}

impl Plan {
    /// The plan of a size and a seed, that begins at a midnight.
    pub fn new(size: Size, seed: u64, begin: i64) -> Self {
        let mut dice = Dice::new(seed);
        let people = people::people(size.people, &mut dice);
        let days = size.history + size.measured;
        let (mut sign_ins, mut shifts) = (Vec::new(), String::new());
        for (number, person) in people.iter().enumerate() {
            let (own, plan) = days::live(number, person, days, dice.fork());
            sign_ins.extend(own);
            for shift in plan.iter().filter(|_| person.is_planned()) {
                let [from, until] =
                    [shift.from, shift.until].map(|at| portcullis_tests::rfc3339(begin + at));
                shifts.push_str(&format!("{},{from},{until}\n", person.id));
            }
        }
        sign_ins.retain(|it| it.at < days * DAY);
        sign_ins.sort_by_key(|it| (it.at, it.person));
        let attacked = (size.history, days);
        let runs = attackers::runs(&people, &sign_ins, attacked, size.attacks, &mut dice);
        let tables = RiskTables {
            networks: network_rows(),
            known_networks: known_networks(),
            workstations: workstations(),
            shifts,
        };
        Self { size, people, sign_ins, runs, begin, tables }
    }
}

fn known_networks() -> String {
    let [one, two, vdi] = CAMPUS;
    format!("{one}/32,campus\n{two}/32,campus\n{vdi}/32,vdi\n")
}

fn workstations() -> String {
    let mut rows = String::new();
    for ward in 0..20 {
        for number in 0..WORKSTATIONS {
            let kind = if number == WORKSTATIONS - 1 { "badge-tap" } else { "workstation" };
            rows.push_str(&format!("ward-{ward}-{number},{kind}\n"));
        }
    }
    rows
}
