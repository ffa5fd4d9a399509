//! The `Accept` header of a scrape, as Prometheus 3 builds it (`acceptHeader` in scrape/scrape.go).

use crate::config::checked::{Escaping, ScrapeProtocol};

/// One more than there are protocols: the weight of the first one, in tenths.
const FIRST_WEIGHT: usize = 6;

/// What is asked for, best first, and then anything at all: an answer of another format is read as what it says it is.
pub(super) fn header(protocols: &[ScrapeProtocol], escaping: Escaping) -> String {
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
