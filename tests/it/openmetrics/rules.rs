//! The rules of OpenMetrics 1.0, a test each: what is refused, with its place, and what is allowed right beside it.

use promferry::exposition::{BadLine, openmetrics};

/// What is wrong with a text, each as `line:column expected`.
fn problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let result = openmetrics::parse_strict(text.as_bytes(), 1 << 16, |read| {
        if let Err(BadLine { line, column, expected, .. }) = read {
            problems.push(format!("{line}:{column} {expected}"));
        }
    });
    result.expect("a text in memory");
    problems
}

/// These lines, with `# EOF` behind them, are allowed.
#[track_caller]
fn allowed(lines: &[&str]) {
    for lines in lines {
        assert_eq!(problems(&format!("{lines}\n# EOF\n")), [] as [&str; 0], "{lines}");
    }
}

/// These lines, with `# EOF` behind them, are refused for one reason.
#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        assert_eq!(problems(&format!("{lines}\n# EOF\n")), [*expected], "{lines}");
    }
}

const ALONE: &str = "a family whose samples no other family could have (all lines of one stand together)";
const BEFORE: &str = "a family that was not there before (all lines of one stand together)";
const TOGETHER: &str = "a metric that the family does not have yet (all samples of one stand together)";
const COUNT: &str = "a count (a whole number, not negative)";
const RISING: &str = "a bucket with a higher le than the one before";
const FULL: &str = "a histogram whose last bucket is le=\"+Inf\"";

// ---- the text ------------------------------------------------------------------------------------------------------

#[test]
fn a_text_ends_with_eof() {
    assert_eq!(problems(""), ["1:1 \"# EOF\""]);
    assert_eq!(problems("a 1\n"), ["2:1 \"# EOF\""]);
    assert_eq!(problems("# EOF\n"), [""; 0]);
    assert_eq!(problems("a 1\n# EOF"), [""; 0]);
    assert_eq!(problems("a 1"), ["2:1 \"# EOF\""]);
}

#[test]
fn nothing_is_behind_eof() {
    for behind in ["\n", "a 1\nb 1\n", "# EOF\n", " "] {
        let problem = "3:1 nothing behind \"# EOF\"";
        assert_eq!(problems(&format!("a 1\n# EOF\n{behind}")), [problem], "{behind:?}");
    }
    let words = "2:1 \"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\"";
    for last in ["# EOF ", "# EOFa", "#EOF", "# eof"] {
        let missing = (!last.starts_with("# EOF")).then_some("3:1 \"# EOF\"");
        let expected: Vec<&str> = [words].into_iter().chain(missing).collect();
        assert_eq!(problems(&format!("a 1\n{last}\n")), expected, "{last:?}");
    }
}

#[test]
fn line_feeds_end_lines() {
    let problem = "a line feed alone at the end of the line";
    assert_eq!(problems("a 1\r\n# HELP b x\r\n# EOF\n"), [format!("1:4 {problem}"), format!("2:11 {problem}")]);
    assert_eq!(problems("# EOF\r\n"), [format!("1:6 {problem}")]);
    allowed(&["# HELP a carriage\rreturn", "a{b=\"carriage\rreturn\"} 1"]);
}

#[test]
fn no_line_is_blank() {
    let problem = "a sample or metadata (blank lines are not allowed)";
    refused(&[("a 1\n", &format!("2:1 {problem}")), ("a 1\n\nb 1", &format!("2:1 {problem}"))]);
    refused(&[("a 1\n ", "2:1 a metric name, \"{\" or \"#\"")]);
}

#[test]
fn text_is_utf8_without_a_byte_order_mark() {
    refused(&[("\u{feff}a 1", "1:1 a metric name, \"{\" or \"#\"")]);
    allowed(&["a{b=\"\0é☃\u{10ffff}\"} 1", "# HELP a \0 ☃"]);
    let mut problems = Vec::new();
    let text = b"a{b=\"\xff\"} 1\n# HELP a \xc3\n# EOF\n";
    openmetrics::parse_strict(&text[..], 100, |read| problems.extend(read.err().map(|bad| bad.to_string()))).unwrap();
    let expected = [
        "line 1, column 6: \"\u{fffd}\\\"} 1\" stands where text in UTF-8 was expected",
        "line 2, column 10: \"\u{fffd}\" stands where text in UTF-8 was expected",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_line_that_is_too_long_ends_the_reading() {
    let error = openmetrics::parse_strict(&b"a 1\nlong_name 1\n# EOF\n"[..], 10, |_| {}).expect_err("too long");
    assert_eq!(error.to_string(), "line 2 is longer than the 10 bytes that a line may have");
}

// ---- the grammar of a line -----------------------------------------------------------------------------------------

#[test]
fn one_space_stands_between_tokens_and_none_elsewhere() {
    refused(&[
        (" a 1", "1:1 a metric name, \"{\" or \"#\""),
        ("a  1", "1:3 a number"),
        ("a\t1", "1:2 a blank or \"{\" after the metric name"),
        ("a 1 ", "1:5 a timestamp in seconds, or \"#\" and an exemplar"),
        ("a 1\t", "1:4 a single space or the end of the line after the value"),
        ("a 1  2", "1:5 a timestamp in seconds, or \"#\" and an exemplar"),
        ("a 1 2 ", "1:7 \"#\" and an exemplar, or no space at the end of the line"),
        ("a {b=\"c\"} 1", "1:3 a number"),
        ("a{ b=\"c\"} 1", "1:3 a label name, a quoted name or \"}\""),
        ("a{b =\"c\"} 1", "1:4 \"=\""),
        ("a{b= \"c\"} 1", "1:5 a value in double quotes"),
        ("a{b=\"c\" } 1", "1:8 \",\" or \"}\""),
        ("a{b=\"c\", d=\"e\"} 1", "1:9 a label name, a quoted name or \"}\""),
        ("a{b=\"c\"}1", "1:9 a space after the labels"),
        ("a{b=\"c\"}  1", "1:10 a number"),
        ("#  TYPE a gauge", "1:1 \"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\""),
        ("# TYPE  a gauge", "1:8 a metric name"),
        ("# TYPE\ta gauge", "1:7 a single space"),
        ("# TYPE a  gauge", &format!("1:10 {KINDS}")),
        ("# TYPE a gauge ", &format!("1:10 {KINDS}")),
        ("# UNIT a_s s ", "1:13 a letter, a digit, \"_\", \":\" or the end of the line"),
    ]);
    allowed(&["a 1", "a{} 1", "a{b=\"c\"} 1 2", "# HELP a  two spaces and one ", "# HELP a \ttab"]);
}

const KINDS: &str = "counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown";

#[test]
fn a_hash_starts_metadata_and_nothing_else() {
    let words = "1:1 \"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\"";
    refused(&[
        ("# comment", words),
        ("#", words),
        ("#HELP a b", words),
        ("# help a b", words),
        ("# COMMENT a b", words),
    ]);
}

#[test]
fn metadata_has_a_name_and_a_text_that_may_be_empty() {
    refused(&[
        ("# HELP", "1:7 a single space"),
        ("# HELP ", "1:8 a metric name"),
        ("# HELP a", "1:9 a single space after the metric name"),
        ("# UNIT a", "1:9 a single space after the metric name"),
        ("# TYPE a", "1:9 a single space after the metric name"),
        ("# TYPE a ", &format!("1:10 {KINDS}")),
        ("# HELP 1a b", "1:8 a metric name"),
        ("# HELP a.b c", "1:9 a single space after the metric name"),
    ]);
    allowed(&["# HELP a \n# UNIT a ", "# HELP a:b c"]);
}

#[test]
fn types_are_eight_words() {
    for kind in KINDS.replace(" or ", ", ").split(", ") {
        allowed(&[&format!("# TYPE a {kind}")]);
    }
    for kind in ["untyped", "Gauge", "GAUGE", "meter"] {
        assert_eq!(problems(&format!("# TYPE a {kind}\n# EOF\n")), [format!("1:10 {KINDS}")], "{kind}");
    }
}

#[test]
fn names_are_of_letters_digits_underscores_and_for_metrics_colons() {
    refused(&[
        ("0a 1", "1:1 a metric name, \"{\" or \"#\""),
        ("a.b 1", "1:2 a blank or \"{\" after the metric name"),
        ("é 1", "1:1 a metric name, \"{\" or \"#\""),
        ("a{0=\"1\"} 1", "1:3 a label name, a quoted name or \"}\""),
        ("a{b:c=\"1\"} 1", "1:4 \"=\""),
        ("a{b-c=\"1\"} 1", "1:4 \"=\""),
        ("a{=\"1\"} 1", "1:3 a label name, a quoted name or \"}\""),
    ]);
    allowed(&["a:b_C9 1", ":a 1", "a{B9_c=\"1\"} 1"]);
}

#[test]
fn names_that_start_with_an_underscore_are_reserved() {
    let reserved = "a name that does not start with an underscore (they are reserved)";
    refused(&[
        ("_a 1", &format!("1:1 {reserved}")),
        ("# TYPE _a gauge", &format!("1:8 {reserved}")),
        ("a{b=\"1\",__c=\"1\"} 1", &format!("1:9 {reserved}")),
        ("# TYPE a counter\na_total 1 # {_b=\"1\"} 1", &format!("2:14 {reserved}")),
    ]);
    allowed(&["a_ 1", "a{b_=\"1\"} 1"]);
}

#[test]
fn names_in_quotes_are_an_extension() {
    allowed(&[
        "# TYPE \"a.b\" counter\n# HELP \"a.b\" text\n{\"a.b_total\",\"c d\"=\"e\"} 1\n{\"a.b_total\"} 1",
        "a{\"c d\"=\"e\"} 1",
    ]);
    refused(&[
        ("{b=\"c\"} 1", "1:7 a metric name in quotes before \"}\""),
        ("{\"\"} 1", "1:2 a name that is not empty"),
        ("# TYPE \"\" gauge", "1:8 a name that is not empty"),
        ("{\"a\",\"b\"} 1", "1:6 a label that the line does not have yet"),
    ]);
}

#[test]
fn labels_are_parted_by_one_comma_and_in_double_quotes() {
    refused(&[
        ("a{b=\"1\"c=\"2\"} 1", "1:8 \",\" or \"}\""),
        ("a{b=\"1\",,c=\"2\"} 1", "1:9 a label name, a quoted name or \"}\""),
        ("a{b=\"1\",} 1", "1:9 a label name, a quoted name or \"}\""),
        ("a{,b=\"1\"} 1", "1:3 a label name, a quoted name or \"}\""),
        ("a{b='1'} 1", "1:5 a value in double quotes"),
        ("a{b=1} 1", "1:5 a value in double quotes"),
        ("a{b} 1", "1:4 \"=\""),
        ("a{b=\"1} 1", "1:10 a closing double quote"),
    ]);
}

#[test]
fn a_label_is_there_once() {
    let once = "a label that the line does not have yet";
    refused(&[
        ("a{b=\"1\",b=\"2\"} 1", &format!("1:9 {once}")),
        ("a{b=\"\",b=\"1\"} 1", &format!("1:8 {once}")),
        ("a{b=\"\",b=\"\"} 1", &format!("1:8 {once}")),
        ("a{b=\"1\",\"b\"=\"1\"} 1", &format!("1:9 {once}")),
    ]);
}

#[test]
fn backslashes_escape_something() {
    allowed(&[
        r#"a{b="\\ \" \n \z \é"} 1"#,
        r#"# HELP a \\ \" \n \z"#,
        // The ABNF has no such quote; the reference suite has.
        r#"# HELP a a "quote""#,
    ]);
    refused(&[
        (r#"a{b="\"} 1"#, "1:11 a closing double quote"),
        (r"# HELP a x\", "1:11 a character behind the last backslash"),
        (r"# HELP a x\\\", "1:13 a character behind the last backslash"),
    ]);
    allowed(&[r"# HELP a x\\"]);
}

#[test]
fn numbers_are_decimal_or_the_words_for_what_is_none() {
    for number in [
        "0",
        "-0",
        "+1",
        "0042",
        "1.",
        ".5",
        "-1.5e-7",
        "1E5",
        "1.e+05",
        "NaN",
        "nan",
        "NAN",
        "Inf",
        "+inf",
        "-INF",
        "Infinity",
        "-infinity",
        "9223372036854775808",
        "1e-400",
    ] {
        allowed(&[&format!("a {number}")]);
    }
    for number in ["", "-", "+", ".", "e5", "-NaN", "+nan", "1e999", "- 1", "true", "\"1\""] {
        assert_eq!(problems(&format!("a {number}\n# EOF\n")), ["1:3 a number"], "{number:?}");
    }
    let behind = "a single space or the end of the line after the value";
    for number in ["1_2", "0x1", "0X1p-3", "0b1", "0o7", "1e", "1e+", "1,5", "1.5.1", "1f", "Infi", "NaNs", "1\0"] {
        let problems = problems(&format!("a {number}\n# EOF\n"));
        assert_eq!(problems.len(), 1, "{number:?}");
        assert!(problems[0].ends_with(behind), "{number:?}: {problems:?}");
    }
}

#[test]
fn timestamps_are_real_numbers() {
    for time in ["0", "-1", "+1.5", "1.5e3", "12345678901234567890.123456789"] {
        allowed(&[&format!("a 1 {time}")]);
    }
    for time in ["NaN", "Inf", "-infinity", "z", "1e999"] {
        let expected = "1:5 a timestamp in seconds, or \"#\" and an exemplar";
        assert_eq!(problems(&format!("a 1 {time}\n# EOF\n")), [expected], "{time}");
    }
    let behind = "a single space or the end of the line after the timestamp";
    refused(&[("a 1 0x1", &format!("1:6 {behind}")), ("a 1 1_2", &format!("1:6 {behind}"))]);
    refused(&[("a 1 2 3", "1:7 \"#\" and an exemplar, or no space at the end of the line")]);
}

// ---- exemplars -----------------------------------------------------------------------------------------------------

/// A counter with this behind its value.
fn counter(behind: &str) -> String {
    format!("# TYPE a counter\na_total 1{behind}")
}

#[test]
fn an_exemplar_is_labels_a_value_and_perhaps_a_timestamp() {
    for behind in [" # {} 1", " # {b=\"c\"} -1.5 2.5e3", " 5 # {b=\"c # }\",d=\"\"} NaN", " # {\"b.c\"=\"d\"} +Inf -1"]
    {
        allowed(&[&counter(behind)]);
    }
    for (behind, expected) in [
        (" #", "2:12 a single space after \"#\""),
        ("# {} 1", "2:10 a single space or the end of the line after the value"),
        (" #{} 1", "2:12 a single space after \"#\""),
        (" #  {} 1", "2:13 the labels of an exemplar in braces"),
        (" # 1", "2:13 the labels of an exemplar in braces"),
        (" # {}", "2:15 a single space after the exemplar's labels"),
        (" # {}1", "2:15 a single space after the exemplar's labels"),
        (" # {} x", "2:16 the exemplar's value"),
        (" # {} 0x1", "2:17 a single space or the end of the line after the exemplar's value"),
        (" # {} 1 ", "2:18 the exemplar's timestamp in seconds"),
        (" # {} 1 NaN", "2:18 the exemplar's timestamp in seconds"),
        (" # {} 1 2 ", "2:19 the end of the line"),
        (" # {} 1 # {} 1", "2:18 the exemplar's timestamp in seconds"),
        (" # {\"b\"} 1", "2:13 labels that all have a value (an exemplar has no name)"),
        (" # {b=\"1\",} 1", "2:20 a label name, a quoted name or \"}\""),
    ] {
        refused(&[(&counter(behind), expected)]);
    }
}

#[test]
fn an_exemplars_labels_have_at_most_128_characters() {
    let labels = |chars: usize| counter(&format!(" # {{ab=\"{}\",c=\"x\"}} 1", "☃".repeat(chars - 4)));
    allowed(&[&labels(128)]);
    refused(&[(&labels(129), "2:13 at most 128 characters in the names and values of an exemplar's labels")]);
}

#[test]
fn only_buckets_and_a_counters_total_have_exemplars() {
    let none = "the end of the line (only buckets and a counter's _total have exemplars)";
    allowed(&[
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1 # {} 1",
        "# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1 # {} 1",
    ]);
    refused(&[
        ("a 1 # {} 1", &format!("1:5 {none}")),
        ("# TYPE a gauge\na 1 # {} 1", &format!("2:5 {none}")),
        ("# TYPE a info\na_info 1 # {} 1", &format!("2:10 {none}")),
        ("# TYPE a stateset\na{a=\"b\"} 1 # {} 1", &format!("2:12 {none}")),
        ("# TYPE a summary\na_count 1 # {} 1", &format!("2:11 {none}")),
        ("# TYPE a summary\na{quantile=\"1\"} 1 # {} 1", &format!("2:19 {none}")),
        ("# TYPE a counter\na_total 1\na_created 1 # {} 1", &format!("3:13 {none}")),
        ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1 # {} 1\na_sum 1", &format!("3:11 {none}")),
    ]);
}

#[test]
fn an_exemplar_is_within_its_bucket() {
    let above = "2:32 an exemplar's value that is not above its bucket's le";
    let bucket = |value: &str| {
        format!("# TYPE a histogram\na_bucket{{le=\"1.0\"}} 1 # {{b=\"c\"}} {value}\na_bucket{{le=\"+Inf\"}} 1")
    };
    allowed(&[&bucket("1"), &bucket("0.1"), &bucket("-Inf")]);
    refused(&[(&bucket("1.1"), above), (&bucket("NaN"), above)]);
}

// ---- families ------------------------------------------------------------------------------------------------------

#[test]
fn a_family_has_each_metadata_once_and_before_its_samples() {
    let once = "metadata that the family does not have yet";
    let late = "a sample or another family (metadata stands before the family's samples)";
    refused(&[
        ("# HELP a x\n# HELP a x", &format!("2:1 {once}")),
        ("# HELP a \n# HELP a ", &format!("2:1 {once}")),
        ("# TYPE a gauge\n# TYPE a gauge", &format!("2:1 {once}")),
        ("# TYPE a gauge\n# TYPE a counter", &format!("2:1 {once}")),
        ("# UNIT a_s s\n# UNIT a_s s", &format!("2:1 {once}")),
        ("# HELP a x\na 1\n# TYPE a gauge", &format!("3:1 {late}")),
        ("a 1\n# HELP a x", &format!("2:1 {late}")),
        ("# TYPE a_s gauge\na_s 1\n# UNIT a_s s", &format!("3:1 {late}")),
    ]);
    allowed(&["# UNIT a_s s\n# HELP a_s x\n# TYPE a_s gauge\na_s 1", "# TYPE a gauge\n# TYPE b gauge"]);
}

#[test]
fn families_are_not_interleaved_and_not_repeated() {
    refused(&[
        ("a 1\nb 1\na 2", &format!("3:1 {BEFORE}")),
        ("a{c=\"1\"} 1\nb 1\na{c=\"2\"} 2", &format!("3:1 {BEFORE}")),
        ("# TYPE a gauge\n# TYPE b gauge\n# HELP a x", &format!("3:8 {BEFORE}")),
        ("# TYPE a counter\na_total 1\nb 1\na_total{c=\"1\"} 1", &format!("4:1 {ALONE}")),
        ("# TYPE a gauge\na 1\n# TYPE b gauge\n# TYPE a counter", &format!("4:8 {BEFORE}")),
    ]);
    allowed(&["a 1\nb 1\nc 1"]);
}

#[test]
fn no_family_has_a_sample_name_of_another_one() {
    refused(&[
        ("# TYPE a_created gauge\n# TYPE a counter", &format!("2:1 {ALONE}")),
        ("# TYPE a counter\n# TYPE a_created gauge", &format!("2:1 {ALONE}")),
        ("# TYPE a histogram\n# HELP a_bucket x\n# TYPE a_bucket gauge", &format!("2:1 {ALONE}")),
        ("a_count 1\n# TYPE a summary", &format!("2:1 {ALONE}")),
        ("# TYPE a info\n# TYPE a_info gauge", &format!("2:1 {ALONE}")),
        ("# TYPE a gaugehistogram\n# TYPE a_gcount gauge", &format!("2:1 {ALONE}")),
        ("# TYPE a_sum counter\n# TYPE a_sum_total unknown", &format!("2:1 {ALONE}")),
        ("# TYPE a_total summary\n# TYPE a counter", &format!("2:1 {ALONE}")),
    ]);
    allowed(&[
        "# TYPE a gauge\n# TYPE a_total counter\n# TYPE a_created gauge",
        "# TYPE a counter\n# TYPE a_sum gauge\n# TYPE a_total counter",
        "# TYPE a gaugehistogram\n# TYPE a_sum gauge\n# TYPE a_count gauge\n# TYPE a_created gauge",
    ]);
}

#[test]
fn a_samples_name_has_a_suffix_of_its_type() {
    let names = [
        ("counter", "a counter's sample, with _total or _created"),
        ("histogram", "a histogram's sample, with _bucket, _count, _sum or _created"),
        ("gaugehistogram", "a gauge histogram's sample, with _bucket, _gcount or _gsum"),
        ("info", "an info's sample, with _info"),
    ];
    for (kind, name) in names {
        refused(&[(&format!("# TYPE a {kind}\na 1"), &format!("2:1 the name of {name}"))]);
    }
    // What has another suffix is of another family, without a type.
    allowed(&["# TYPE a counter\na_sum -1", "# TYPE a gauge\na_total -1", "# TYPE a gaugehistogram\na_sum -1"]);
}

#[test]
fn a_unit_is_the_end_of_the_familys_name() {
    let end = "the unit that the metric name ends with, behind an underscore";
    refused(&[
        ("# UNIT a seconds", &format!("1:10 {end}")),
        ("# UNIT aseconds seconds", &format!("1:17 {end}")),
        ("# UNIT seconds seconds", &format!("1:16 {end}")),
        ("# UNIT a_seconds second", &format!("1:18 {end}")),
        ("# UNIT a_b-c b-c", "1:11 a single space after the metric name"),
        ("# UNIT a_seconds s.", "1:19 a letter, a digit, \"_\", \":\" or the end of the line"),
    ]);
    allowed(&["# UNIT a_seconds seconds", "# UNIT a_per_second per_second", "# UNIT a "]);
}

#[test]
fn info_and_stateset_have_no_unit() {
    for kind in ["info", "stateset"] {
        refused(&[
            (&format!("# TYPE a_s {kind}\n# UNIT a_s s"), "2:12 no unit (info and stateset may not have one)"),
            (
                &format!("# UNIT a_s s\n# TYPE a_s {kind}"),
                "2:12 a type that may have a unit (info and stateset may not)",
            ),
        ]);
        allowed(&[&format!("# TYPE a_s {kind}\n# UNIT a_s ")]);
    }
}

// ---- metrics and their points --------------------------------------------------------------------------------------

#[test]
fn metrics_are_not_interleaved_and_not_repeated() {
    refused(&[
        ("a 1\na 1", "2:1 a sample that the metric does not have yet"),
        ("a{b=\"1\"} 1\na{b=\"2\"} 1\na{b=\"1\"} 1", &format!("3:2 {TOGETHER}")),
        ("a{b=\"1\"} 1 1\na{b=\"2\"} 1 1\na{b=\"1\"} 1 2", &format!("3:2 {TOGETHER}")),
        ("a{b=\"1\",c=\"2\"} 1\na 1\na{c=\"2\",b=\"1\"} 1", &format!("3:2 {TOGETHER}")),
        ("a{b=\"\"} 1\na 1", "2:1 a sample that the metric does not have yet"),
        ("# TYPE a counter\na_total 1\na_total 2", "3:1 a sample that the metric does not have yet"),
        ("# TYPE a summary\na_sum{b=\"1\"} 1\na_sum{b=\"2\"} 1\na_count{b=\"1\"} 1", &format!("4:8 {TOGETHER}")),
        ("# TYPE a info\na_info{b=\"1\"} 1\na_info{b=\"2\"} 1\na_info{b=\"1\"} 1", &format!("4:7 {TOGETHER}")),
    ]);
    allowed(&["a{b=\"1\"} 1\na{b=\"2\"} 1\na{c=\"1\"} 1\na 1", "# TYPE a counter\na_created 1\na_total 1"]);
}

#[test]
fn timestamps_of_a_metric_do_not_go_back() {
    let back = "a timestamp that is not below the one before";
    refused(&[
        ("a 1 2\na 1 1", &format!("2:5 {back}")),
        ("a 1 -1\na 1 -1.5", &format!("2:5 {back}")),
        ("# TYPE a info\na_info 1 2\na_info 1 1", &format!("3:10 {back}")),
        ("# TYPE a summary\na_sum 1 1\na_count 1 1\na_sum 1 2\na_count 1 1", &format!("5:11 {back}")),
    ]);
    refused(&[("a 1 1604676851.123456789\na 1 1604676851.123456788", &format!("2:5 {back}"))]);
    allowed(&[
        "a 1 1604676851.123456788\na 1 1604676851.123456789",
        "a 1 1604676851.12\na 1 1.60467685112e9\na 1 1604676851.12",
        "a 1 0.00000000002\na 1 0.00000000003",
    ]);
    // Two of the same time: one that was written with fewer digits than it had.
    allowed(&["a 1 -1\na 1 -0.5\na 1 1.5e3", "a 1 1\na 2 1", "a{b=\"1\"} 1 5\na{b=\"2\"} 1 1"]);
    allowed(&["# TYPE a counter\na_total 1 1\na_created 1 1\na_total 2 1\na_created 1 1"]);
}

#[test]
fn all_samples_of_a_metric_have_timestamps_or_none() {
    refused(&[
        ("a 1\na 1 1", "2:5 no timestamp (the metric's sample before has none)"),
        ("a 1 1\na 1", "2:3 a value and a timestamp (the metric's sample before has one)"),
        (
            "# TYPE a counter\na_total 1 1\na_created 1",
            "3:11 a value and a timestamp (the metric's sample before has one)",
        ),
    ]);
    allowed(&["a{b=\"1\"} 1\na{b=\"2\"} 1 1"]);
}

#[test]
fn a_counter_has_a_total_that_is_not_negative() {
    let value = "2:9 a counter's value (not negative, not NaN)";
    refused(&[
        ("# TYPE a counter\na_total -1", value),
        ("# TYPE a counter\na_total NaN", value),
        ("# TYPE a counter\na_total -Inf", value),
        ("# TYPE a counter\na_created 1", "2:1 a counter that has its _total"),
        ("# TYPE a counter\na_total 1\na_created NaN", "3:11 a time in seconds"),
        ("# TYPE a counter\na_total 1\na_created +Inf", "3:11 a time in seconds"),
    ]);
    allowed(&["# TYPE a counter\na_total 1.5\na_created -5", "# TYPE a counter\na_total +Inf", "# TYPE a counter"]);
}

#[test]
fn gauges_and_unknowns_have_any_value() {
    for kind in ["gauge", "unknown"] {
        for value in ["-1", "NaN", "-Inf"] {
            allowed(&[&format!("# TYPE a {kind}\na {value}")]);
        }
    }
}

/// A histogram of this.
fn histogram(samples: &str) -> String {
    format!("# TYPE a histogram\n{samples}")
}

#[test]
fn a_histograms_last_bucket_is_infinite() {
    for lines in
        ["a_sum 1\na_count 1", "a_bucket{le=\"1\"} 1", "a_created 1", "a_bucket{le=\"1\"} 1\na_sum 1\na_count 1"]
    {
        refused(&[(&histogram(lines), &format!("2:1 {FULL}"))]);
        let gauge = lines.replace("a_sum", "a_gsum").replace("a_count", "a_gcount");
        if !gauge.contains("created") {
            refused(&[(&format!("# TYPE a gaugehistogram\n{gauge}"), &format!("2:1 {FULL}"))]);
        }
    }
    let two = "a_bucket{b=\"1\",le=\"1\"} 1\na_bucket{b=\"2\",le=\"1\"} 1\na_bucket{b=\"2\",le=\"+Inf\"} 1";
    refused(&[(&histogram(two), &format!("2:1 {FULL}"))]);
    refused(&[(&histogram("a_bucket{le=\"+Inf\"} 1 1\na_bucket{le=\"1\"} 1 2"), &format!("3:1 {FULL}"))]);
    allowed(&[&histogram("a_bucket{le=\"+Inf\"} 1"), &histogram("a_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1")]);
    allowed(&[&histogram("a_bucket{le=\"+Inf\"} 1 1\na_bucket{le=\"1\"} 1 2\na_bucket{le=\"+Inf\"} 1 2")]);
}

#[test]
fn le_is_a_number_and_infinity_has_one_spelling() {
    let number = "2:9 a label le that is a number";
    let spelling = "2:9 le=\"+Inf\" in this spelling";
    for (labels, expected) in [
        ("", number),
        ("{b=\"1\"}", number),
        ("{le=\"\"}", number),
        ("{le=\"NaN\"}", number),
        ("{le=\"a\"}", number),
        ("{le=\"1 \"}", number),
        ("{le=\"0x1\"}", number),
        ("{le=\"Inf\"}", spelling),
        ("{le=\"+INF\"}", spelling),
        ("{le=\"+Infinity\"}", spelling),
    ] {
        refused(&[(&histogram(&format!("a_bucket{labels} 1")), expected)]);
    }
    // Other spellings than the canonical ones are to be read all the same.
    for le in ["1", "1.0", "01", "1e+00", "1.1e-4", "+1", "100000000000.0"] {
        allowed(&[&histogram(&format!("a_bucket{{le=\"{le}\"}} 1\na_bucket{{le=\"+Inf\"}} 1"))]);
    }
}

#[test]
fn buckets_rise_and_are_cumulative() {
    refused(&[
        (&histogram("a_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1"), &format!("3:9 {RISING}")),
        (&histogram("a_bucket{le=\"1\"} 1\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 1"), &format!("3:9 {RISING}")),
        (&histogram("a_bucket{le=\"+Inf\"} 1\na_bucket{le=\"+Inf\"} 1"), &format!("3:9 {RISING}")),
        (
            &histogram("a_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1"),
            "3:21 a count that is not below that of the bucket before",
        ),
    ]);
    allowed(&[&histogram("a_bucket{le=\"-Inf\"} 0\na_bucket{le=\"1e-9\"} 1\na_bucket{le=\"+Inf\"} 1")]);
}

#[test]
fn bucket_values_and_counts_are_whole_numbers() {
    for value in ["NaN", "-1", "1.5", "+Inf"] {
        refused(&[
            (&histogram(&format!("a_bucket{{le=\"+Inf\"}} {value}")), &format!("2:21 {COUNT}")),
            (&format!("# TYPE a gaugehistogram\na_bucket{{le=\"+Inf\"}} {value}"), &format!("2:21 {COUNT}")),
            (&format!("# TYPE a summary\na_count {value}"), &format!("2:9 {COUNT}")),
            (&histogram(&format!("a_bucket{{le=\"+Inf\"}} 1\na_sum 1\na_count {value}")), &format!("4:9 {COUNT}")),
        ]);
    }
    allowed(&[&histogram("a_bucket{le=\"+Inf\"} 2.0\na_count 2e0\na_sum 1")]);
}

#[test]
fn the_count_is_that_of_the_infinite_bucket() {
    refused(&[
        (&histogram("a_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 1"), "4:9 the count of the +Inf bucket"),
        (&histogram("a_count 1\na_sum 1\na_bucket{le=\"+Inf\"} 2"), "4:21 the count of the metric's _count"),
        ("# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 2\na_gsum 1\na_gcount 1", "4:10 the count of the +Inf bucket"),
    ]);
    allowed(&[&histogram("a_count 2\na_sum 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2.0\na_created 1")]);
}

#[test]
fn sum_and_count_come_together() {
    let both = "2:1 a histogram with both _sum and _count, or neither";
    let gauge_both = "2:1 a gauge histogram with both _gsum and _gcount, or neither";
    refused(&[
        (&histogram("a_bucket{le=\"+Inf\"} 1\na_sum 1"), both),
        (&histogram("a_bucket{le=\"+Inf\"} 1\na_count 1"), both),
        ("# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gsum 1", gauge_both),
        ("# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gcount 1", gauge_both),
    ]);
    // Of a summary each may be alone.
    allowed(&["# TYPE a summary\na_sum 1", "# TYPE a summary\na_count 1", "# TYPE a summary\na_created 1"]);
}

#[test]
fn a_sum_is_a_counter_and_there_is_none_with_buckets_below_zero() {
    let sum = "a sum (not negative, not NaN)";
    for value in ["-1", "NaN"] {
        refused(&[
            (&histogram(&format!("a_bucket{{le=\"+Inf\"}} 1\na_count 1\na_sum {value}")), &format!("4:7 {sum}")),
            (&format!("# TYPE a summary\na_sum {value}"), &format!("2:7 {sum}")),
        ]);
    }
    let below = "a_bucket{le=\"-1\"} 1\na_bucket{le=\"+Inf\"} 1";
    let problem = "2:1 a histogram without _sum and _count (it has buckets below zero)";
    refused(&[(&histogram(&format!("{below}\na_sum 1\na_count 1")), problem)]);
    allowed(&[&histogram(below)]);
}

#[test]
fn a_gauge_histograms_sum_is_negative_only_with_buckets_below_zero() {
    let gauge = |le: &str, sum: &str| {
        format!(
            "# TYPE a gaugehistogram\na_bucket{{le=\"{le}\"}} 1\na_bucket{{le=\"+Inf\"}} 1\na_gsum {sum}\na_gcount 1"
        )
    };
    let problem = "2:1 a gauge histogram whose _gsum is not negative (it has no buckets below zero)";
    refused(&[(&gauge("1", "-1"), problem), (&gauge("-1", "NaN"), "4:8 a sum (not NaN)")]);
    allowed(&[&gauge("-1", "-1"), &gauge("-1", "1"), &gauge("1", "1")]);
}

#[test]
fn le_and_quantile_are_no_labels_of_a_metric() {
    let le = "labels without le (only buckets have it)";
    let quantile = "labels without quantile (only quantiles have it)";
    refused(&[
        (&histogram("a_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\na_created{le=\"+Inf\"} 1"), &format!("5:10 {le}")),
        ("# TYPE a gaugehistogram\na_bucket{le=\"+Inf\"} 1\na_gcount 1\na_gsum{le=\"1\"} 1", &format!("4:7 {le}")),
        ("# TYPE a summary\na_sum{quantile=\"1\"} 1", &format!("2:6 {quantile}")),
    ]);
    allowed(&["# TYPE a gauge\na{le=\"1\",quantile=\"x\"} 1", "# TYPE a summary\na{quantile=\"1\",le=\"x\"} 1"]);
}

#[test]
fn a_quantile_is_from_0_to_1_once_with_a_value_that_is_not_negative() {
    let label = "2:2 a label quantile from 0 to 1";
    for (labels, expected) in [
        ("", label),
        ("{quantile=\"-0.1\"}", label),
        ("{quantile=\"1.01\"}", label),
        ("{quantile=\"NaN\"}", label),
        ("{quantile=\"a\"}", label),
    ] {
        refused(&[(&format!("# TYPE a summary\na{labels} 1"), expected)]);
    }
    refused(&[
        ("# TYPE a summary\na{quantile=\"1\"} -1", "2:17 a quantile's value (not negative)"),
        (
            "# TYPE a summary\na{quantile=\"0.5\"} 1\na{quantile=\"0.50\"} 1",
            "3:1 a sample that the metric does not have yet",
        ),
        (
            "# TYPE a summary\na{quantile=\"-0\"} 1\na{quantile=\"0\"} 1",
            "3:1 a sample that the metric does not have yet",
        ),
    ]);
    // In any order.
    allowed(&[
        "# TYPE a summary\na{quantile=\"1\"} NaN\na_sum 1\na{quantile=\"0\"} 1\na_count 1\na{quantile=\"0.5\"} 0",
    ]);
}

#[test]
fn an_info_is_1() {
    for value in ["0", "2", "NaN", "-1"] {
        refused(&[(&format!("# TYPE a info\na_info {value}"), "2:8 1 (the value of an info)")]);
    }
    allowed(&["# TYPE a info\na_info{b=\"1\"} 1\na_info{b=\"2\"} 1.0"]);
    // Which of the labels are the metric's is not told: these may be three points of one metric without labels.
    allowed(&["# TYPE a info\na_info{b=\"1\"} 1 1\na_info{b=\"2\"} 1 2\na_info{b=\"1\"} 1 3"]);
}

#[test]
fn a_stateset_has_a_state_label_and_0_or_1() {
    let label = "2:2 a label with the family's name, whose value is the state";
    refused(&[
        ("# TYPE a stateset\na 0", label),
        ("# TYPE a stateset\na{b=\"1\"} 0", label),
        ("# TYPE a stateset\na{a=\"\"} 0", label),
        ("# TYPE a stateset\na{a=\"x\"} 2", "2:10 0 or 1 (the values of a state)"),
        ("# TYPE a stateset\na{a=\"x\"} NaN", "2:10 0 or 1 (the values of a state)"),
        ("# TYPE a stateset\na{a=\"x\"} 1\na{a=\"x\"} 0", "3:1 a sample that the metric does not have yet"),
        (
            "# TYPE a stateset\na{b=\"1\",a=\"x\"} 1\na{b=\"2\",a=\"x\"} 1\na{b=\"1\",a=\"y\"} 0",
            &format!("4:2 {TOGETHER}"),
        ),
    ]);
    allowed(&[
        "# TYPE a stateset\na{a=\"x\"} 1\na{a=\"y\"} 1.0\na{a=\"z\"} 0",
        "# TYPE a stateset\na{b=\"1\",a=\"x\"} 1\na{b=\"1\",a=\"y\"} 0\na{b=\"2\",a=\"x\"} 0",
    ]);
}

// ---- errors --------------------------------------------------------------------------------------------------------

#[test]
fn reading_goes_on_after_a_bad_line() {
    let text =
        "a x\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} x\nh_sum 1\n# TYPE c counter\nc_total -1\nc_total 5\n# EOF\n";
    // The bad line may have been the bucket that the histogram lacks: nothing more is said of it.
    assert_eq!(problems(text), ["1:3 a number", "3:21 a number", "6:9 a counter's value (not negative, not NaN)"]);
}

#[test]
fn an_error_repeats_what_stood_there() {
    let mut told = Vec::new();
    let text = "# TYPE a counter\na_total{b=\"c\"} -1\r\na_total{b=\"d\"} -1 # {} 5\n# TYPE h histogram\nh_sum 5\nb 1";
    openmetrics::parse_strict(text.as_bytes(), 100, |read| told.extend(read.err().map(|bad| bad.to_string()))).unwrap();
    assert_eq!(
        told,
        [
            "line 2, column 18: a carriage return stands where a line feed alone at the end of the line was expected",
            "line 3, column 16: \"-1 # {} 5\" stands where a counter's value (not negative, not NaN) was expected",
            "line 5, column 1: \"h_sum 5\" stands where a histogram whose last bucket is le=\"+Inf\" was expected",
            "line 7, column 1: the end of the text stands where \"# EOF\" was expected",
        ]
    );
}
