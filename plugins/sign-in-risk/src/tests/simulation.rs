//! A hospital in small: 40 people over eight weeks, and four kinds of attackers. It checks that the
//! parts work together; it is no measurement of what the plugin catches elsewhere.

use super::*;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % sides
    }
}

const PEOPLE: u32 = 40;
const WEEKS: u32 = 8;

struct Hospital {
    plugin: SignInRisk,
    world: Ram,
    dice: Dice,
}

impl Hospital {
    /// Days and nights, wards and homes, browsers that update, now and then a new telephone or a
    /// journey. Returns the sign-ins and the challenged ones of the second half.
    fn live(&mut self) -> (u32, u32) {
        let (mut all, mut asked) = (0, 0);
        for day in 0..WEEKS * 7 {
            for person in 0..PEOPLE {
                let is_night_nurse = person % 8 == 0;
                let id = format!("00u{person}");
                let start = if is_night_nurse { 21 * HOUR } else { 7 * HOUR };
                let at = MONDAY - 8 * HOUR + day * DAY + start + self.dice.roll(HOUR);
                if day % 7 < 5 {
                    all += 1;
                    asked += u32::from(self.come(&id, at, &ward(person, day)));
                }
                if self.dice.roll(4) == 0 {
                    all += 1;
                    let ip = format!("198.51.{}.{}", 100 + person % 4, person);
                    let home = home(person, day, &ip);
                    asked += u32::from(self.come(&id, at + 9 * HOUR, &home));
                }
            }
            if day == WEEKS * 7 / 2 {
                (all, asked) = (0, 0);
            }
        }
        (all, asked)
    }

    /// A sign-in; whoever is asked confirms with a second factor. Whether the person was asked.
    fn come(&mut self, person: &str, at: u32, from: &Site<'_>) -> bool {
        let decision = sign_in(&self.plugin, &self.world, person, at, from);
        if decision.verdict() < Effect::StepUp {
            return false;
        }
        let id = format!("factor-{person}-{at}");
        let factor =
            event(&id, "user.authentication.auth_via_mfa", "SUCCESS", person, at + MINUTE, from);
        send(&self.plugin, &self.world, factor, at + MINUTE);
        true
    }
}

fn browser(day: u32) -> &'static str {
    // A new version every four weeks.
    if day < 28 {
        WARD_PC
    } else {
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36"
    }
}

fn ward(person: u32, day: u32) -> Site<'static> {
    let ip = if person.is_multiple_of(2) { "192.0.2.44" } else { "192.0.2.45" };
    Site { ip, agent: browser(day), ..WARD }
}

/// Every fifth person gets a new telephone in the sixth week.
fn home<'a>(person: u32, day: u32, ip: &'a str) -> Site<'a> {
    let android = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36";
    let agent = if person.is_multiple_of(5) && day >= 35 { android } else { TELEPHONE };
    Site { ip, asn: 64_510 + person % 4, agent, ..HOME }
}

#[test]
fn people_are_rarely_asked_and_attackers_are_stopped() {
    let mut hospital = Hospital { plugin: plugin(json!({})), world: Ram::default(), dice: Dice(7) };
    let (all, asked) = hospital.live();
    assert!(all > 1_000 && asked * 20 <= all, "{asked} of {all} sign-ins were asked");

    let now = MONDAY + WEEKS * 7 * DAY;
    let Hospital { plugin, world, .. } = &hospital;
    let verdict = |person: u32, at: u32, from: &Site<'_>| {
        sign_in(plugin, world, &format!("00u{person}"), at, from).verdict()
    };
    let mut stopped = [0; 3];
    for person in 0..PEOPLE {
        // Bought passwords, used from abroad.
        let naive = verdict(person, now + 12 * HOUR, &ABROAD);
        stopped[0] += u32::from(naive >= Effect::StepUp);
        // From the same country, by another provider and with a usual browser.
        let near = Site { ip: "203.0.113.50", asn: 64_800, agent: STRANGE, ..WARD };
        stopped[1] += u32::from(verdict(person, now + 13 * HOUR, &near) >= Effect::StepUp);
        // With a copied browser, from abroad, an hour after the person was on the ward.
        verdict(person, now + 20 * HOUR, &ward(person, 60));
        let copied = Site { agent: browser(60), ..ABROAD };
        stopped[2] += u32::from(verdict(person, now + 21 * HOUR, &copied) >= Effect::StepUp);
    }
    let decision = sign_in(plugin, world, "00u1", now + DAY, &ward(1, 60));
    let threshold: u8 = argument(&decision, "RISK_LOW", "threshold").parse().unwrap();
    assert!(threshold <= 40, "attackers moved the threshold to {threshold}");
    assert_eq!(stopped[0], PEOPLE, "naive attackers");
    assert_eq!(stopped[1], PEOPLE, "near attackers");
    assert_eq!(stopped[2], PEOPLE, "impossible travellers");
}

#[test]
fn the_threshold_settles_within_its_bounds() {
    let mut hospital =
        Hospital { plugin: plugin(json!({})), world: Ram::default(), dice: Dice(11) };
    hospital.live();
    let now = MONDAY + WEEKS * 7 * DAY;
    let decision = sign_in(&hospital.plugin, &hospital.world, "00u1", now, &ward(1, 60));
    let threshold: u8 = argument(&decision, decision.codes()[0], "threshold").parse().unwrap();
    assert!((30..=60).contains(&threshold));
    assert_ne!(threshold, 40, "some hundred person-days are enough to leave the default");
}
