//! Short hashes of values: what the memory keeps in place of addresses, user agents and devices.
//!
//! Invariant: the same text has the same hash natively, in WebAssembly and in every version of the
//! plugin, and no hash is 0, which means "not known". The hash (FNV-1a, 64 bits, with the finalizer
//! of MurmurHash3) is not a secret one: a value that can be listed, such as an IPv4 address, can be
//! found again by trying all. It saves room and keeps text out of the memory; it does not hide it.

use std::net::IpAddr;

/// The hash of bytes, 64 bits, never 0.
pub(crate) fn hash64(bytes: &[u8]) -> u64 {
    let mut hash = OFFSET_BASIS;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash.max(1)
}

/// The hash of bytes, 32 bits, never 0.
pub(crate) fn hash32(bytes: &[u8]) -> u32 {
    u32::try_from(hash64(bytes) & 0xffff_ffff).unwrap_or(1).max(1)
}

/// The hash of bytes, 16 bits, never 0.
pub(crate) fn hash16(bytes: &[u8]) -> u16 {
    u16::try_from(hash64(bytes) & 0xffff).unwrap_or(1).max(1)
}

/// The hash of an address: of all of an IPv4 address, and of the /64 of an IPv6 address, because
/// one machine changes the rest of it every day (RFC 8981).
pub(crate) fn hash_address(address: IpAddr) -> u32 {
    match canonical(address) {
        IpAddr::V4(address) => hash32(&address.octets()),
        IpAddr::V6(address) => hash32(&(u128::from(address) >> 64).to_be_bytes()),
    }
}

/// An IPv4 address that is written as an IPv6 address becomes an IPv4 address.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_that_memories_already_hold() {
        // A change of these numbers makes every stored history strange to its owner.
        // They are those of a second implementation, in Python.
        assert_eq!(hash64(b""), 0xecba_3df2_c338_3c52);
        assert_eq!(hash64(b"foobar"), 0x6916_ce8b_48d4_bc55);
        assert_eq!(u64::from(hash32(b"ward")), hash64(b"ward") & 0xffff_ffff);
        assert_ne!(hash32(b"ward-3"), hash32(b"ward-4"));
    }

    #[test]
    fn an_address_is_one_machine() {
        let address = |text: &str| hash_address(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff:1:2:3"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
