//! Self-metrics: the snapshots of this moment as OpenMetrics, by `prometheus-client`.
//!
//! Nothing is counted here. The ledgers, queues and targets hold the numbers; a scrape of this port reads them once.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::Process;
use super::snapshot::{
    CertificateSnapshot, Health, MemorySnapshot, OutputSnapshot, RegistrarSnapshot, ScrapeCounts, ServedSnapshot,
    Snapshots, Targets,
};
use crate::pipeline::Reasons;
use crate::pipeline::disk::DiskState;

/// What this module writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of this moment.
pub(super) fn exposition(snapshots: &dyn Snapshots) -> Result<String, fmt::Error> {
    let snapshot = Snapshot {
        targets: snapshots.targets(),
        outputs: snapshots.outputs(),
        scrapes: snapshots.scrapes(),
        certificates: snapshots.certificates(),
        memory: snapshots.memory(),
        registrar: snapshots.registrar(),
        process: Process::read(),
        stands_in_for_prom_scraper: snapshots.stands_in_for_prom_scraper(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot {
    targets: Targets,
    outputs: Vec<OutputSnapshot>,
    scrapes: ScrapeCounts,
    certificates: Vec<CertificateSnapshot>,
    memory: MemorySnapshot,
    registrar: Option<RegistrarSnapshot>,
    process: Process,
    stands_in_for_prom_scraper: bool,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        writer.build()?;
        self.prom_scraper(&mut writer)?;
        self.process(&mut writer)?;
        self.memory(&mut writer)?;
        self.targets(&mut writer)?;
        self.certificates(&mut writer)?;
        self.ledgers(&mut writer)?;
        self.outputs(&mut writer)?;
        self.disks(&mut writer)?;
        self.registrar(&mut writer)?;
        self.served(&mut writer)
    }
}

type Label<'l> = (&'static str, &'l str);

/// Writes families.
struct Writer<'e>(DescriptorEncoder<'e>);

impl Writer<'_> {
    /// A counter; its samples are named `NAME_total`.
    fn counter<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([Label<'l>; N], V)>,
    ) -> fmt::Result {
        self.family(name, help, rows.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([Label<'l>; N], V)>,
    ) -> fmt::Result {
        self.family(name, help, rows.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
    }

    /// A family that has no sample is not there at all.
    fn family<'l, const N: usize, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = ([Label<'l>; N], M)>,
    ) -> fmt::Result {
        let mut rows = rows.peekable();
        let Some((_, first)) = rows.peek() else { return Ok(()) };
        let mut metrics = self.0.encode_descriptor(name, help, None, first.metric_type())?;
        if N == 0 {
            // As a family it would have empty braces.
            return first.encode(metrics);
        }
        rows.try_for_each(|(labels, metric)| metric.encode(metrics.encode_family(&labels)?))
    }

    fn build(&mut self) -> fmt::Result {
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let metric = self.0.encode_descriptor("promferry_build", "What is running.", None, info.metric_type())?;
        info.encode(metric)
    }
}

impl Snapshot {
    fn process(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let process = &self.process;
        let one = |value: Option<f64>| value.map(|value| ([], value));
        writer.counter("process_cpu_seconds", "CPU time used, in user and system mode.", one(process.cpu_seconds))?;
        writer.gauge("process_resident_memory_bytes", "Memory resident.", one(process.resident_bytes))?;
        writer.gauge("process_open_fds", "File descriptors open.", one(process.open_fds))?;
        writer.gauge("process_start_time_seconds", "Start, in seconds since 1970.", one(process.start_seconds))
    }

    fn memory(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let MemorySnapshot { used, limit } = self.memory;
        let accounts = [
            ("samples", used.accounts.samples),
            ("series", used.accounts.series),
            ("tables", used.accounts.tables),
            ("bodies", used.accounts.bodies),
            ("rest", used.rest),
        ];
        let rows = accounts.map(|(account, bytes)| ([("account", account)], bytes));
        writer.gauge("promferry_memory_bytes", "Memory used, estimated; their sum is held against the limit.", rows)?;
        let limit = limit.map(|limit| ([], limit));
        writer.gauge("promferry_memory_limit_bytes", "The memory_limit; not there where there is none.", limit)
    }

    fn registrar(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Some(registrar) = &self.registrar else { return Ok(()) };
        let messages = [("sent", registrar.sent), ("failed", registrar.failed)];
        let rows = messages.map(|(result, count)| ([("result", result)], count));
        writer.counter("promferry_registrar_messages", "Messages published over NATS, or not.", rows)?;
        let entries = [([], registrar.entries as u64)];
        writer.gauge("promferry_registrar_entries", "Entries that the registrar announces.", entries)?;
        let connected = [([], u64::from(registrar.is_connected))];
        writer.gauge("promferry_registrar_connected", "Whether the registrar has a connection to NATS.", connected)
    }

    /// prom_scraper's own metrics, for those who watch them.
    fn prom_scraper(&self, writer: &mut Writer<'_>) -> fmt::Result {
        if !self.stands_in_for_prom_scraper {
            return Ok(());
        }
        let targets = &self.targets.active;
        let help = "Total number of scrape targets identified from prom scraper config files.";
        writer.gauge("scrape_targets_total", help, [([], targets.len() as u64)])?;
        let mut failures = std::collections::BTreeMap::<&str, u64>::new();
        for target in targets {
            *failures.entry(target.labels.get_or_empty("source_id")).or_default() += target.failures;
        }
        let help = "Total number of failed scrapes for the target source_id.";
        let rows = failures.iter().map(|(&source, &count)| ([("scrape_target_source_id", source)], count));
        writer.counter("failed_scrapes", help, rows)
    }

    fn targets(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let mut by_health = std::collections::BTreeMap::<(&str, Health), u64>::new();
        for target in &self.targets.active {
            for health in [Health::Up, Health::Down, Health::Unknown] {
                *by_health.entry((&target.job, health)).or_default() += u64::from(target.health == health);
            }
        }
        writer.gauge(
            "promferry_targets",
            "Targets being scraped, by the outcome of their last scrape.",
            by_health.iter().map(|(&(job, health), &n)| ([("job", job), ("health", health.as_str())], n)),
        )?;
        writer.gauge(
            "promferry_targets_dropped",
            "Targets that relabelling or a limit dropped.",
            self.targets.dropped_counts.iter().map(|(job, &n)| ([("job", job.as_str())], n as u64)),
        )?;
        writer.gauge(
            "promferry_discovery_problems",
            "Files and answers that discovery cannot use now.",
            [([], self.targets.problems.len() as u64)],
        )?;
        let scrapes = &self.scrapes;
        for (name, help, value) in [
            ("promferry_scrapes", "Scrapes.", scrapes.scrapes),
            ("promferry_scrape_failures", "Scrapes that failed.", scrapes.failures),
            ("promferry_scrapes_paused", "Scrapes left out because memory was short.", scrapes.paused),
            ("promferry_scrape_samples", "Samples scraped, before relabelling.", scrapes.samples),
            ("promferry_scrape_body_bytes", "Bytes of bodies scraped, after inflating.", scrapes.body_bytes),
            ("promferry_scrape_bad_lines", "Lines that could not be read.", scrapes.bad_lines),
            ("promferry_scrape_duplicates", "Samples left out as repeated in their scrape.", scrapes.duplicates),
        ] {
            writer.counter(name, help, [([], value)])?;
        }
        Ok(())
    }

    fn certificates(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let all =
            || self.certificates.iter().map(|one| ([("shown_as", one.shown_as), ("file", one.file.as_str())], one));
        writer.gauge(
            "promferry_certificate_expiry_timestamp_seconds",
            "End of a certificate of ours, in seconds since 1970.",
            all().filter_map(|(labels, one)| Some((labels, one.validity?.not_after))),
        )?;
        writer.gauge(
            "promferry_certificate_failing",
            "1 while the newest files of a certificate of ours cannot be used.",
            all().map(|(labels, one)| (labels, u64::from(one.problem.is_some()))),
        )?;
        let mut earliest = std::collections::BTreeMap::<&str, i64>::new();
        for target in &self.targets.active {
            let Some(not_after) = target.certificate.map(|valid| valid.not_after) else { continue };
            let held = earliest.entry(&target.job).or_insert(not_after);
            *held = not_after.min(*held);
        }
        writer.gauge(
            "promferry_target_certificate_expiry_timestamp_seconds",
            "Earliest end of the certificates that targets showed, in seconds since 1970.",
            earliest.into_iter().map(|(job, not_after)| ([("job", job)], not_after)),
        )
    }

    /// For each output, at every moment:
    /// `offered + restored = delivered + duplicate + rejected + dropped + skipped + waiting`.
    fn ledgers(&self, writer: &mut Writer<'_>) -> fmt::Result {
        type Pick = fn(&OutputSnapshot) -> u64;
        let plain: [(&str, &str, Pick); 3] = [
            ("promferry_output_samples_offered", "Samples handed to the output.", |o| o.counts.offered),
            ("promferry_output_samples_restored", "Samples found on disk at the start.", |o| o.counts.restored),
            ("promferry_output_samples_delivered", "Samples that the receiver has.", |o| o.counts.settled.delivered),
        ];
        for (name, help, pick) in plain {
            writer.counter(name, help, self.outputs.iter().map(|o| ([("output", o.name.as_str())], pick(o))))?;
        }
        type PickReasons = fn(&OutputSnapshot) -> &Reasons;
        let reasons: [(&str, &str, PickReasons); 4] = [
            ("promferry_output_samples_duplicate", "Samples that the receiver had.", |o| &o.counts.settled.duplicate),
            ("promferry_output_samples_rejected", "Samples that the receiver refused.", |o| &o.counts.settled.rejected),
            ("promferry_output_samples_dropped", "Samples lost by a policy of ours.", |o| &o.counts.settled.dropped),
            ("promferry_output_samples_skipped", "Samples not for this receiver.", |o| &o.counts.settled.skipped),
        ];
        for (name, help, pick) in reasons {
            let rows = self.outputs.iter().flat_map(|output| {
                let labels = |reason| [("output", output.name.as_str()), ("reason", reason)];
                pick(output).iter().map(move |(&reason, &samples)| (labels(reason), samples))
            });
            writer.counter(name, help, rows)?;
        }
        writer.gauge(
            "promferry_output_samples_waiting",
            "Samples in the queue, on disk, or being sent.",
            self.outputs.iter().map(|o| ([("output", o.name.as_str())], o.counts.waiting)),
        )?;
        writer.gauge(
            "promferry_output_oldest_waiting_seconds",
            "How long the oldest waiting sample has waited; 0 where none does.",
            self.outputs.iter().map(|o| ([("output", o.name.as_str())], o.waited.unwrap_or_default().as_secs_f64())),
        )?;
        writer.counter(
            "promferry_output_samples_maybe_doubled",
            "Of the samples delivered, those that a resend may have delivered twice.",
            self.outputs.iter().map(|o| ([("output", o.name.as_str())], o.counts.maybe_doubled)),
        )
    }

    fn outputs(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let queues = || {
            let of = |o| Some(([("output", OutputSnapshot::name(o))], o.queue?));
            self.outputs.iter().filter_map(of)
        };
        let samples = |(labels, queue): (_, super::QueueSnapshot)| (labels, queue.samples);
        writer.gauge("promferry_output_queue_samples", "Samples in the queue.", queues().map(samples))?;
        let bytes = queues().map(|(labels, queue)| (labels, queue.bytes as u64));
        writer.gauge("promferry_output_queue_bytes", "Memory that the queue keeps.", bytes)?;
        let limits = queues().map(|(labels, queue)| (labels, queue.limits.samples));
        writer.gauge("promferry_output_queue_samples_max", "Samples that the queue holds at most.", limits)?;
        let limits = queues().map(|(labels, queue)| (labels, queue.limits.bytes as u64));
        writer.gauge("promferry_output_queue_bytes_max", "Memory that the queue keeps at most.", limits)?;

        let all = || self.outputs.iter().map(|o| ([("output", o.name.as_str())], &o.status));
        let requests = all().map(|(labels, status)| (labels, status.requests));
        writer.counter("promferry_output_requests", "Requests sent, or answered by an endpoint.", requests)?;
        let failures = all().map(|(labels, status)| (labels, status.failures));
        writer.counter("promferry_output_request_failures", "Requests that must be sent again.", failures)?;
        let bytes = all().map(|(labels, status)| (labels, status.bytes));
        writer.counter("promferry_output_bytes", "Bytes of bodies, as sent.", bytes)?;
        let failing = all().map(|(labels, status)| (labels, u64::from(status.failing.is_some())));
        writer.gauge("promferry_output_failing", "1 while delivery fails.", failing)?;
        let delivered = all().filter_map(|(labels, status)| Some((labels, status.delivered_ms? as f64 / 1000.0)));
        writer.gauge("promferry_output_last_delivery_seconds", "Last delivery, in seconds since 1970.", delivered)
    }

    fn disks(&self, writer: &mut Writer<'_>) -> fmt::Result {
        type Pick = fn(&DiskState) -> u64;
        let rows = |pick: Pick| {
            let of = move |o| Some(([("output", OutputSnapshot::name(o))], pick(o.disk.as_ref()?)));
            self.outputs.iter().filter_map(of)
        };
        let gauges: [(&str, &str, Pick); 5] = [
            ("promferry_output_disk_records", "Batches on disk.", |d| d.records),
            ("promferry_output_disk_samples", "Samples on disk that wait.", |d| d.samples),
            ("promferry_output_disk_bytes", "Bytes on disk.", |d| d.bytes),
            ("promferry_output_disk_segments", "Files on disk.", |d| d.segments),
            ("promferry_output_disk_failing", "1 while nothing can be written.", |d| u64::from(d.failing.is_some())),
        ];
        for (name, help, pick) in gauges {
            writer.gauge(name, help, rows(pick))?;
        }
        let counters: [(&str, &str, Pick); 2] = [
            ("promferry_output_disk_corrupt_records", "Records that could not be read back.", |d| d.corrupt_records),
            ("promferry_output_disk_corrupt_bytes", "Bytes that could not be read back.", |d| d.corrupt_bytes),
        ];
        for (name, help, pick) in counters {
            writer.counter(name, help, rows(pick))?;
        }
        Ok(())
    }

    fn served(&self, writer: &mut Writer<'_>) -> fmt::Result {
        type Pick = fn(&ServedSnapshot) -> u64;
        let rows = |pick: Pick| {
            let of = move |o| Some(([("output", OutputSnapshot::name(o))], pick(&o.served?)));
            self.outputs.iter().filter_map(of)
        };
        let counters: [(&str, &str, Pick); 4] = [
            ("promferry_expose_expositions", "Expositions sent to their end.", |s| s.expositions),
            ("promferry_expose_refused", "Requests refused: too many under way.", |s| s.refused),
            ("promferry_expose_samples", "Samples served, over all expositions.", |s| s.samples),
            ("promferry_expose_duplicates", "Samples left out as repeated, over all expositions.", |s| s.duplicates),
        ];
        for (name, help, pick) in counters {
            writer.counter(name, help, rows(pick))?;
        }
        let gauges: [(&str, &str, Pick); 4] = [
            ("promferry_expose_targets", "Targets in the table.", |s| s.targets),
            ("promferry_expose_duplicates_last", "Samples left out of the last exposition as repeated.", |s| {
                s.duplicates_last
            }),
            ("promferry_expose_type_clashes_last", "Families whose type targets disagree about.", |s| {
                s.type_clashes_last
            }),
            ("promferry_expose_quoted_names_last", "Samples left out of the last exposition for their names.", |s| {
                s.quoted_names_last
            }),
        ];
        for (name, help, pick) in gauges {
            writer.gauge(name, help, rows(pick))?;
        }
        Ok(())
    }
}

impl OutputSnapshot {
    fn name(&self) -> &str {
        &self.name
    }
}
