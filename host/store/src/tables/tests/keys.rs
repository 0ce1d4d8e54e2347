//! Network keys against a scan of all networks and against another implementation; keys of several
//! columns and of other types than text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::*;

fn networks() -> Declaration {
    declaration(
        "name = 'n'\nformat = 'csv'\nmax_age_seconds = 60\nmin_rows = 0\n\
         key = { columns = ['net'], kind = 'network' }\ncolumns = [\n\
         { name = 'net', type = 'ip-network' }, { name = 'row', type = 'integer' }]",
    )
}

/// Few distinct bits, so that networks nest and repeat.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..4, 0u32..4).prop_map(|(high, low)| Ipv4Addr::from((high << 30) | low).into()),
        (0u128..4, 0u128..4).prop_map(|(high, low)| Ipv6Addr::from((high << 125) | low).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits & 0xff00_00ff).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits & 0xc).to_ipv6_mapped().into()),
    ]
}

fn network() -> impl Strategy<Value = IpNetwork> {
    (address(), any::<u8>()).prop_map(|(address, length)| {
        let length = match address {
            IpAddr::V4(_) => length % 33,
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => 96 + length % 33,
            IpAddr::V6(_) => length % 129,
        };
        let network = IpNetwork::new(address, length).unwrap();
        IpNetwork::new(network.network(), length).unwrap()
    })
}

/// The longest prefix by trying every network.
fn scan(networks: &[IpNetwork], address: IpAddr) -> Vec<u32> {
    let contains = |network: &IpNetwork| {
        let plain = crate::tables::cell::canonical(*network).unwrap();
        plain.contains(address.to_canonical()).then_some(plain)
    };
    let longest = networks.iter().filter_map(contains).max_by_key(|network| network.prefix());
    (0..)
        .zip(networks)
        .filter(|(_, network)| longest.is_some() && contains(network) == longest)
        .map(|(row, _)| row)
        .collect()
}

proptest! {
    #[test]
    fn the_longest_prefix_is_the_one_of_a_scan(
        networks in prop::collection::vec(network(), 0..30),
        asked in prop::collection::vec(address(), 20),
    ) {
        let lines = networks.iter().map(|network| format!("{network},1\n"));
        let declaration = super::keys::networks();
        let table = load(&declaration, format!("net,row\n{}", lines.collect::<String>()));
        for address in asked.into_iter().chain(networks.iter().map(|network| network.ip())) {
            let found: Vec<_> = table.lookup_address(address).map(|row| row.number()).collect();
            prop_assert_eq!(&found, &scan(&networks, address), "{}", address);
            let by_text: Vec<_> =
                table.lookup(&[&address.to_string()]).map(|row| row.number()).collect();
            prop_assert_eq!(by_text, found);
        }
        // Each network is found by itself, too.
        for head in table.heads() {
            prop_assert_eq!(table.head_of(head), Some(head));
        }
    }

    #[test]
    fn keys_of_several_columns_do_not_run_together(
        rows in prop::collection::vec(("[ab]{1,2}", "[ab]{1,2}"), 0..30),
        asked in prop::collection::vec(("[ab]{1,2}", "[ab]{1,2}"), 10),
    ) {
        let mut declaration = plain("csv");
        declaration.key.columns = vec!["k".to_owned(), "a".to_owned()];
        let lines = rows.iter().map(|(k, a)| format!("{k},{a},\n"));
        let table = load(&declaration, format!("k,a,b\n{}", lines.collect::<String>()));
        for (k, a) in rows.iter().chain(&asked) {
            let found: Vec<_> = table.lookup(&[k, a]).map(|row| row.number()).collect();
            let scanned: Vec<_> = (0..).zip(&rows)
                .filter(|(_, row)| (&row.0, &row.1) == (k, a)).map(|(at, _)| at).collect();
            prop_assert_eq!(found, scanned);
        }
    }
}

#[test]
fn a_database_of_networks_agrees_with_its_own_reader() {
    let bytes = include_bytes!("../../../examples-data/sites.mmdb").as_slice();
    let reader = maxminddb::Reader::from_source(bytes).unwrap();
    let declaration = declaration(include_str!("../../../examples-data/sites.toml"));
    let table = load(&declaration, bytes);
    for text in [
        "192.0.2.0",
        "192.0.2.127",
        "192.0.2.128",
        "198.51.100.200",
        "198.51.101.0",
        "8.8.8.8",
        "2001:db8:40::",
        "2001:db8:4f:ffff:ffff:ffff:ffff:ffff",
        "2001:db8:50::",
        "::1",
    ] {
        let address: IpAddr = text.parse().unwrap();
        let path =
            [maxminddb::PathElement::Key("country"), maxminddb::PathElement::Key("iso_code")];
        let other: Option<String> = reader.lookup(address).unwrap().decode_path(&path).unwrap();
        let row = table.lookup_address(address).next();
        let country = row.and_then(|row| row.get("country")).and_then(|value| value.as_text());
        assert_eq!(country, other.as_deref(), "{text}");
    }
}

#[test]
fn keys_of_other_types_are_compared_by_value() {
    let declaration = declaration(
        "name = 't'\nformat = 'csv'\nmax_age_seconds = 60\nkey = { columns = ['n', 'day', 'on'] }\n\
         columns = [{ name = 'n', type = 'integer' },\n\
         { name = 'day', type = 'date', format = '%m/%d/%Y' }, { name = 'on', type = 'boolean' }]",
    );
    let table = load(&declaration, "n,day,on\n007,02/29/2024,Y\n");
    assert_eq!(table.lookup(&["7", "02/29/2024", "true"]).count(), 1);
    assert_eq!(table.lookup(&[" 07", "2/29/2024", "1"]).count(), 1);
    assert_eq!(table.lookup(&["7", "02/29/2024", "false"]).count(), 0);
    assert_eq!(table.lookup(&["seven", "02/29/2024", "true"]).count(), 0);
    assert_eq!(table.lookup(&["7", "02/29/2024", "true", "x"]).count(), 0);
}
