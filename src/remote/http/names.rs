//! Addresses of hosts, from `/etc/hosts` and from the servers in `/etc/resolv.conf`.
//!
//! The C library's resolver would load name services of the host, which a static program can't do
//! safely.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Finds addresses. The files are read when the first name is looked up.
#[derive(Debug, Default)]
pub(super) struct Names;

/// The only one of this process, as is its event loop.
static RESOLVER: OnceLock<Result<TokioResolver, NetError>> = OnceLock::new();

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let resolver = RESOLVER.get_or_init(resolver).as_ref()?;
            let found = resolver.lookup_ip(name.as_str()).await?;
            // A connection has a port of its own.
            let found: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn resolver() -> Result<TokioResolver, NetError> {
    // Without servers in the file there is one on this host, as resolv.conf(5) says.
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        let local = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let servers = ResolverConfig::from_name_servers(vec![local]);
        TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
    });
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    builder.build()
}
