//! What a scrape asks for: `Accept` as Prometheus 3 builds it (`acceptHeader` in scrape/scrape.go), and `Accept-Encoding`.

use crate::config::checked::{Escaping, ScrapeProtocol};
use crate::net::connect::PeerInfo;

/// One more than there are protocols: the weight of the first one, in tenths.
const FIRST_WEIGHT: usize = 6;

/// What is asked for, best first, and then anything at all: an answer of another format is read as what it says it is.
pub(super) fn formats(protocols: &[ScrapeProtocol], escaping: Escaping) -> String {
    let mut header = String::new();
    for (at, protocol) in protocols.iter().enumerate() {
        header += media_range(*protocol);
        // Older versions know nothing of it.
        if matches!(protocol, ScrapeProtocol::OpenMetricsText1_0_0 | ScrapeProtocol::PrometheusText1_0_0) {
            header += ";escaping=";
            header += escaping.word();
        }
        header += &format!(";q=0.{},", FIRST_WEIGHT.saturating_sub(at));
    }
    header + &format!("*/*;q=0.{}", FIRST_WEIGHT.saturating_sub(protocols.len()))
}

/// The encoding that is asked for. None within the machine: inflating costs more than a copy.
pub(super) fn encoding(is_enabled: bool, peer: &PeerInfo) -> Option<&'static str> {
    (is_enabled && !peer.is_local).then_some("gzip")
}

fn media_range(protocol: ScrapeProtocol) -> &'static str {
    match protocol {
        ScrapeProtocol::PrometheusProto => {
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
        }
        ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
        ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
        ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_asked_for_only_where_bytes_leave_the_machine() {
        let address = "10.0.0.1:9100".parse().unwrap();
        for (is_enabled, is_local, expected) in
            [(true, false, Some("gzip")), (true, true, None), (false, false, None), (false, true, None)]
        {
            let peer = PeerInfo { address, is_local, tls: None };
            assert_eq!(encoding(is_enabled, &peer), expected);
        }
    }
}
