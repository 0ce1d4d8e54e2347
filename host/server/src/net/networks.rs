//! Networks as an operator writes them: addresses and CIDR blocks, IPv4 and IPv6.
//!
//! Invariant: a set is sorted and its ranges do not overlap, so that a look-up takes a number of
//! steps that grows with the logarithm of the set. IPv4 addresses that came mapped into IPv6 count
//! as IPv4.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks {
    /// First and last address of each range, as IPv6.
    ranges: Vec<(u128, u128)>,
}

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        if texts.len() > MAX_NETWORKS {
            return Err(format!("it has {} networks, more than {MAX_NETWORKS}", texts.len()));
        }
        Self::parse(&texts).map_err(|wrong| {
            let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
            wrong.join("; ")
        })
    }
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork {
    text: String,
    why: &'static str,
}

impl Networks {
    /// Reads a list of networks. Gives everything that is wrong with it at once.
    pub fn parse<'t>(
        texts: impl IntoIterator<Item = &'t String>,
    ) -> Result<Self, Vec<NotANetwork>> {
        let mut ranges = Vec::new();
        let mut wrong = Vec::new();
        for text in texts {
            match range(text) {
                Ok(range) => ranges.push(range),
                Err(why) => wrong.push(NotANetwork { text: text.clone(), why }),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self { ranges: merged })
    }

    /// Returns whether an address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = number(address);
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        let range = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        range.is_some_and(|(_, last)| number <= *last)
    }

    /// Returns whether there is no network in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a network: {}", self.text.escape_debug(), self.why)
    }
}

/// The network that an address is counted under: /24 of IPv4, /56 of IPv6, since one client can
/// have every address of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u128);

impl Prefix {
    /// The prefix of an address.
    pub fn of(address: IpAddr) -> Self {
        let bits = match address.to_canonical() {
            IpAddr::V4(_) => MAPPED_BITS + 24,
            IpAddr::V6(_) => 56,
        };
        Self(number(address) & mask(bits))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.0);
        match address.to_ipv4_mapped() {
            Some(address) => write!(f, "{address}/24"),
            None => write!(f, "{address}/56"),
        }
    }
}

/// The address that one client is known by again: all of IPv4, /64 of IPv6, in which a client
/// changes its address by itself (RFC 8981).
pub fn client_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask(64))),
        v4 => v4,
    }
}

fn range(text: &str) -> Result<(u128, u128), &'static str> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr =
        address.parse().map_err(|_| "it does not begin with an IPv4 or IPv6 address")?;
    let (most, offset) = match address {
        IpAddr::V4(_) => (32, MAPPED_BITS),
        IpAddr::V6(_) => (128, 0),
    };
    let bits = match bits {
        None => most,
        Some(bits) => {
            let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { bits.parse::<u32>().ok() } else { None };
            number.filter(|bits| *bits <= most).ok_or(
                "the text after `/` is not a prefix length (0 to 32, or 0 to 128 for IPv6)",
            )?
        }
    };
    let mask = mask(offset + bits);
    let first = number(address);
    if first & !mask != 0 {
        return Err("the address has bits set beyond its prefix length");
    }
    Ok((first, first | !mask))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => mapped(address),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn mapped(address: Ipv4Addr) -> u128 {
    u128::from(address.to_ipv6_mapped())
}

/// The mask of so many leading bits.
fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0)
}

/// Networks in one list: platforms publish some thousand.
const MAX_NETWORKS: usize = 10_000;
/// Bits before an IPv4 address that is mapped into IPv6 (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(texts: &[&str]) -> Result<Networks, Vec<NotANetwork>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Networks::parse(&texts)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_found_in_their_networks_alone() {
        let networks =
            set(&["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "10.1.2.0/24", "::1"]).unwrap();
        for inside in ["10.1.0.0", "10.1.255.255", "192.0.2.7", "2001:db8:ffff::1", "::1"] {
            assert!(networks.contains(ip(inside)), "{inside}");
        }
        for outside in ["10.0.255.255", "10.2.0.0", "192.0.2.8", "2001:db9::", "::2", "127.0.0.1"] {
            assert!(!networks.contains(ip(outside)), "{outside}");
        }
        assert!(networks.contains(ip("::ffff:10.1.2.3")), "mapped into IPv6");
        assert!(set(&["0.0.0.0/0"]).unwrap().contains(ip("203.0.113.9")));
        assert!(!set(&["0.0.0.0/0"]).unwrap().contains(ip("2001:db8::1")));
        assert!(set(&["::/0"]).unwrap().contains(ip("2001:db8::1")));
        assert!(!set(&[]).unwrap().contains(ip("127.0.0.1")));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let texts = ["10.0.0.1/8", "x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "1.2.3/8", ""];
        let wrong = set(&texts).unwrap_err();
        assert_eq!(wrong.len(), texts.len());
        assert_eq!(
            wrong.first().unwrap().to_string(),
            "`10.0.0.1/8` is not a network: the address has bits set beyond its prefix length"
        );
    }

    #[test]
    fn prefixes_are_a_24th_and_a_56th() {
        assert_eq!(Prefix::of(ip("10.1.2.3")), Prefix::of(ip("::ffff:10.1.2.200")));
        assert_ne!(Prefix::of(ip("10.1.2.3")), Prefix::of(ip("10.1.3.3")));
        assert_eq!(Prefix::of(ip("2001:db8:0:1::1")), Prefix::of(ip("2001:db8:0:ff:9::1")));
        assert_ne!(Prefix::of(ip("2001:db8:0:1::1")), Prefix::of(ip("2001:db8:0:101::1")));
        assert_eq!(Prefix::of(ip("10.1.2.3")).to_string(), "10.1.2.0/24");
        assert_eq!(Prefix::of(ip("2001:db8:1:2:3::4")).to_string(), "2001:db8:1::/56");
    }

    proptest! {
        #[test]
        fn a_set_answers_as_its_networks_do_one_by_one(
            blocks in proptest::collection::vec((any::<u32>(), 0_u32..=32), 0..20),
            address in any::<u32>(),
        ) {
            let blocks: Vec<_> = blocks
                .into_iter()
                .map(|(block, bits)| (block & u32::MAX.checked_shl(32 - bits).unwrap_or(0), bits))
                .collect();
            let texts: Vec<_> = blocks
                .iter()
                .map(|(block, bits)| format!("{}/{bits}", Ipv4Addr::from(*block)))
                .collect();
            let inside = blocks.iter().any(|(block, bits)| {
                (address ^ block).checked_shr(32 - bits).unwrap_or(0) == 0
            });
            let networks = Networks::parse(&texts).unwrap();
            prop_assert_eq!(networks.contains(Ipv4Addr::from(address).into()), inside);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            drop(Networks::parse(&[text]));
        }
    }
}
