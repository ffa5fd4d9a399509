//! A rule, then values of labels, split at NULs: whatever they are, a rule that was accepted gives labels that are sorted,
//! each once and none empty, and gives the same ones again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promferry::model::Labels;
use promferry::relabel::{Rule, RuleSpec, Rules};

const ACTIONS: [&str; 11] = [
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
];

fuzz_target!(|data: &[u8]| {
    let Some((&action, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let mut fields = text.split('\0').map(|field| Some(field).filter(|field| !field.is_empty()).map(str::to_owned));
    let mut field = || fields.next().flatten();
    let spec = RuleSpec {
        source_labels: field().map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        separator: field(),
        target_label: field(),
        regex: field(),
        modulus: field().map(|text| text.len() as u64),
        replacement: field(),
        action: Some(ACTIONS[usize::from(action) % ACTIONS.len()].to_owned()),
    };
    let rule = match Rule::new(spec) {
        Ok(rule) => rule,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.chars().any(char::is_control), "{said:?}");
            return;
        }
    };
    let rules = Rules::new(vec![rule.clone(), rule]);
    let names = ["__name__", "a", "b", "job", "x_y"];
    let labels: Labels<'static> = names.into_iter().filter_map(|name| Some((name, field()?))).collect();

    let (mut once, mut again) = (labels.clone(), labels);
    assert_eq!(rules.apply(&mut once), rules.apply(&mut again));
    assert_eq!(once, again);
    let held: Vec<_> = once.iter().collect();
    assert!(held.windows(2).all(|pair| pair[0].0 < pair[1].0), "{once}");
    assert!(held.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "{once}");
});
