//! Each action by what Prometheus documents of it.

use super::*;

/// A rule from `key=value` parts; `source_labels` are separated by commas.
fn rule(parts: &[(&str, &str)]) -> Result<Rule, RelabelError> {
    let mut spec = RuleSpec::default();
    for &(key, value) in parts {
        let text = Some(value.to_owned());
        match key {
            "source" => spec.source_labels = value.split(',').map(str::to_owned).collect(),
            "separator" => spec.separator = text,
            "target" => spec.target_label = text,
            "regex" => spec.regex = text,
            "modulus" => spec.modulus = value.parse().ok(),
            "replacement" => spec.replacement = text,
            "action" => spec.action = text,
            other => panic!("no such key: {other}"),
        }
    }
    Rule::new(spec)
}

/// What becomes of `labels`; `dropped` when the rule drops them.
fn after(labels: &[(&str, &str)], parts: &[(&str, &str)]) -> String {
    let mut labels: Labels<'_> = labels.iter().copied().collect();
    match rule(parts).unwrap().apply(&mut labels) {
        true => labels.to_string(),
        false => "dropped".into(),
    }
}

const ABC: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];

#[test]
fn replace_sets_the_target_from_the_groups() {
    assert_eq!(
        after(ABC, &[("source", "a"), ("regex", "f(.*)"), ("target", "d"), ("replacement", "ch${1}-ch${1}")]),
        r#"{a="foo",b="bar",c="baz",d="choo-choo"}"#
    );
    assert_eq!(
        after(ABC, &[("source", "a,b"), ("regex", "(f).*;(b).*r"), ("target", "a"), ("replacement", "b$2${1}m")]),
        r#"{a="bbfm",b="bar",c="baz"}"#
    );
    assert_eq!(after(ABC, &[("source", "a"), ("target", "copy")]), r#"{a="foo",b="bar",c="baz",copy="foo"}"#);
    assert_eq!(after(ABC, &[("target", "fixed"), ("replacement", "v")]), r#"{a="foo",b="bar",c="baz",fixed="v"}"#);
}

#[test]
fn replace_does_nothing_without_a_match() {
    let unchanged = r#"{a="foo",b="bar",c="baz"}"#;
    assert_eq!(after(ABC, &[("source", "a"), ("regex", "oo"), ("target", "d"), ("replacement", "x")]), unchanged);
    assert_eq!(after(ABC, &[("source", "a"), ("regex", ""), ("target", "d"), ("replacement", "x")]), unchanged);
}

#[test]
fn replace_with_nothing_removes_the_label() {
    assert_eq!(after(ABC, &[("target", "b"), ("replacement", "")]), r#"{a="foo",c="baz"}"#);
    assert_eq!(after(ABC, &[("source", "missing"), ("target", "b")]), r#"{a="foo",c="baz"}"#);
    assert_eq!(
        after(ABC, &[("source", "a"), ("regex", "(x)?foo"), ("target", "a")]),
        r#"{b="bar",c="baz"}"#,
        "a group that took no part is empty"
    );
}

#[test]
fn replace_may_make_the_name_of_its_target() {
    assert_eq!(
        after(
            &[("a", "some-name-value")],
            &[("source", "a"), ("regex", "some-([^-]+)-([^,]+)"), ("target", "${1}"), ("replacement", "${2}")]
        ),
        r#"{a="some-name-value",name="value"}"#
    );
    let unnamed: &[(&str, &str)] = &[("source", "a"), ("regex", "(x)?foo"), ("target", "$1"), ("replacement", "value")];
    assert_eq!(after(&[("a", "foo")], unnamed), r#"{a="foo"}"#, "an empty name is no label");
}

#[test]
fn a_group_ends_where_the_name_ends() {
    assert_eq!(after(&[("a", "x")], &[("source", "a"), ("target", "a"), ("replacement", "$1_y")]), "{}");
    assert_eq!(after(&[("a", "x")], &[("source", "a"), ("target", "a"), ("replacement", "$$1")]), r#"{a="$1"}"#);
}

#[test]
fn keep_and_drop_match_whole_joined_values() {
    assert_eq!(after(ABC, &[("action", "keep"), ("source", "a"), ("regex", "fo")]), "dropped");
    assert_eq!(after(&[("a", "foo")], &[("action", "KEEP"), ("source", "a"), ("regex", "fo.")]), r#"{a="foo"}"#);
    assert_eq!(after(ABC, &[("action", "drop"), ("source", "a,b"), ("regex", "foo;bar")]), "dropped");
    assert_eq!(after(ABC, &[("action", "drop"), ("source", "a,b"), ("separator", ""), ("regex", "foobar")]), "dropped");
    assert_eq!(after(ABC, &[("action", "keep"), ("source", "missing"), ("regex", "")]), labels_text(ABC));
    assert_eq!(after(ABC, &[("action", "drop"), ("source", "missing"), ("regex", ".+")]), labels_text(ABC));
}

#[test]
fn keepequal_and_dropequal_compare_with_the_target_label() {
    let port: &[(&str, &str)] = &[("__port", "1234"), ("wanted", "1234")];
    let other: &[(&str, &str)] = &[("__port", "1234"), ("wanted", "99")];
    let keep: &[(&str, &str)] = &[("action", "keepequal"), ("source", "__port"), ("target", "wanted")];
    let drop: &[(&str, &str)] = &[("action", "dropequal"), ("source", "__port"), ("target", "wanted")];
    assert_eq!(after(port, keep), labels_text(port));
    assert_eq!(after(other, keep), "dropped");
    assert_eq!(after(port, drop), "dropped");
    assert_eq!(after(other, drop), labels_text(other));
}

#[test]
fn hashmod_is_the_low_half_of_md5() {
    // md5("foo") = acbd18db4cc2f85c edef654fccc4a4d8.
    let low = 0xedef_654f_ccc4_a4d8_u64;
    assert_eq!(
        after(&[("a", "foo")], &[("action", "hashmod"), ("source", "a"), ("target", "h"), ("modulus", "1000")]),
        format!(r#"{{a="foo",h="{}"}}"#, low % 1000)
    );
    assert_eq!(
        after(&[("a", "foo\nbar")], &[("action", "hashmod"), ("source", "a"), ("target", "h"), ("modulus", "1000")]),
        r#"{a="foo\nbar",h="734"}"#
    );
    let empty = 0xe980_0998_ecf8_427e_u64;
    assert_eq!(
        after(&[], &[("action", "hashmod"), ("source", "missing"), ("target", "h"), ("modulus", "7")]),
        format!(r#"{{h="{}"}}"#, empty % 7)
    );
}

#[test]
fn labelmap_copies_under_another_name() {
    assert_eq!(
        after(
            &[("__meta_my_bar", "aaa"), ("__meta_my_baz", "bbb"), ("x", "1")],
            &[("action", "labelmap"), ("regex", "__meta_(my.*)")]
        ),
        r#"{__meta_my_bar="aaa",__meta_my_baz="bbb",my_bar="aaa",my_baz="bbb",x="1"}"#
    );
    assert_eq!(
        after(&[("a", "1")], &[("action", "labelmap"), ("regex", "(b)?a"), ("replacement", "$1")]),
        r#"{a="1"}"#
    );
    assert_eq!(
        after(&[("ab", "1")], &[("action", "labelmap"), ("regex", "(a)(b)"), ("replacement", "${2}_${1}")]),
        r#"{ab="1",b_a="1"}"#
    );
}

#[test]
fn labeldrop_and_labelkeep_look_at_names() {
    assert_eq!(after(ABC, &[("action", "labeldrop"), ("regex", "(a|b.*)")]), r#"{c="baz"}"#);
    assert_eq!(after(ABC, &[("action", "labelkeep"), ("regex", "a|c")]), r#"{a="foo",c="baz"}"#);
}

#[test]
fn lowercase_and_uppercase_join_then_change() {
    assert_eq!(
        after(&[("a", "FoO"), ("b", "Bar")], &[("action", "lowercase"), ("source", "a,b"), ("target", "l")]),
        r#"{a="FoO",b="Bar",l="foo;bar"}"#
    );
    assert_eq!(after(&[("a", "FoO")], &[("action", "uppercase"), ("source", "a"), ("target", "a")]), r#"{a="FOO"}"#);
}

#[test]
fn rules_run_in_order_and_stop_at_a_drop() {
    let rules = Rules::new(vec![
        rule(&[("source", "a"), ("target", "__tmp")]).unwrap(),
        rule(&[("source", "__tmp"), ("target", "b"), ("replacement", "${1}!")]).unwrap(),
        rule(&[("action", "labeldrop"), ("regex", "__tmp")]).unwrap(),
        rule(&[("action", "drop"), ("source", "b"), ("regex", "bad!")]).unwrap(),
    ]);
    let mut good: Labels<'_> = [("a", "good")].into_iter().collect();
    assert!(rules.apply(&mut good));
    assert_eq!(good.to_string(), r#"{a="good",b="good!"}"#);
    let mut bad: Labels<'_> = [("a", "bad")].into_iter().collect();
    assert!(!rules.apply(&mut bad));
}

#[test]
fn rules_that_cannot_work_are_refused() {
    let refused = |parts: &[(&str, &str)]| {
        let error = rule(parts).unwrap_err();
        (error.key(), error.to_string())
    };
    assert_eq!(
        refused(&[("action", "replce")]),
        ("action", format!(r#""replce" is not an action; choose one of {}"#, Action::NAMES))
    );
    assert_eq!(refused(&[("source", "a")]), ("target_label", "the action replace needs a target_label".into()));
    assert_eq!(
        refused(&[("action", "hashmod"), ("target", "a")]),
        ("modulus", "the action hashmod needs a modulus above 0".into())
    );
    assert_eq!(
        refused(&[("source", "a"), ("target", "${a")]),
        (
            "target_label",
            r#""${a" cannot be the target_label of the action replace; write a label's name, or one with ${1} in it"#
                .into()
        )
    );
    assert_eq!(
        refused(&[("action", "labeldrop"), ("regex", "a"), ("source", "b")]),
        ("source_labels", "the action labeldrop does not use source_labels; it uses only regex".into())
    );
    assert_eq!(
        refused(&[("action", "keepequal"), ("target", "a"), ("regex", "b")]),
        ("regex", "the action keepequal does not use regex; it uses only source_labels and target_label".into())
    );
    assert_eq!(
        refused(&[("action", "lowercase"), ("target", "a"), ("replacement", "b")]),
        (
            "replacement",
            "the action lowercase does not use replacement; it uses only source_labels, separator and target_label"
                .into()
        )
    );
    assert_eq!(refused(&[("action", "labelmap"), ("replacement", "{$1}")]).0, "replacement",);
    assert_eq!(
        refused(&[("target", "a"), ("regex", "(")]),
        ("regex", r#""(" is not a regular expression (RE2): it has a `(` without a `)`"#.into())
    );
}

#[test]
fn rules_are_equal_when_typed_alike() {
    let one = || rule(&[("source", "a"), ("regex", "x.*"), ("target", "b")]).unwrap();
    assert_eq!(one(), one());
    assert_ne!(one(), rule(&[("source", "a"), ("regex", "x.+"), ("target", "b")]).unwrap());
}

fn labels_text(labels: &[(&str, &str)]) -> String {
    labels.iter().copied().collect::<Labels<'_>>().to_string()
}
