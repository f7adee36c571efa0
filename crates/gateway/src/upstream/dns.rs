//! Names of upstreams to addresses, with their time to live. Runs on the lookout's thread.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use polygate_plan::{Dns, Family};

/// How long an answer of the system's resolver is used, which tells no time to live.
const SYSTEM_TTL: Duration = Duration::from_secs(10);
/// Addresses of one name that are used; an answer's further ones are left out.
pub(super) const MAX_ADDRESSES: usize = 64;
/// Records of one service that are used.
const MAX_SERVICES: usize = 64;

/// Resolves names.
pub(super) struct Resolver {
    /// `None` when the system's name servers cannot be found out; its own resolver is asked then.
    dns: Option<TokioResolver>,
    family: Family,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer<T> {
    pub(super) found: Vec<T>,
    pub(super) ttl: Duration,
}

/// What an SRV record and its host's addresses say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) address: IpAddr,
}

impl Resolver {
    pub(super) fn new(dns: &Dns) -> Self {
        let mut options = ResolverOpts::default();
        options.timeout = dns.timeout;
        options.attempts = 2;
        // Names are asked for when their time is over: there is nothing to remember in between.
        options.cache_size = 0;
        options.ip_strategy = match dns.family {
            Family::Both => LookupIpStrategy::Ipv4AndIpv6,
            Family::Ipv4 => LookupIpStrategy::Ipv4Only,
            Family::Ipv6 => LookupIpStrategy::Ipv6Only,
        };
        let builder = if dns.servers.is_empty() {
            TokioResolver::builder_tokio().map(|mut builder| {
                let system = builder.options_mut();
                (options.ndots, options.edns0) = (system.ndots, system.edns0);
                builder.with_options(options)
            })
        } else {
            let servers = dns.servers.iter().map(|server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = server.port();
                }
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                .with_options(options))
        };
        let dns_resolver = builder.and_then(|builder| builder.build());
        if let Err(error) = &dns_resolver {
            tracing::warn!(%error, "the system's name servers are not known; its own resolver is asked");
        }
        Self { dns: dns_resolver.ok(), family: dns.family }
    }

    /// The addresses of a host.
    pub(super) async fn addresses(&self, host: &str) -> Result<Answer<IpAddr>, String> {
        let mut answer = match &self.dns {
            Some(dns) => {
                let lookup = dns.lookup_ip(host).await.map_err(|error| error.to_string())?;
                let ttl = lookup.valid_until().saturating_duration_since(Instant::now());
                Answer { found: lookup.iter().collect(), ttl }
            }
            None => {
                let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| error.to_string())?;
                let fits = |ip: &IpAddr| match self.family {
                    Family::Both => true,
                    Family::Ipv4 => ip.is_ipv4(),
                    Family::Ipv6 => ip.is_ipv6(),
                };
                let found = found.map(|address| address.ip()).filter(fits).collect();
                Answer { found, ttl: SYSTEM_TTL }
            }
        };
        // Servers turn the order round: what is compared and cut off must not depend on it.
        answer.found.sort_unstable();
        answer.found.dedup();
        answer.found.truncate(MAX_ADDRESSES);
        if answer.found.is_empty() { Err("no address".to_owned()) } else { Ok(answer) }
    }

    /// The hosts of a service, of the first priority, with their addresses.
    pub(super) async fn services(&self, name: &str) -> Result<Answer<Service>, String> {
        let Some(dns) = &self.dns else {
            return Err(
                "the system's name servers are not known, so that there are no SRV records".to_owned()
            );
        };
        let lookup = dns.srv_lookup(name).await.map_err(|error| error.to_string())?;
        let mut ttl = lookup.valid_until().saturating_duration_since(Instant::now());
        let records: Vec<_> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(service) => Some(service),
                _ => None,
            })
            .collect();
        let first = records.iter().map(|record| record.priority).min();
        let mut found = Vec::new();
        let mut problem = None;
        let records = records.into_iter().filter(|record| Some(record.priority) == first);
        for record in records.take(MAX_SERVICES) {
            let host = record.target.to_utf8();
            let host = host.trim_end_matches('.');
            match self.addresses(host).await {
                Ok(answer) => {
                    ttl = ttl.min(answer.ttl);
                    found.extend(answer.found.into_iter().map(|address| Service {
                        host: host.to_owned(),
                        port: record.port,
                        // RFC 2782: those of weight 0 are chosen seldom, but they are chosen.
                        weight: u32::from(record.weight).max(1),
                        address,
                    }));
                }
                Err(error) => problem = Some(format!("{host}: {error}")),
            }
        }
        found.sort_unstable_by(|a, b| (a.address, a.port, &a.host).cmp(&(b.address, b.port, &b.host)));
        match problem {
            Some(problem) if found.is_empty() => Err(problem),
            _ if found.is_empty() => Err("no SRV record".to_owned()),
            _ => Ok(Answer { found, ttl }),
        }
    }
}
