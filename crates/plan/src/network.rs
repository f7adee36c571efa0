//! Sets of IP networks.

use std::net::IpAddr;

use ipnet::IpNet;

/// IP networks, such as those of trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads `10.0.0.0/8`, or an address, which is a network of its own. `None` when it is neither.
    pub fn parse(text: &str) -> Option<IpNet> {
        text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    }

    /// Whether an address is in one of them. An IPv4 address that is written as an IPv6 one counts as what it is.
    pub fn contain(&self, ip: IpAddr) -> bool {
        !self.0.is_empty() && {
            let ip = ip.to_canonical();
            self.0.iter().any(|network| network.contains(&ip))
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read() {
        let all = ["10.1.2.3", "192.168.0.0/16", "fd00::/8", "::1"];
        let networks: Networks = all.iter().map(|text| Networks::parse(text).unwrap()).collect();
        let contains = |ip: &str| networks.contain(ip.parse().unwrap());
        for inside in ["10.1.2.3", "192.168.255.255", "::ffff:192.168.1.1", "fd12::9", "::1"] {
            assert!(contains(inside), "{inside}");
        }
        for outside in ["10.1.2.4", "192.169.0.0", "fe00::", "::2", "::ffff:10.1.2.4"] {
            assert!(!contains(outside), "{outside}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.0/", "::/129", "10.0.0.1:80"] {
            assert_eq!(Networks::parse(text), None, "{text}");
        }
    }
}
