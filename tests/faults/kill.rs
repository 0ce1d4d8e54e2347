//! `kill -9`, twenty times in one deployment.

use super::answer_ledger::Ledger;
use super::kill_point::Moment;
use super::{Chance, deployment};

#[test]
fn twenty_lives_end_at_any_moment_and_nothing_that_was_answered_is_lost() {
    let deployment = deployment();
    let mut chance = Chance::new();
    let ledger = Ledger::default();
    for life in 0..LIVES {
        let host = deployment.serve();
        if life > 0 {
            // What an auditor kept of the life before is continued.
            let verified = deployment.verify_against("retained");
            assert_eq!(verified.code, 0, "life {life}: {}{}", verified.out, verified.err);
        }
        let enough = ledger.len() + 35 + usize::try_from(chance.below(25)).unwrap();
        let enough = if life + 1 == LIVES { enough.max(ANSWERS) } else { enough };
        let moment = Moment::of_life(life, &mut chance);
        ledger.under_load(host, |host| {
            ledger.until(enough);
            moment.wait(&deployment, &ledger);
            host.kill();
        });
        deployment.write("retained", deployment.read("audit/log/checkpoint"));
        let left = deployment.verify();
        assert_eq!(left.code, 0, "as life {life} left it: {}{}", left.out, left.err);
    }
    let host = deployment.serve();
    drop(host.stop());
    assert_eq!(deployment.verify_against("retained").code, 0);
    assert!(ledger.len() >= ANSWERS, "{} answers", ledger.len());
    ledger.hold_against(&deployment);
    let starts = deployment.records_of("host.start");
    let recovered = starts.iter().filter(|start| start["recovered"].as_u64().unwrap() > 0).count();
    assert_eq!(starts.iter().filter(|start| start["unclean"] == true).count(), LIVES);
    // Otherwise this showed nothing.
    assert!(recovered > LIVES / 2, "only {recovered} starts had anything to recover");
}

const LIVES: usize = 20;
const ANSWERS: usize = 1_000;
