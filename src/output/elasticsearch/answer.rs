//! Reads the answer to a `_bulk` request. It comes from outside: nothing in it may cost more than its length.

use memchr::memmem;
use serde_json::Value as Json;

/// Bytes of a receiver's sentence that are kept for each item.
const REASON_BYTES_MAX: usize = 512;

/// What became of one item, as the receiver says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ItemAnswer {
    /// An HTTP status; 0 where there is none.
    pub status: u16,
    /// The class of the error, such as `mapper_parsing_exception`.
    pub kind: String,
    /// The receiver's sentence.
    pub reason: String,
    /// The document is not in the stream but among its failures, and the status is one of success.
    pub is_in_failure_store: bool,
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BulkAnswer {
    /// No item failed.
    AllWell,
    /// One for each item.
    Each(Vec<ItemAnswer>),
    /// Something else. A phrase that says what.
    Unreadable(String),
}

/// Reads the answer to a request of `items` items. One that is not about exactly these is unreadable.
pub(super) fn read(body: &[u8], items: usize) -> BulkAnswer {
    let body = body.trim_ascii();
    if !(body.starts_with(b"{") && body.ends_with(b"}")) {
        return BulkAnswer::Unreadable("is not JSON".into());
    }
    match after_key(body, b"\"errors\"") {
        // The usual case: there is no item to look at, only their number.
        Some(rest) if rest.starts_with(b"false") && memmem::find(body, b"\"failure_store\"").is_none() => {
            match memmem::find_iter(body, b"\"status\"").count() {
                found if found == items => BulkAnswer::AllWell,
                found => BulkAnswer::Unreadable(wrong_count(found, items)),
            }
        }
        Some(_) => read_items(body, items),
        None => BulkAnswer::Unreadable("does not say whether there were errors".into()),
    }
}

fn read_items(body: &[u8], items: usize) -> BulkAnswer {
    let Some(mut rest) = after_key(body, b"\"items\"").and_then(|rest| rest.strip_prefix(b"[")) else {
        return BulkAnswer::Unreadable("has no items".into());
    };
    let mut found = Vec::with_capacity(items);
    loop {
        rest = rest.trim_ascii_start();
        if rest.starts_with(b"]") {
            break;
        }
        if found.len() == items {
            return BulkAnswer::Unreadable(format!("is about more than the {items} documents that were sent"));
        }
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Json>();
        let Some(Ok(item)) = values.next() else {
            return BulkAnswer::Unreadable(format!("is not JSON at item {}", found.len()));
        };
        found.push(item_answer(&item));
        rest = rest.get(values.byte_offset()..).unwrap_or_default().trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
    if found.len() != items {
        return BulkAnswer::Unreadable(wrong_count(found.len(), items));
    }
    BulkAnswer::Each(found)
}

fn wrong_count(found: usize, items: usize) -> String {
    format!("is about {found} documents, and {items} were sent")
}

/// What follows the first `"key":`. Within a string its quotes would be escaped.
fn after_key<'b>(body: &'b [u8], key: &[u8]) -> Option<&'b [u8]> {
    let rest = &body[memmem::find(body, key)? + key.len()..];
    Some(rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

/// `{"create":{"status":400,"error":{"type":…,"reason":…}}}`, under whatever action.
fn item_answer(item: &Json) -> ItemAnswer {
    let Some(result) = item.as_object().and_then(|item| item.values().next()) else { return ItemAnswer::default() };
    let status = result.get("status").and_then(Json::as_u64).and_then(|status| u16::try_from(status).ok());
    let error = result.get("error");
    let part = |key: &str| error.and_then(|error| error.get(key)).and_then(Json::as_str).unwrap_or_default();
    let kept = |text: &str| text[..text.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
    let sentence = error.and_then(Json::as_str);
    ItemAnswer {
        status: status.unwrap_or(0),
        kind: kept(part("type")),
        reason: kept(sentence.unwrap_or_else(|| part("reason"))),
        is_in_failure_store: result.get("failure_store").is_some_and(|used| used == "used"),
    }
}

/// The receiver's words in an answer that refuses the whole request: `error.reason`, or the text as it is.
pub(super) fn words(body: &[u8]) -> String {
    let json: Option<Json> = serde_json::from_slice(body).ok();
    let error = json.as_ref().and_then(|json| json.get("error"));
    let said = error.and_then(|error| error.get("reason").and_then(Json::as_str).or(error.as_str()));
    match said {
        Some(said) => said.to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(1024)]).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_errors_are_all_well_when_the_number_is_right() {
        let body = br#"{"errors":false,"took":3,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
        assert_eq!(read(body, 2), BulkAnswer::AllWell);
        let Is(said) = Is::from(read(body, 3));
        assert_eq!(said, "is about 2 documents, and 3 were sent");
        assert_eq!(
            read(b" {\n \"took\" : 3,\n \"errors\" : false, \"items\":[{\"index\":{\"status\" : 200}}]}\n", 1),
            BulkAnswer::AllWell
        );
    }

    #[test]
    fn items_are_read_under_any_action() {
        let body = br#"{"errors":true,"items":[
            {"create":{"_id":null,"status":201}},
            {"index":{"status":400,"error":{"type":"t","reason":"\"errors\":false \"items\":[]"}}} ,
            {"create":{"status":503,"error":"plain"}},
            {"create":{"status":99999999}}, 7]}"#;
        let item = |status, kind: &str, reason: &str| ItemAnswer {
            status,
            kind: kind.into(),
            reason: reason.into(),
            is_in_failure_store: false,
        };
        let expected = vec![
            item(201, "", ""),
            item(400, "t", "\"errors\":false \"items\":[]"),
            item(503, "", "plain"),
            item(0, "", ""),
            item(0, "", ""),
        ];
        assert_eq!(read(body, 5), BulkAnswer::Each(expected));
    }

    #[test]
    fn a_document_in_the_failure_store_is_no_success() {
        let body =
            br#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201,"failure_store":"used"}}]}"#;
        let BulkAnswer::Each(items) = read(body, 2) else { panic!("items are looked at") };
        assert_eq!(items.iter().map(|item| item.is_in_failure_store).collect::<Vec<_>>(), [false, true]);
    }

    /// What was said of an unreadable answer.
    struct Is(String);

    impl From<BulkAnswer> for Is {
        fn from(answer: BulkAnswer) -> Self {
            let BulkAnswer::Unreadable(said) = answer else { panic!("{answer:?}") };
            Self(said)
        }
    }

    #[test]
    fn anything_else_is_unreadable_and_says_why() {
        let deep = format!(r#"{{"errors":true,"items":[{}"#, "[".repeat(100_000)) + "}";
        let cases: [(&[u8], &str); 9] = [
            (b"", "is not JSON"),
            (b"<html></html>", "is not JSON"),
            (b"{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}", "is about 1 documents, and 2 were sent"),
            (b"{}", "does not say whether there were errors"),
            (b"{\"errors\":true}", "has no items"),
            (b"{\"errors\":true,\"items\":[{\"create\":{\"status\":201}}]}", "is about 1 documents, and 2 were sent"),
            (b"{\"errors\":true,\"items\":[{},{},{}]}", "is about more than the 2 documents that were sent"),
            (b"{\"errors\":true,\"items\":[{},{\"create\"}", "is not JSON at item 1"),
            (deep.as_bytes(), "is not JSON at item 0"),
        ];
        for (body, expected) in cases {
            let Is(said) = Is::from(read(body, 2));
            assert_eq!(said, expected, "{}", String::from_utf8_lossy(&body[..body.len().min(100)]));
        }
    }

    #[test]
    fn no_cut_or_flipped_byte_is_a_panic() {
        let body =
            br#"{"errors":true,"items":[{"create":{"status":400,"error":{"type":"t","reason":"r\n"}}}]}"#.to_vec();
        for at in 0..body.len() {
            let _ = (read(&body[..at], 1), words(&body[..at]));
            for flip in [1, 0x20, 0x80] {
                let mut body = body.clone();
                body[at] ^= flip;
                let _ = (read(&body, 1), words(&body));
            }
        }
    }
}
