//! The ordinary days: each person's sign-ins, with the noise that days have.
//!
//! Invariant: the sign-ins of a person follow from the person and the seed, whatever the others
//! do. Nothing here knows the plugin's settings.

use portcullis_tests::Origin;

use super::dice::Dice;
use super::networks::{Browser, CAMPUS, CARRIERS, HOMES, HOTELS, Network, campus, roaming};
use super::people::{DAY, HOUR, MINUTE, Person, Role, Shift};

/// A sign-in of one of the hospital's people.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Seconds from the first midnight.
    pub at: i64,
    /// The person's number.
    pub person: usize,
    pub session: String,
    pub from: Origin,
    /// The password was wrong the first time.
    pub is_mistyped: bool,
    /// The event of the sign-in arrives before the token is requested.
    pub is_event_early: bool,
    /// A second token of the same session is requested so many seconds later.
    pub again: Option<i64>,
    pub groups: Groups,
}

/// The groups that a sign-in belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Groups {
    pub is_night: bool,
    pub is_traveller: bool,
    pub is_journey: bool,
    pub is_shared: bool,
    pub is_float_pool: bool,
    pub is_entra: bool,
    pub is_mobile: bool,
    pub is_home: bool,
}

/// The devices and the home network of a person at a time: they change.
struct Life<'a> {
    number: usize,
    person: &'a Person,
    dice: Dice,
    home: Network,
    home_host: i64,
    phone: Browser,
    phone_serial: u32,
    computer_serial: u32,
    sign_ins: Vec<SignIn>,
}

/// A journey: the hotel, and its days.
#[derive(Clone, Copy)]
struct Journey {
    hotel: usize,
    host: i64,
    until: i64,
}

/// All sign-ins of a person in some days, with their shifts.
pub fn live(
    number: usize,
    person: &Person,
    days: i64,
    mut dice: Dice,
) -> (Vec<SignIn>, Vec<Shift>) {
    let shifts = person.shifts(days, &mut dice);
    let mut life = Life {
        number,
        person,
        home: HOMES[person.home],
        home_host: dice.between(1, 65_000),
        phone: person.phone,
        phone_serial: 0,
        computer_serial: 0,
        dice,
        sign_ins: Vec::new(),
    };
    let mut journey: Option<Journey> = None;
    for day in 0..days {
        life.change();
        journey = journey.filter(|journey| day < journey.until);
        let leaves = match person.role {
            Role::Traveller => 90,
            Role::Physician | Role::Clerk | Role::Remote => 4,
            _ => 2,
        };
        if journey.is_none() && life.dice.permille(leaves) {
            // One in four goes abroad.
            let hotel = if life.dice.permille(250) {
                life.dice.between(10, 14)
            } else {
                life.dice.between(0, 10)
            };
            let (host, until) = (life.dice.between(1, 65_000), day + life.dice.between(2, 6));
            journey = Some(Journey { hotel: hotel.try_into().unwrap(), host, until });
        }
        if let Some(journey) = journey {
            life.travel(day, journey);
            continue;
        }
        let today = |shift: &&Shift| shift.from / DAY == day;
        match shifts.iter().find(today) {
            Some(shift) if person.role == Role::Remote && life.dice.permille(800) => {
                life.work_remotely(*shift);
            }
            Some(shift) => life.work(*shift),
            None => life.rest(day),
        }
    }
    (life.sign_ins, shifts)
}

impl Life<'_> {
    /// A day's changes: a new telephone every two years, a new computer every three, a new address
    /// at home every three weeks, a new provider every two years.
    fn change(&mut self) {
        if self.dice.permille(14) && self.dice.permille(100) {
            self.phone_serial += 1;
            if self.dice.permille(150) {
                let other = [Browser::IPhone, Browser::Android];
                self.phone = other[usize::from(self.phone == Browser::IPhone)];
            }
        }
        if self.dice.permille(9) && self.dice.permille(100) {
            self.computer_serial += 1;
        }
        if self.dice.permille(48) {
            self.home_host = self.dice.between(1, 65_000);
        }
        if self.dice.permille(14) && self.dice.permille(100) {
            self.home = *self.dice.pick(&HOMES);
        }
    }

    /// A shift on the campus.
    fn work(&mut self, shift: Shift) {
        let person = self.person;
        let length = shift.until - shift.from;
        let is_at_desk = matches!(person.role, Role::Clerk | Role::Remote | Role::Traveller);
        let begin = shift.from + self.dice.about(-5 * MINUTE, 12 * MINUTE);
        let from = if is_at_desk { self.desk() } else { self.workstation() };
        self.add(begin, from, Groups { is_shared: !is_at_desk, ..Groups::default() }, &shift);
        if !is_at_desk && self.dice.permille(500) {
            let later = shift.from + self.dice.between(HOUR, length - HOUR);
            let from = self.workstation();
            self.add(later, from, Groups { is_shared: true, ..Groups::default() }, &shift);
        }
        if self.dice.permille(250) {
            // In a break, with the own telephone: over the hospital's network, or the carrier's.
            let later = shift.from + self.dice.between(HOUR, length);
            if self.dice.permille(400) {
                let from = self.on_campus_phone();
                self.add(later, from, Groups::default(), &shift);
            } else {
                let from = self.mobile();
                self.add(later, from, Groups { is_mobile: true, ..Groups::default() }, &shift);
            }
        }
        let charts_at_home = if person.role == Role::Physician { 350 } else { 80 };
        if self.dice.permille(charts_at_home) {
            let later = shift.until + self.dice.between(40 * MINUTE, 4 * HOUR);
            let from = self.home();
            self.add(later, from, Groups { is_home: true, ..Groups::default() }, &shift);
        }
    }

    /// A shift at home, over the hospital's VDI; some applications directly.
    fn work_remotely(&mut self, shift: Shift) {
        let begin = shift.from + self.dice.about(0, 25 * MINUTE);
        let agent = Browser::Managed.agent(shift.from / DAY, 0);
        self.add(begin, campus(CAMPUS[2], &agent, None), Groups::default(), &shift);
        if self.dice.permille(500) {
            let later = begin + self.dice.between(5 * MINUTE, 8 * HOUR);
            let from = self.home();
            self.add(later, from, Groups { is_home: true, ..Groups::default() }, &shift);
        }
    }

    /// A day without a shift: seldom somebody looks at the plan or the mail.
    fn rest(&mut self, day: i64) {
        if self.dice.permille(200) {
            let at = day * DAY + self.dice.between(8 * HOUR, 22 * HOUR);
            let shift = Shift { from: at, until: at };
            let is_mobile = self.dice.permille(500);
            let from = if is_mobile { self.mobile() } else { self.home() };
            self.add(
                at,
                from,
                Groups { is_mobile, is_home: !is_mobile, ..Groups::default() },
                &shift,
            );
        }
    }

    /// A day of a journey: the hotel with the computer, and the carrier with the telephone.
    fn travel(&mut self, day: i64, journey: Journey) {
        let hotel = HOTELS[journey.hotel];
        for _ in 0..1 + self.dice.index(2) {
            let at = day * DAY + self.dice.between(7 * HOUR, 22 * HOUR);
            let shift = Shift { from: at, until: at };
            let groups = Groups { is_journey: true, ..Groups::default() };
            if self.dice.permille(350) {
                let from = match roaming(self.person.carrier, journey.hotel) {
                    Some(network) => self.mobile_in(network),
                    None => self.mobile(),
                };
                self.add(at, from, Groups { is_mobile: true, ..groups }, &shift);
            } else {
                let (agent, device) = self.computer(at / DAY);
                let from = hotel.origin(journey.host, &agent, device.as_deref(), &mut self.dice);
                self.add(at, from, groups, &shift);
            }
        }
    }

    fn add(&mut self, at: i64, from: Origin, groups: Groups, shift: &Shift) {
        let person = self.person;
        let groups = Groups {
            is_night: shift.is_night() && (shift.from..shift.until).contains(&(at + 30 * MINUTE)),
            is_traveller: person.role == Role::Traveller,
            is_float_pool: person.role == Role::FloatPool,
            is_entra: person.uses_entra,
            ..groups
        };
        self.sign_ins.push(SignIn {
            at: at.max(0),
            person: self.number,
            session: format!("102{}-{}", person.id, self.sign_ins.len()),
            from,
            is_mistyped: self.dice.permille(60),
            is_event_early: self.dice.permille(400),
            again: self.dice.permille(150).then(|| self.dice.between(5 * MINUTE, 90 * MINUTE)),
            groups,
        });
    }

    fn desk(&mut self) -> Origin {
        let agent = Browser::Managed.agent(self.day(), 0);
        let device = format!("desk-{}", self.person.id);
        campus(CAMPUS[self.person.ward % 2], &agent, Some(&device))
    }

    /// A workstation of the ward; of any ward for the float pool. Some are badge-tap devices.
    fn workstation(&mut self) -> Origin {
        let ward = if self.person.role == Role::FloatPool {
            self.dice.index(20)
        } else {
            self.person.ward
        };
        let device = format!("ward-{ward}-{}", self.dice.index(WORKSTATIONS));
        let agent = Browser::Managed.agent(self.day(), 0);
        campus(CAMPUS[ward % 2], &agent, Some(&device))
    }

    fn on_campus_phone(&mut self) -> Origin {
        let (agent, device) = self.telephone(self.day());
        campus(CAMPUS[self.person.ward % 2], &agent, device.as_deref())
    }

    fn home(&mut self) -> Origin {
        let is_phone = self.dice.permille(400);
        let (agent, device) =
            if is_phone { self.telephone(self.day()) } else { self.computer(self.day()) };
        self.home.origin(self.home_host, &agent, device.as_deref(), &mut self.dice)
    }

    /// Over the carrier: mostly its nearest gateway, and another address each time.
    fn mobile(&mut self) -> Origin {
        let gateway = match self.dice.between(0, 10) {
            0..7 => 0,
            7..9 => 1,
            _ => 2,
        };
        self.mobile_in(CARRIERS[self.person.carrier][gateway])
    }

    fn mobile_in(&mut self, network: Network) -> Origin {
        let (agent, device) = self.telephone(self.day());
        let host = self.dice.between(1, 65_000);
        network.origin(host, &agent, device.as_deref(), &mut self.dice)
    }

    fn telephone(&self, day: i64) -> (String, Option<String>) {
        let id = format!("phone-{}-{}", self.person.id, self.phone_serial);
        (self.phone.agent(day, self.person.lag), self.person.is_phone_managed.then_some(id))
    }

    fn computer(&self, day: i64) -> (String, Option<String>) {
        let id = format!("computer-{}-{}", self.person.id, self.computer_serial);
        let agent = self.person.computer.agent(day, self.person.lag);
        (agent, self.person.is_computer_managed.then_some(id))
    }

    /// About today: the day of the last sign-in.
    fn day(&self) -> i64 {
        self.sign_ins.last().map_or(0, |last| last.at / DAY)
    }
}

/// Workstations of a ward, the last of which are badge-tap devices.
pub const WORKSTATIONS: usize = 6;
