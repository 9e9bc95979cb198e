//! How many connections come from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// Bits of an IPv6 address that name a network: a household or a machine has one /64 and may take any address in it
/// (RFC 6177), so a limit on single addresses would limit nobody.
const NETWORK_BITS: u32 = 64;

/// Counts the connections of each address; IPv6 addresses are counted by their network of 64 bits.
#[derive(Debug, Default)]
pub struct AddressSeats(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place among those of its address; dropping it gives the place back.
#[derive(Debug)]
pub struct AddressSeat {
    seats: Arc<AddressSeats>,
    network: IpAddr,
}

impl AddressSeats {
    /// Nobody is there yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes a place, unless the address has `most` already; 0 is no limit. All are counted, so that a limit that is
    /// set later finds the connections that are there.
    #[must_use]
    pub fn take(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<AddressSeat> {
        let network = network(address);
        let mut seats = self.0.lock();
        let taken = seats.entry(network).or_insert(0);
        if most > 0 && *taken >= most {
            return None;
        }
        *taken += 1;
        drop(seats);
        Some(AddressSeat { seats: Arc::clone(self), network })
    }

    /// Addresses that have a connection.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for AddressSeat {
    fn drop(&mut self) {
        let mut seats = self.seats.0.lock();
        if let Some(taken) = seats.get_mut(&self.network) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.network);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_and_no_more() {
        let seats = AddressSeats::new();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = seats.take(here, 2).unwrap();
        let _second = seats.take(here, 2).unwrap();
        assert!(seats.take(here, 2).is_none());
        assert!(seats.take(there, 2).is_some());
        drop(first);
        assert!(seats.take(here, 2).is_some());
        assert_eq!(seats.addresses(), 1, "who is gone leaves nothing behind");
        let _many: Vec<_> = (0..5).map(|_| seats.take(here, 0).unwrap()).collect();
        assert!(seats.take(here, 6).is_none(), "those taken without a limit count");
    }

    #[test]
    fn ipv6_is_counted_by_network_and_mapped_ipv4_as_ipv4() {
        let cases = [
            ("2001:db8::1", "2001:db8::ffff:1"),
            ("2001:db8:0:1::", "2001:db8:0:1:ffff:ffff:ffff:ffff"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ];
        for (one, other) in cases {
            assert_eq!(network(one.parse().unwrap()), network(other.parse().unwrap()), "{one} {other}");
        }
        assert_ne!(network("2001:db8:0:1::1".parse().unwrap()), network("2001:db8:0:2::1".parse().unwrap()));
        assert_ne!(network("10.0.0.1".parse().unwrap()), network("10.0.0.2".parse().unwrap()));
    }
}
