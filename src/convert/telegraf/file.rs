//! `outputs.file`.

use super::filter::Rules;
use super::options::Taken;
use super::output::{Output, Written};
use crate::convert::text::Text;
use crate::convert::yaml::{Map, Node};

const LOST: [(&str, &str); 4] = [
    ("rotation_interval", "files are rotated by size; write rotate_size"),
    ("compression_algorithm", "files are not compressed"),
    ("compression_level", "files are not compressed"),
    ("metricpass", "expressions of CEL are not supported; write relabel rules"),
];

pub(super) fn write(output: &Output<'_>) -> Vec<Written> {
    let options = &output.options;
    let format = options.fixed("data_format");
    let place = format.as_ref().map_or(&options.place, |format| &format.place);
    let word = match format.as_ref().map_or("influx", |format| format.value.as_str()) {
        "prometheus" => "text",
        _ => {
            options.lose(place, "data_format: a line is one sample, in JSON or as Prometheus' text; see format");
            "json"
        }
    };
    let size = options.size("rotation_max_size");
    let keep = options.count("rotation_max_archives").filter(|_| size.is_some());
    let mut files = options.texts("files");
    if files.is_empty() && options.entry("files").is_none() {
        let value = Text::literal("stdout");
        files.push(Taken { value, place: options.place.clone() });
    }
    let mut written = Vec::new();
    for file in files {
        let mut map = Map::default();
        match file.value.fixed() {
            Some("stdout") => map.add("path", Node::verbatim("-")),
            _ => {
                map.add("path", Node::text(&file.value));
                map.add_some("rotate_size", size.clone());
                map.add_some("rotate_keep", keep.clone());
            }
        }
        map.add("format", Node::word(word));
        written.push(Written {
            key: "file",
            section: map,
            rules: Rules::default(),
            place: Some(file.value.typed()),
            has_queue: true,
        });
    }
    options.ignore(&[
        "use_batch_format",
        "log_level",
        "alias",
        "prometheus_export_timestamp",
        "prometheus_sort_metrics",
    ]);
    options.ignore(&["prometheus_string_as_label", "prometheus_compact_encoding", "json_timestamp_units"]);
    options.ignore(&["rotation_max_archives"]);
    options.lose_rest("outputs.file", &LOST);
    written
}
