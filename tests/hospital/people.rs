//! The people of the hospital: roles, shifts, homes and devices.
//!
//! Invariant: a person and a shift plan follow from the seed alone. Times are in seconds from the
//! first midnight (UTC, which is the default zone of the plugin).

use super::dice::Dice;
use super::networks::{Browser, CARRIERS, HOMES};

pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// The work of a person, which decides about shifts and places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// 7:00 to 19:30, three or four days a week, on one ward.
    DayNurse,
    /// 19:00 to 7:30.
    NightNurse,
    /// Days and nights, alternating by week.
    RotatingNurse,
    /// Wherever somebody is missing, on both campuses.
    FloatPool,
    /// Days, nights on call, and charts from home.
    Physician,
    /// 8:00 to 17:00 at a desk of their own.
    Clerk,
    /// From home over the VDI on most days.
    Remote,
    /// Consultants, locums and executives: a journey every other week or so.
    Traveller,
}

/// A person.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub role: Role,
    /// Signs in with Entra, not with Okta.
    pub uses_entra: bool,
    pub ward: usize,
    pub home: usize,
    pub carrier: usize,
    pub phone: Browser,
    pub computer: Browser,
    /// The platform knows ids of devices that it manages.
    pub is_phone_managed: bool,
    pub is_computer_managed: bool,
    /// Days after a release at which browsers are updated.
    pub lag: i64,
}

/// A shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    pub from: i64,
    pub until: i64,
}

impl Shift {
    /// Begins in the evening.
    pub fn is_night(&self) -> bool {
        self.from.rem_euclid(DAY) >= 17 * HOUR
    }
}

/// As many people as asked for.
pub fn people(count: usize, dice: &mut Dice) -> Vec<Person> {
    (0..count).map(|number| person(number, &mut dice.fork())).collect()
}

fn person(number: usize, dice: &mut Dice) -> Person {
    // Of a hundred: rough shares of a general hospital's staff.
    let role = match dice.between(0, 100) {
        0..22 => Role::DayNurse,
        22..34 => Role::NightNurse,
        34..46 => Role::RotatingNurse,
        46..52 => Role::FloatPool,
        52..68 => Role::Physician,
        68..84 => Role::Clerk,
        84..92 => Role::Remote,
        _ => Role::Traveller,
    };
    // Of those at desks and on journeys, some work with applications behind Entra.
    let may_use_entra = matches!(role, Role::Clerk | Role::Remote | Role::Traveller);
    Person {
        id: format!("00u{number:05}"),
        role,
        uses_entra: may_use_entra && dice.permille(350),
        ward: dice.index(20),
        home: dice.index(HOMES.len()),
        carrier: dice.index(CARRIERS.len()),
        phone: if dice.permille(580) { Browser::IPhone } else { Browser::Android },
        computer: if dice.permille(700) { Browser::Chrome } else { Browser::Mac },
        is_phone_managed: dice.permille(500),
        is_computer_managed: dice.permille(600),
        lag: dice.between(0, 12),
    }
}

impl Person {
    /// The person's shifts of some days, ascending, without overlaps.
    pub fn shifts(&self, days: i64, dice: &mut Dice) -> Vec<Shift> {
        let offset = dice.between(0, 7);
        let mut shifts = Vec::new();
        let mut rested = i64::MIN;
        for day in 0..days {
            let (weekday, turn) = (day % 7, (day + offset) % 7);
            let is_night_week = (day / 7 + offset) % 2 == 0;
            let day_shift = (7 * HOUR, 12 * HOUR + 30 * MINUTE);
            let night_shift = (19 * HOUR, 12 * HOUR + 30 * MINUTE);
            let office = (8 * HOUR, 9 * HOUR);
            let plan = match self.role {
                Role::DayNurse => (turn < 4).then_some(day_shift),
                Role::NightNurse => (turn < 4).then_some(night_shift),
                Role::RotatingNurse if is_night_week => (turn < 3).then_some(night_shift),
                Role::RotatingNurse => (turn < 4).then_some(day_shift),
                Role::FloatPool if dice.permille(300) => Some(night_shift),
                Role::FloatPool => dice.permille(450).then_some(day_shift),
                Role::Physician if turn == 5 => Some((17 * HOUR, 14 * HOUR)),
                Role::Physician | Role::Traveller => (weekday < 5).then_some((7 * HOUR, 11 * HOUR)),
                Role::Clerk | Role::Remote => (weekday < 5).then_some(office),
            };
            if let Some((start, length)) = plan.filter(|(start, _)| day * DAY + start >= rested) {
                let from = day * DAY + start;
                shifts.push(Shift { from, until: from + length });
                rested = from + length + 9 * HOUR;
            }
        }
        shifts
    }

    /// Whether the shift plan has the person's shifts.
    pub fn is_planned(&self) -> bool {
        !matches!(self.role, Role::Clerk | Role::Remote | Role::Traveller)
    }
}
