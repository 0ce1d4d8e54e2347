//! The header by which a proxy tells whose connection it passes on: PROXY protocol, version 2
//! (<https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>, section 2.2).
//!
//! Invariant: exactly the header is read, and nothing of what follows it; a header is at most
//! [`MAX_HEADER`] bytes. Everything that is not exactly such a header is an error: version 1, UDP,
//! UNIX sockets, lengths that do not fit. Whether the peer may send one is its caller's decision:
//! only a proxy that an operator listed is believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The meaning of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The connection is a client's, from this address and port.
    Client(IpAddr, u16),
    /// The connection is the proxy's own, such as a health check (`LOCAL`), or the proxy does not
    /// know whose it is (`AF_UNSPEC`).
    Proxy,
}

/// The reason why bytes are not a header.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// The first twelve bytes are not the protocol's signature.
    #[error("the connection does not begin with a PROXY protocol version 2 header")]
    Signature,
    /// The version is not 2, or the command is neither `LOCAL` nor `PROXY`.
    #[error("the PROXY header has the version and command {0:#04x}, not 0x20 or 0x21")]
    Command(u8),
    /// The addresses are not those of a TCP connection.
    #[error(
        "the PROXY header has the address family and transport {0:#04x}, which is not TCP over \
         IPv4 or IPv6"
    )]
    Family(u8),
    /// The length leaves no room for the addresses, or is more than the host reads.
    #[error("the PROXY header has an unsupported length of {0} bytes")]
    Length(u16),
    /// The fields after the addresses do not fill the header exactly.
    #[error("the fields after the addresses of the PROXY header do not fill it exactly")]
    Fields,
    /// The connection ended or failed before the header was whole.
    #[error("the connection ended within its PROXY header: {0}")]
    Ended(std::io::Error),
}

/// The fixed part of a header: signature, version and command, family, length of the rest.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    local: bool,
    family: u8,
    length: u16,
}

/// Reads one header off a connection, and nothing beyond it.
pub async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Origin, HeaderError> {
    let mut fixed = [0; FIXED];
    stream.read_exact(&mut fixed).await.map_err(HeaderError::Ended)?;
    let fixed = Fixed::parse(&fixed)?;
    let mut rest = vec![0; usize::from(fixed.length)];
    stream.read_exact(&mut rest).await.map_err(HeaderError::Ended)?;
    fixed.origin(&rest)
}

/// Reads a header that stands at the beginning of some bytes. Returns its meaning and its length;
/// `None` where the bytes end before it does.
pub fn parse(bytes: &[u8]) -> Result<Option<(Origin, usize)>, HeaderError> {
    // Whatever has come of it must fit: a peer that sends something else is not waited for.
    if !SIGNATURE.starts_with(bytes) && !bytes.starts_with(&SIGNATURE) {
        return Err(HeaderError::Signature);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let fixed = Fixed::parse(fixed)?;
    let length = usize::from(fixed.length);
    let Some(rest) = rest.get(..length) else { return Ok(None) };
    fixed.origin(rest).map(|origin| Some((origin, FIXED + length)))
}

impl Fixed {
    fn parse(bytes: &[u8; FIXED]) -> Result<Self, HeaderError> {
        let Some([command, family, high, low]) = bytes.strip_prefix(&SIGNATURE) else {
            return Err(HeaderError::Signature);
        };
        let local = match command {
            0x20 => true,
            0x21 => false,
            other => return Err(HeaderError::Command(*other)),
        };
        let length = u16::from_be_bytes([*high, *low]);
        if usize::from(length) > MAX_HEADER - FIXED {
            return Err(HeaderError::Length(length));
        }
        Ok(Self { local, family: *family, length })
    }

    fn origin(self, rest: &[u8]) -> Result<Origin, HeaderError> {
        if self.local {
            // Section 2.2: whatever follows is to be ignored.
            return Ok(Origin::Proxy);
        }
        let short = HeaderError::Length(self.length);
        let (origin, fields) = match self.family {
            UNSPECIFIED => (Origin::Proxy, rest),
            TCP_OVER_IPV4 => {
                let (addresses, fields) = rest.split_first_chunk::<12>().ok_or(short)?;
                let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
                let port = u16::from_be_bytes([high, low]);
                (Origin::Client(Ipv4Addr::new(a, b, c, d).into(), port), fields)
            }
            TCP_OVER_IPV6 => {
                let (source, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
                let short = HeaderError::Length(self.length);
                let (others, fields) = rest.split_first_chunk::<20>().ok_or(short)?;
                let [.., high, low, _, _] = *others;
                let port = u16::from_be_bytes([high, low]);
                (Origin::Client(Ipv6Addr::from(*source).into(), port), fields)
            }
            other => return Err(HeaderError::Family(other)),
        };
        if self.family != UNSPECIFIED {
            check_fields(fields)?;
        }
        Ok(origin)
    }
}

/// Checks that the fields after the addresses (section 2.2.1: a type, a length, a value each) end
/// where the header does. Their values are not used.
fn check_fields(mut fields: &[u8]) -> Result<(), HeaderError> {
    while let Some(([_, high, low], rest)) = fields.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        fields = rest.get(length..).ok_or(HeaderError::Fields)?;
    }
    if fields.is_empty() { Ok(()) } else { Err(HeaderError::Fields) }
}

/// The twelve bytes with which every header of version 2 begins.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the longest header that is read: addresses, and the certificate fields that proxies
/// add.
pub const MAX_HEADER: usize = 4_096;
/// Bytes before the addresses.
const FIXED: usize = 16;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [203, 0, 113, 9, 10, 0, 0, 1, 0xc0, 0x01, 0x01, 0xbb];

    #[test]
    fn a_clients_address_is_read_and_what_follows_is_left() {
        let client = Origin::Client("203.0.113.9".parse().unwrap(), 0xc001);
        let bytes = [header(0x21, TCP_OVER_IPV4, &IPV4), b"POST /".to_vec()].concat();
        assert_eq!(parse(&bytes).unwrap(), Some((client, 28)));
        let fields = [&IPV4[..], &[0x04, 0, 2, 9, 9], &[0x20, 0, 0]].concat();
        assert_eq!(parse(&header(0x21, 0x11, &fields)).unwrap(), Some((client, 36)));
        let mut address = [0; 36];
        address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        address[15] = 1;
        address[33] = 80;
        let client = Origin::Client("2001:db8::1".parse().unwrap(), 80);
        assert_eq!(parse(&header(0x21, 0x21, &address)).unwrap(), Some((client, 52)));
    }

    #[test]
    fn the_proxys_own_connections_are_its_own() {
        for own in [header(0x20, 0x00, &[]), header(0x20, 0x11, &IPV4), header(0x21, 0x00, &[7])] {
            assert_eq!(parse(&own).unwrap(), Some((Origin::Proxy, own.len())));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let wrong = [
            b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n".to_vec(),
            b"POST /okta/token HTTP/1.1\r\n".to_vec(),
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
            header(0x11, 0x11, &IPV4),
            header(0x22, 0x11, &IPV4),
            header(0x21, 0x12, &IPV4),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x11, &IPV4[..11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x11, &[&IPV4[..], &[1]].concat()),
            header(0x21, 0x11, &[&IPV4[..], &[1, 0, 2, 0]].concat()),
            header(0x20, 0x00, &[0; MAX_HEADER]),
        ];
        for bytes in wrong {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_is_read_whole_or_not_at_all(
            source in any::<u32>(), port in any::<u16>(),
            fields in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
            after in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let source = Ipv4Addr::from(source);
            let mut rest = [&source.octets()[..], &[10, 0, 0, 1], &port.to_be_bytes(), &[1, 187]].concat();
            for (kind, value) in &fields {
                rest.push(*kind);
                rest.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
                rest.extend(value);
            }
            let whole = header(0x21, TCP_OVER_IPV4, &rest);
            let bytes = [&whole[..], &after].concat();
            let client = Origin::Client(source.into(), port);
            prop_assert_eq!(parse(&bytes).unwrap(), Some((client, whole.len())));
            for end in 0..whole.len() {
                prop_assert_eq!(parse(&whole[..end]).unwrap(), None);
            }
        }

        #[test]
        fn both_readers_agree_and_neither_panics(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..80), signed in any::<bool>(),
        ) {
            if signed {
                bytes.splice(0..0, SIGNATURE);
            }
            let parsed = parse(&bytes);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut stream = &bytes[..];
            let read = runtime.block_on(read_header(&mut stream));
            match parsed {
                Ok(Some((origin, length))) => {
                    prop_assert_eq!(read.unwrap(), origin);
                    prop_assert_eq!(stream.len(), bytes.len() - length);
                }
                Ok(None) => prop_assert!(matches!(read, Err(HeaderError::Ended(_)))),
                Err(_) => prop_assert!(read.is_err()),
            }
        }
    }
}
