//! `dns_sd_configs`: targets that names stand for, as Prometheus finds them.
//!
//! BOSH DNS names such as `q-s0.diego-cell.default.cf.bosh` are asked of the server that the system names, as any others.

use std::time::Duration;

use crate::config::checked::{DnsRecord, DnsSd};
use crate::model::Labels;
use crate::net::authority;
use crate::net::dns::{Found, Resolver};

use super::remote::{Said, Tell};
use super::resolve::{Group, Own};

/// A command that looks once waits so long for all names.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at every refresh interval, for ever.
pub(super) async fn run(sd: DnsSd, tell: Tell) {
    let mut held: Option<Said> = None;
    let mut known = vec![None; sd.names.len()];
    let mut ticks = tokio::time::interval(sd.refresh_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let said = look(&sd, &mut known).await;
        if held.as_ref() != Some(&said) {
            tell.tell(said.clone());
            held = Some(said);
        }
    }
}

/// Asks for each name. `known` are the last good answers, by the name's place in the list.
async fn look(sd: &DnsSd, known: &mut [Option<Vec<Found>>]) -> Said {
    let resolver = match sd.servers.as_slice() {
        [] => Resolver::system(),
        servers => Ok(Resolver::of(servers.to_vec())),
    };
    let mut problems = Vec::new();
    for (name, known) in sd.names.iter().zip(known.iter_mut()) {
        let asked = match &resolver {
            Ok(resolver) => resolver.lookup(name, sd.record).await,
            Err(error) => Err(error.clone()),
        };
        match asked {
            Ok(found) => *known = Some(found),
            Err(error) => {
                let stays = if known.is_some() { "; what it stood for before stays" } else { "" };
                problems.push(format!("dns_sd: {}: {error}{stays}", name.escape_debug()));
            }
        }
    }
    let named = sd.names.iter().zip(known.iter());
    let groups = named.flat_map(|(name, found)| found.iter().flatten().map(|one| group(sd, name, one)));
    Said { groups: groups.collect(), problem: (!problems.is_empty()).then(|| problems.join("; ")) }
}

/// Labels as Prometheus names them.
fn group(sd: &DnsSd, name: &str, found: &Found) -> Group {
    let mut labels = Labels::new();
    labels.set("__meta_dns_name", name.to_owned());
    let target = match found {
        Found::Address(ip) => authority(&ip.to_string(), sd.port),
        Found::Service { host, port } => {
            labels.set("__meta_dns_srv_record_target", format!("{host}."));
            labels.set("__meta_dns_srv_record_port", port.to_string());
            authority(host, *port)
        }
    };
    debug_assert!(matches!(sd.record, DnsRecord::Srv) == matches!(found, Found::Service { .. }));
    Group { targets: vec![target], labels, file: None, own: Own::default() }
}
