//! What the demo's jobs say of themselves: counters that rise, gauges that swing, a histogram that fills.

use std::fmt::Write;
use std::time::Duration;

/// A job's exposition, `age` after it started. Text format 0.0.4.
pub(super) fn exposition(job: &str, age: Duration) -> String {
    let seconds = age.as_secs_f64();
    let mut body = String::new();
    // Writing into a `String` does not fail.
    let _ = write(&mut body, job, seconds);
    body
}

fn write(out: &mut String, job: &str, seconds: f64) -> std::fmt::Result {
    writeln!(out, "# HELP {job}_up_seconds How long this job has been running.")?;
    writeln!(out, "# TYPE {job}_up_seconds gauge\n{job}_up_seconds {seconds:.3}")?;

    writeln!(out, "# HELP {job}_requests_total Requests that were answered, by method and status.")?;
    writeln!(out, "# TYPE {job}_requests_total counter")?;
    for (at, method) in ["GET", "POST", "PUT", "DELETE"].iter().enumerate() {
        for (nth, code) in ["200", "404", "500"].iter().enumerate() {
            let rate = 120.0 / ((1 + at * 3) * (1 + nth * 20)) as f64;
            writeln!(
                out,
                "{job}_requests_total{{method=\"{method}\",code=\"{code}\"}} {:.0}",
                (seconds * rate).floor()
            )?;
        }
    }

    writeln!(out, "# HELP {job}_queue_length Requests that wait.")?;
    writeln!(out, "# TYPE {job}_queue_length gauge")?;
    for worker in 0..4 {
        // A triangle, up and down in 44 s: what takes no function of the mathematical library, which costs every process its
        // half MiB.
        let swing = ((seconds + 7.0 * f64::from(worker)) % 44.0 - 22.0).abs() * 24.0 / 22.0;
        writeln!(out, "{job}_queue_length{{worker=\"{worker}\"}} {swing:.2}")?;
    }

    writeln!(out, "# HELP {job}_latency_seconds Time to answer a request.")?;
    writeln!(out, "# TYPE {job}_latency_seconds histogram")?;
    let count = (seconds * 200.0).floor();
    for bound in [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0] {
        let share: f64 = bound * bound / (bound * bound + 0.002);
        writeln!(out, "{job}_latency_seconds_bucket{{le=\"{bound}\"}} {:.0}", (count * share).floor())?;
    }
    writeln!(out, "{job}_latency_seconds_bucket{{le=\"+Inf\"}} {count:.0}")?;
    writeln!(out, "{job}_latency_seconds_sum {:.4}", count * 0.054)?;
    writeln!(out, "{job}_latency_seconds_count {count:.0}")
}
