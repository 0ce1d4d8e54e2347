//! The limiter under clients of all kinds.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use tokio::time::timeout;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks(texts: &[&str]) -> Networks {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    Networks::parse(&texts).unwrap()
}

fn limiter(connections: usize) -> Arc<ConnectionLimiter> {
    let limits = ConnectionLimits {
        connections,
        per_source: connections,
        per_caller: connections.div_ceil(2),
    };
    ConnectionLimiter::new(limits, networks(&["10.9.0.0/16"]), networks(&["10.8.0.0/16"]))
}

fn evicted(slot: &ConnectionSlot) -> bool {
    slot.limiter_has_evicted()
}

/// So many idle connections, each of a source of its own.
fn flood(limiter: &Arc<ConnectionLimiter>, count: u32, now: Instant) -> Vec<Arc<ConnectionSlot>> {
    (0..count)
        .filter_map(|number| {
            let address = Ipv4Addr::from(0x0b00_0000 + number * 256);
            limiter.acquire(address.into(), false, now).ok()
        })
        .collect()
}

#[test]
fn the_fullest_source_loses_its_newest_idle_connection() {
    let (limiter, now) = (limiter(8), Instant::now());
    let take = |text| limiter.acquire(ip(text), false, now).unwrap();
    let flooder: Vec<_> = (0..6).map(|_| take("10.1.1.1")).collect();
    let others = [take("10.2.1.1"), take("10.2.1.2")];
    let newcomer = take("10.3.1.1");
    let gone: Vec<_> = flooder.iter().map(|slot| evicted(slot)).collect();
    assert_eq!(gone, [false, false, false, false, false, true]);
    assert!(!others.iter().any(|slot| evicted(slot)) && !evicted(&newcomer));
    assert_eq!(limiter.existing(), 9, "the one that was evicted is not closed yet");
    drop(flooder);
    assert_eq!(limiter.existing(), 3);
}

#[test]
fn among_the_same_cost_those_go_first_that_had_their_time() {
    let (limiter, start) = (limiter(4), Instant::now());
    let first = flood(&limiter, 4, start);
    let late = start + IDLE_GRACE;
    let newcomer = limiter.acquire(ip("10.3.1.1"), false, late).unwrap();
    assert_eq!(first.iter().filter(|slot| evicted(slot)).count(), 1);
    assert!(evicted(&first[0]) && !evicted(&newcomer));
    // None of the new ones had its time: the newest goes.
    let first = flood(&limiter, 20, late);
    let gone = first.iter().filter(|slot| evicted(slot)).count();
    assert!(gone >= first.len() - 4, "{gone} of {}", first.len());
}

#[test]
fn a_client_that_has_sent_bytes_stays_while_others_are_idle() {
    let (limiter, now) = (limiter(8), Instant::now());
    let started: Vec<_> =
        (0..4).map(|_| limiter.acquire(ip("10.1.1.1"), true, now).unwrap()).collect();
    let idle = flood(&limiter, 4, now);
    let newcomers: Vec<_> =
        (0..3).map(|_| limiter.acquire(ip("10.1.1.1"), true, now).unwrap()).collect();
    assert!(!started.iter().chain(&newcomers).any(|slot| evicted(slot)), "its source has most");
    assert_eq!(idle.iter().filter(|slot| evicted(slot)).count(), 3);
}

#[test]
fn clients_that_send_slowly_leave_places_for_those_that_come() {
    let (limiter, now) = (limiter(16), Instant::now());
    let slow: Vec<_> =
        (0..40).filter_map(|_| limiter.acquire(ip("10.1.1.1"), true, now).ok()).collect();
    assert!(slow.iter().filter(|slot| !evicted(slot)).count() <= 14);
    let newcomer = limiter.acquire(ip("10.2.1.1"), false, now).unwrap();
    newcomer.mark_started(now).unwrap();
    assert!(!evicted(&newcomer), "its source costs less");
}

#[test]
fn clients_that_send_slowly_do_not_push_out_those_that_come() {
    let (limiter, now) = (limiter(16), Instant::now());
    let newcomers: Vec<_> =
        (0..2).map(|_| limiter.acquire(ip("10.2.1.1"), false, now).unwrap()).collect();
    let slow: Vec<_> = (0..2_000_u32)
        .filter_map(|number| {
            let address = Ipv4Addr::from(0x0b00_0000 + number * 256);
            limiter.acquire(address.into(), true, now).ok()
        })
        .collect();
    assert!(!newcomers.iter().any(|slot| evicted(slot)));
    assert!(slow.iter().filter(|slot| !evicted(slot)).count() <= 14);
}

#[test]
fn a_call_in_progress_is_never_dropped() {
    let (limiter, now) = (limiter(4), Instant::now());
    let calling = limiter.acquire(ip("10.1.1.1"), true, now).unwrap();
    let call = calling.begin_call();
    drop(flood(&limiter, 100, now));
    let others = flood(&limiter, 100, now);
    assert!(!evicted(&calling));
    drop(call);
    drop(others);
    // The answer is written: it is idle, and its source costs as much as any.
    assert!(limiter.evict_one(now + IDLE_GRACE) && evicted(&calling));
    // Told to end, and in the same moment its next call is read: the call goes on.
    let call = calling.begin_call();
    assert!(!evicted(&calling));
    assert_eq!(limiter.existing(), 1);
    calling.mark_authenticated("hook", "a");
    drop(call);
    drop(flood(&limiter, 100, now));
    assert!(!evicted(&calling) && !limiter.evict_one(now + SECOND));
}

#[tokio::test]
async fn an_eviction_that_a_call_overtook_is_not_told() {
    let (limiter, now) = (limiter(4), Instant::now());
    let slot = limiter.acquire(ip("10.1.1.1"), true, now).unwrap();
    assert!(limiter.evict_one(now));
    let call = slot.begin_call();
    assert!(timeout(Duration::from_millis(1), slot.evicted()).await.is_err());
    drop(call);
    assert!(limiter.evict_one(now));
    assert!(timeout(Duration::from_millis(100), slot.evicted()).await.is_ok());
}

#[test]
fn a_client_from_where_a_caller_proved_itself_is_kept_in_a_flood() {
    let (limiter, now) = (limiter(32), Instant::now());
    let proven = limiter.acquire(ip("10.1.1.1"), true, now).unwrap();
    proven.mark_authenticated("hook", "a");
    let mut kept = flood(&limiter, 40, now);
    let known = limiter.acquire(ip("10.1.1.1"), false, now).unwrap();
    kept.extend(flood(&limiter, 10_000, now));
    assert!(!evicted(&known), "ten thousand others came since");
    // A neighbour is not known, and neither is more than a few of the address itself.
    let many: Vec<_> =
        (0..100).filter_map(|_| limiter.acquire(ip("10.1.1.1"), false, now).ok()).collect();
    assert!(many.iter().filter(|slot| !evicted(slot)).count() <= 31);
}

#[test]
fn a_source_that_comes_again_and_again_costs_more_than_one_that_does_not() {
    let (limiter, now) = (limiter(16), Instant::now());
    // Two hundred sources, so that none of them ever has many at once.
    let address = |number: u32| Ipv4Addr::from(0x0b00_0000 + (number % 200) * 256).into();
    let mut open: Vec<_> = (0..2_000)
        .filter_map(|number| limiter.acquire(address(number), false, now).ok())
        .filter(|slot| !evicted(slot))
        .collect();
    let platform: Vec<_> =
        (0..4).map(|_| limiter.acquire(ip("10.2.1.1"), false, now).unwrap()).collect();
    for number in 0..2_000 {
        open.retain(|slot| !evicted(slot));
        open.extend(limiter.acquire(address(number), false, now));
    }
    assert!(!platform.iter().any(|slot| evicted(slot)));
}

#[test]
fn what_a_source_has_cost_is_forgotten() {
    let (limiter, now) = (limiter(16), Instant::now());
    for _ in 0..1_000 {
        drop(limiter.acquire(ip("10.1.1.1"), false, now).unwrap());
    }
    drop(flood(&limiter, 20_000, now));
    let (_, sources, _) = limiter.lock().remembered();
    assert!(sources <= 8_193, "{sources}");
    drop(limiter.acquire(ip("10.1.1.1"), false, now + 40 * SECOND));
    assert_eq!(limiter.lock().remembered(), (0, 1, 0));
}

#[test]
fn one_source_has_its_limit_and_proxies_have_none() {
    let limits = ConnectionLimits { connections: 100, per_source: 3, per_caller: 50 };
    let networks = (networks(&["10.9.0.0/16"]), networks(&["10.8.0.0/16"]));
    let (limiter, now) = (ConnectionLimiter::new(limits, networks.0, networks.1), Instant::now());
    let take = |text| limiter.acquire(ip(text), true, now);
    let calls: Vec<_> =
        ["10.1.1.1", "10.1.1.2", "10.1.1.3"].map(|text| take(text).unwrap().begin_call()).into();
    assert_eq!(take("10.1.1.4").err(), Some(Rejected::Source), "each of them has a call");
    assert!(take("10.1.2.1").is_ok(), "another /24");
    drop(calls);
    let proxied: Vec<_> = (0..20).map(|_| take("10.9.1.1").unwrap()).collect();
    let platform: Vec<_> = (0..20).map(|_| take("10.8.1.1").unwrap()).collect();
    assert_eq!((proxied.len(), platform.len()), (20, 20));
    // Behind the proxy there are clients, and each has the limit of its own source.
    let mut refused = 0;
    for slot in &proxied {
        refused += usize::from(slot.set_client(ip("10.1.7.1"), now).is_err());
    }
    assert!(limiter.snapshot().unauthenticated >= 20);
    assert_eq!(proxied.iter().filter(|slot| !evicted(slot)).count(), 3, "{refused} refused");
}

#[test]
fn a_source_full_of_slow_senders_makes_room_for_its_own_newcomers() {
    let limits = ConnectionLimits { connections: 100, per_source: 4, per_caller: 50 };
    let limiter = ConnectionLimiter::new(limits, Networks::default(), Networks::default());
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let proven = limiter.acquire(ip("10.1.1.9"), true, start).unwrap();
    proven.mark_authenticated("hook", "a");
    let other = limiter.acquire(ip("10.2.1.1"), true, start).unwrap();
    // The address is known since: its neighbour is not, and is held to the limit.
    let calling = limiter.acquire(ip("10.1.1.1"), true, at(1)).unwrap();
    let call = calling.begin_call();
    let slow: Vec<_> =
        (2..5).map(|time| limiter.acquire(ip("10.1.1.1"), true, at(time)).unwrap()).collect();
    let newcomer = limiter.acquire(ip("10.1.1.2"), true, at(6)).unwrap();
    let gone: Vec<_> = slow.iter().map(|slot| evicted(slot)).collect();
    assert_eq!(gone, [true, false, false], "its oldest slow sender");
    let idle = limiter.acquire(ip("10.1.1.3"), false, at(7)).unwrap();
    let last = limiter.acquire(ip("10.1.1.4"), true, at(8)).unwrap();
    assert!(evicted(&slow[1]) && evicted(&idle), "what is idle goes first");
    for slot in [&slow[2], &newcomer, &last, &calling, &proven, &other] {
        assert!(!evicted(slot));
    }
    assert_eq!(limiter.snapshot().rejected_source, 0);
    drop(call);
}

#[test]
fn platforms_and_proxies_go_last() {
    let (limiter, now) = (limiter(16), Instant::now());
    let take = |text, sent| limiter.acquire(ip(text), sent, now).unwrap();
    let platform = take("10.8.1.1", false);
    let proxy = take("10.9.1.1", false);
    let started: Vec<_> = (0..12).map(|_| take("10.1.1.1", true)).collect();
    for _ in 0..started.len() {
        assert!(limiter.evict_one(now));
    }
    assert!(started.iter().all(|slot| evicted(slot)));
    assert!(!evicted(&platform) && !evicted(&proxy));
    assert!(limiter.evict_one(now) && evicted(&platform) && !evicted(&proxy));
    assert!(limiter.evict_one(now) && evicted(&proxy) && !limiter.evict_one(now));
}

#[tokio::test]
async fn one_caller_cannot_keep_every_place() {
    let (limiter, now) = (limiter(32), Instant::now());
    let mut kept = Vec::new();
    for _ in 0..100 {
        let Ok(slot) = limiter.acquire(ip("10.1.1.1"), true, now) else { break };
        let call = slot.begin_call();
        slot.mark_authenticated("hook", "greedy");
        drop(call);
        // It is told to end after its answer, and does.
        if timeout(Duration::from_millis(1), slot.surplus()).await.is_err() {
            kept.push(slot);
        }
    }
    assert_eq!(kept.len(), 16);
    assert_eq!(limiter.snapshot().authenticated, 16);
    assert_eq!(limiter.snapshot().surplus, 84);
    let other = limiter.acquire(ip("10.2.1.1"), true, now).unwrap();
    other.mark_authenticated("hook", "other");
    assert!(timeout(Duration::from_millis(1), other.surplus()).await.is_err());
}

#[tokio::test]
async fn callers_leave_places_for_those_that_have_not_proved_themselves_yet() {
    let (limiter, now) = (limiter(32), Instant::now());
    let mut kept = Vec::new();
    for number in 0..100 {
        let slot = limiter.acquire(ip("10.1.1.1"), true, now).unwrap();
        slot.mark_authenticated("hook", &number.to_string());
        if timeout(Duration::from_millis(1), slot.surplus()).await.is_err() {
            kept.push(slot);
        }
    }
    assert_eq!(kept.len(), 24);
    assert!(limiter.acquire(ip("10.2.1.1"), false, now).is_ok());
}

#[tokio::test]
async fn as_many_callers_as_there_may_be_leave_clients_room_to_begin() {
    for connections in [16, 64, 86, 128, 135, 136, 1_024] {
        let (limiter, now) = (limiter(connections), Instant::now());
        let mut kept = Vec::new();
        loop {
            let slot = limiter.acquire(ip("10.1.1.1"), true, now).unwrap();
            slot.mark_authenticated("hook", &kept.len().to_string());
            if timeout(Duration::from_millis(1), slot.surplus()).await.is_ok() {
                break;
            }
            kept.push(slot);
        }
        let silent = limiter.acquire(ip("10.2.1.1"), false, now).unwrap();
        assert_eq!(silent.mark_started(now), Ok(()), "{} of {connections}", kept.len());
        let sending = limiter.acquire(ip("10.3.1.1"), true, now);
        assert!(sending.is_ok(), "{} of {connections}", kept.len());
        assert!(!evicted(&silent), "{} of {connections}: two can begin at once", kept.len());
    }
}

#[test]
fn calls_in_progress_turn_nobody_away_while_there_is_a_place() {
    let (limiter, now) = (limiter(86), Instant::now());
    let mut calls = Vec::new();
    for number in 0..86_u8 {
        let slot = limiter.acquire(IpAddr::from([10, number, 1, 1]), number % 2 == 0, now);
        let slot = slot.unwrap_or_else(|why| panic!("{number} calls: {why:?}"));
        assert_eq!(slot.mark_started(now), Ok(()), "{number} calls");
        calls.push(slot.begin_call());
    }
    assert_eq!(limiter.acquire(ip("10.200.1.1"), true, now).err(), Some(Rejected::Full));
    drop(calls.pop());
    assert!(limiter.acquire(ip("10.200.1.1"), true, now).is_ok());
}

#[derive(Clone, Debug)]
enum Step {
    Acquire(u8, bool),
    Start(usize),
    Begin(usize),
    End(usize),
    Authenticate(usize, u8),
    Client(usize, u8),
    Close(usize),
    Evict,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0_usize..24;
    prop_oneof![
        6 => (any::<u8>(), any::<bool>()).prop_map(|(source, sent)| Step::Acquire(source, sent)),
        3 => slot.clone().prop_map(Step::Start),
        3 => slot.clone().prop_map(Step::Begin),
        2 => slot.clone().prop_map(Step::End),
        2 => (slot.clone(), 0_u8..3).prop_map(|(slot, caller)| Step::Authenticate(slot, caller)),
        1 => (slot.clone(), any::<u8>()).prop_map(|(slot, source)| Step::Client(slot, source)),
        2 => slot.prop_map(Step::Close),
        1 => Just(Step::Evict),
        1 => (0_u64..1_500).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens in whatever order: a call in progress and a connection with a caller are
    /// never evicted, what is counted is what there is, and nothing is left when all are closed.
    #[test]
    fn counts_hold_and_nothing_protected_is_evicted(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let limiter = limiter(12);
        let mut now = Instant::now();
        let mut open: Vec<(Arc<ConnectionSlot>, Vec<CallGuard>, bool)> = Vec::new();
        for step in steps {
            let at = |slot: usize| slot % open.len().max(1);
            match step {
                Step::Acquire(source, sent) => {
                    let address = IpAddr::from([10, source % 12, 1, 1]);
                    if let Ok(slot) = limiter.acquire(address, sent, now) {
                        open.push((slot, Vec::new(), false));
                    }
                }
                Step::Start(slot) => {
                    let at = at(slot);
                    if let Some((slot, calls, _)) = open.get(at) {
                        let result = slot.mark_started(now);
                        prop_assert!(result.is_ok() || calls.is_empty());
                    }
                }
                Step::Begin(slot) => {
                    let at = at(slot);
                    if let Some((slot, calls, _)) = open.get_mut(at) {
                        calls.push(slot.begin_call());
                    }
                }
                Step::End(slot) => {
                    let at = at(slot);
                    drop(open.get_mut(at).and_then(|(_, calls, _)| calls.pop()));
                }
                Step::Authenticate(slot, name) => {
                    let at = at(slot);
                    if let Some((slot, calls, is_authenticated)) = open.get_mut(at)
                        && !calls.is_empty()
                    {
                        slot.mark_authenticated("hook", &name.to_string());
                        *is_authenticated = true;
                    }
                }
                Step::Client(slot, source) => {
                    let at = at(slot);
                    if let Some((slot, calls, false)) = open.get(at)
                        && calls.is_empty()
                    {
                        let _ = slot.set_client(IpAddr::from([10, source % 12, 2, 1]), now);
                    }
                }
                Step::Close(slot) => {
                    if !open.is_empty() {
                        let (_, calls, _) = open.swap_remove(at(slot));
                        drop(calls);
                    }
                }
                Step::Evict => {
                    limiter.evict_one(now);
                }
                Step::Pass(millis) => now += Duration::from_millis(millis),
            }
            for (slot, calls, is_authenticated) in &open {
                prop_assert!(!evicted(slot) || (calls.is_empty() && !is_authenticated));
            }
            prop_assert_eq!(limiter.existing(), open.len());
            let held = open.iter().filter(|(slot, ..)| !evicted(slot)).count();
            prop_assert_eq!(limiter.lock().held, held);
            let authenticated = open.iter().filter(|(_, _, is_authenticated)| *is_authenticated).count();
            prop_assert_eq!(limiter.snapshot().authenticated, authenticated);
        }
        open.clear();
        drop(limiter.acquire(ip("10.1.1.1"), false, now + 100 * SECOND));
        prop_assert_eq!(limiter.lock().remembered(), (0, 1, 0));
        prop_assert_eq!(limiter.existing(), 0);
    }
}
