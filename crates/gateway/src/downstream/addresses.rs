//! How many connections each client address has open on a worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;

/// The first 96 bits of the addresses in which IPv6 hosts see IPv4 ones through a translator (RFC 6052 2.1); the last 32
/// bits are the IPv4 address.
const TRANSLATED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Counts a worker's connections by the address of the client. Clones are the same one.
///
/// It has an entry for each address with an open connection and for no other: there are never more of them than
/// `limits.connections`. Clients choose the keys, so the map hashes them with a secret.
#[derive(Clone, Default)]
pub(super) struct Addresses(Rc<RefCell<HashMap<u64, Tally>>>);

#[derive(Default)]
struct Tally {
    open: usize,
    /// Whether a refusal was told since the address had no more than half of what it may have.
    told: bool,
}

/// A connection among those of its address; dropping it counts it out.
pub(super) struct Place {
    addresses: Addresses,
    key: u64,
    most: NonZeroUsize,
}

/// An address has as many connections as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// Whether it is the first refusal of a bout, which ends when the address has no more than half of what it may have.
    pub(super) first: bool,
}

impl Addresses {
    /// Counts a connection in, unless its address has `most` of them.
    pub(super) fn take(&self, ip: IpAddr, most: NonZeroUsize) -> Result<Place, Full> {
        let key = key(ip);
        let mut tallies = self.0.borrow_mut();
        let tally = tallies.entry(key).or_default();
        if tally.open >= most.get() {
            return Err(Full { first: !std::mem::replace(&mut tally.told, true) });
        }
        tally.open += 1;
        Ok(Place { addresses: self.clone(), key, most })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tallies = self.addresses.0.borrow_mut();
        let Some(tally) = tallies.get_mut(&self.key) else { return };
        tally.open -= 1;
        if tally.open == 0 {
            tallies.remove(&self.key);
        } else if tally.open <= self.most.get() / 2 {
            tally.told = false;
        }
    }
}

/// What counts as one address: one of IPv4, or 64 bits of IPv6, since that is what one customer or one machine is given
/// (RFC 6177 2) and may use every address of. Addresses of IPv4 share their numbers with `::/32`, which is given to nobody
/// (RFC 4291 2.4).
fn key(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) if ip.segments()[..6] == TRANSLATED => u64::from(ip.to_bits() as u32),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(addresses: &Addresses, ip: IpAddr, most: usize) -> Result<Place, Full> {
        addresses.take(ip, NonZeroUsize::new(most).unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_places() {
        let addresses = Addresses::default();
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let held = [take(&addresses, a, 2).ok().unwrap(), take(&addresses, a, 2).ok().unwrap()];
        assert_eq!(take(&addresses, a, 2).err(), Some(Full { first: true }));
        assert!(take(&addresses, b, 2).is_ok(), "others are let in");
        drop(held);
        assert!(take(&addresses, a, 2).is_ok());
    }

    #[test]
    fn an_address_is_one_of_ipv4_or_a_network_of_ipv6() {
        let same = [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
            ("192.0.2.1", "::ffff:192.0.2.1"),
            ("192.0.2.1", "64:ff9b::192.0.2.1"),
        ];
        for (one, other) in same {
            assert_eq!(key(ip(one)), key(ip(other)), "{one} {other}");
        }
        let apart = [
            ("2001:db8:1:2::1", "2001:db8:1:3::1"),
            ("192.0.2.1", "192.0.2.2"),
            ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2"),
            ("64:ff9b:1::1", "::1"),
        ];
        for (one, other) in apart {
            assert_ne!(key(ip(one)), key(ip(other)), "{one} {other}");
        }
    }

    #[test]
    fn a_bout_of_refusals_is_told_once() {
        let addresses = Addresses::default();
        let take = || take(&addresses, ip("::1"), 4);
        let mut held: Vec<Place> = (0..4).map(|_| take().ok().unwrap()).collect();
        assert_eq!(take().err(), Some(Full { first: true }));
        assert_eq!(take().err(), Some(Full { first: false }));
        // One leaves and one comes: still the same bout.
        held.pop();
        held.push(take().ok().unwrap());
        assert_eq!(take().err(), Some(Full { first: false }));
        held.truncate(2);
        held.extend((0..2).map(|_| take().ok().unwrap()));
        assert_eq!(take().err(), Some(Full { first: true }));
    }

    #[test]
    fn addresses_without_a_connection_are_forgotten() {
        let addresses = Addresses::default();
        for n in 0..1000_u32 {
            let ip = IpAddr::V4(n.into());
            let _place = take(&addresses, ip, 1).ok().unwrap();
            assert!(take(&addresses, ip, 1).is_err());
            assert_eq!(addresses.0.borrow().len(), 1);
        }
        assert!(addresses.0.borrow().is_empty());
    }
}
