//! `kill -9`, twenty times in one house.

use super::answer_ledger::Ledger;
use super::kill_point::Moment;
use super::{Chance, house};

#[test]
fn twenty_lives_end_at_any_moment_and_nothing_that_was_answered_is_lost() {
    let house = house();
    let mut chance = Chance::new();
    let ledger = Ledger::default();
    for life in 0..LIVES {
        let host = house.serve();
        if life > 0 {
            // What an auditor kept of the life before is continued.
            let verified = house.verify_against("retained");
            assert_eq!(verified.code, 0, "life {life}: {}{}", verified.out, verified.err);
        }
        let enough = ledger.len() + 35 + usize::try_from(chance.below(25)).unwrap();
        let enough = if life + 1 == LIVES { enough.max(ANSWERS) } else { enough };
        let moment = Moment::of_life(life, &mut chance);
        ledger.under_load(host, |host| {
            ledger.until(enough);
            moment.wait(&house, &ledger);
            host.kill();
        });
        house.write("retained", house.read("audit/log/checkpoint"));
        let left = house.verify();
        assert_eq!(left.code, 0, "as life {life} left it: {}{}", left.out, left.err);
    }
    let host = house.serve();
    drop(host.stop());
    assert_eq!(house.verify_against("retained").code, 0);
    assert!(ledger.len() >= ANSWERS, "{} answers", ledger.len());
    ledger.hold_against(&house);
    let starts = house.records_of("host.start");
    let recovered = starts.iter().filter(|start| start["recovered"].as_u64().unwrap() > 0).count();
    assert_eq!(starts.iter().filter(|start| start["unclean"] == true).count(), LIVES);
    // Otherwise this showed nothing.
    assert!(recovered > LIVES / 2, "only {recovered} starts had anything to recover");
}

const LIVES: usize = 20;
const ANSWERS: usize = 1_000;
