//! Reads the lines of a text or OpenMetrics body into a table.
//!
//! Lines that come as predicted are read by [`read_predicted`], which looks at no name, label or quote of them: it hashes what
//! is before the value and parses the value. All others go through [`read_line`], and to the grammar only if they are new.

use super::super::body::Refusal;
use super::super::format::Format;
use super::super::openmetrics::{BEHIND_EOF, line as openmetrics};
use super::super::text::{self, LineError, LineExemplar, Sample};
use super::super::value;
use super::alike::Alike;
use super::contexts::Effect;
use super::core::{Core, Owner, Placed};
use super::lines::{Key, Line, What};
use super::plain;
use super::samples::Observed;
use crate::model::{Labels, part_label};

/// What a body is that is being read: what is known of it beside the table.
#[derive(Default)]
pub(super) struct TextBody {
    is_openmetrics: bool,
    /// Whether `# EOF` came.
    has_ended: bool,
    /// Made with the first line that was never seen.
    alike: Option<Box<Alike>>,
}

impl TextBody {
    /// A body in this format, which has lines.
    pub(super) fn new(format: Format) -> Self {
        Self { is_openmetrics: format == Format::OpenMetrics, ..Self::default() }
    }

    /// Reads all whole lines in `bytes`; gives how many bytes they were.
    pub(super) fn read(&mut self, core: &mut Core, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        let mut valid = "";
        if core.lines.are_none_known() {
            core.make_room(bytes.len());
            // All in one go costs less than a line at a time.
            valid = valid_utf8(bytes);
        }
        loop {
            if !self.has_ended && !core.lines.predicted().is_empty() {
                at += read_predicted(core, self.is_openmetrics, &bytes[at..]);
            }
            if self.alike.as_ref().is_some_and(|alike| alike.may_be(&bytes[at..])) {
                let used = self.read_alike(core, &bytes[at..])?;
                if used > 0 {
                    at += used;
                    continue;
                }
            }
            let Some(end) = memchr::memchr(b'\n', &bytes[at..]) else { break };
            self.read_line(core, &bytes[at..], end + 1, valid.get(at..).unwrap_or_default())?;
            at += end + 1;
        }
        core.check_sample_limit()?;
        Ok(at)
    }

    /// Says whether the body may end here.
    pub(super) fn finish(&mut self) -> Result<(), Refusal> {
        self.alike = None;
        if self.is_openmetrics && !self.has_ended { Err(Refusal::NoEof) } else { Ok(()) }
    }

    /// Reads one line, the first `len` bytes, line break included, that did not come as predicted. As much of the bytes as is
    /// in `valid` is known to be text.
    fn read_line(&mut self, core: &mut Core, bytes: &[u8], len: usize, valid: &str) -> Result<(), Refusal> {
        core.line += 1;
        let line = &bytes[..len];
        let bare = text::strip_cr(text::strip_newline(line));
        if bare.len() > core.settings.line_length_max {
            return Err(Refusal::LineTooLong { line: core.line, max: core.settings.line_length_max });
        }
        match if self.is_openmetrics { openmetrics::kind_of(bare) } else { text::kind_of(bare) } {
            // Not remembered: some programs write the time into their comments.
            text::Kind::Nothing => Ok(()),
            _ if self.has_ended => {
                core.add_bad_line(line, BEHIND_EOF);
                Ok(())
            }
            text::Kind::Metadata => self.read_comment(core, line, bare, valid),
            text::Kind::Sample => self.read_sample(core, (bytes, valid), line, bare),
        }
    }

    /// Reads a sample that is [`Alike`] to a new one before, mostly new too; gives how many bytes that was, or 0.
    fn read_alike(&mut self, core: &mut Core, bytes: &[u8]) -> Result<usize, Refusal> {
        let Some(alike) = self.alike.as_mut().filter(|_| !self.has_ended) else { return Ok(0) };
        let Some(likeness) = alike.read(core, bytes) else { return Ok(0) };
        let (head, tail) = bytes.split_at(likeness.len);
        let Some((sample, used)) = read_alike_tail(self.is_openmetrics, tail) else { return Ok(0) };
        let (value, own_ms, exemplar) = sample;
        let len = head.len() + used;
        if len > core.settings.line_length_max {
            return Ok(0);
        }
        core.line += 1;
        let key = key(core, core.seed(), head);
        let placed = match core.lines.find(key) {
            // As of any other line, without its line break.
            None => alike.add(core, key, (likeness, head), (value, own_ms, len.saturating_sub(1)))?,
            Some(_) => {
                let Ok(placed) = core.sample(key, Observed::Float(value), own_ms) else { return Ok(len) };
                core.check_growth()?;
                placed
            }
        };
        add_exemplar(core, placed, exemplar);
        Ok(len)
    }

    fn read_comment(&mut self, core: &mut Core, whole: &[u8], line: &[u8], valid: &str) -> Result<(), Refusal> {
        let key = key(core, core.comment_seed(), line);
        if core.comment(key) || core.comment_again(key)? {
            return Ok(());
        }
        let alike = self.alike.get_or_insert_default();
        if let Some(effect) = as_text(line, valid).and_then(|line| plain::comment(line, alike.family())) {
            alike.set_family(effect.name());
            return core.add_comment(key, effect, line.len());
        }
        match self.parse(whole) {
            Ok(text::Line::Help { name, text }) => {
                core.add_comment(key, Effect::Help { name: &name, text: &text }, line.len())
            }
            Ok(text::Line::Type { name, kind }) => {
                core.add_comment(key, Effect::Type { name: &name, kind }, line.len())
            }
            Ok(text::Line::Unit { name, unit }) => {
                core.add_comment(key, Effect::Unit { name: &name, unit: &unit }, line.len())
            }
            Ok(text::Line::Eof) => {
                self.has_ended = true;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                core.add_bad_line(whole, error);
                Ok(())
            }
        }
    }

    /// `bytes` begin with the `whole` line, and what is behind it makes its number fast to read.
    fn read_sample(
        &mut self,
        core: &mut Core,
        (bytes, valid): (&[u8], &str),
        whole: &[u8],
        line: &[u8],
    ) -> Result<(), Refusal> {
        let start = if self.is_openmetrics { openmetrics::value_start(line) } else { text::value_start(line) };
        let key = key(core, core.seed(), &line[..start]);
        if core.lines.find(key).is_some() {
            return self.read_known(core, key, start, (bytes, whole));
        }
        let head = &line[..start];
        let mut labels: Labels<'_> = core.take_spare();
        let alike = self.alike.get_or_insert_default();
        if let Some(name) = as_text(head, valid).and_then(|head| plain::series(head, alike.name(), &mut labels))
            && let Some((value, own_ms, exemplar)) =
                read_tail(self.is_openmetrics, &bytes[start..], whole.len() - start)
        {
            alike.make_way(core, head.get(name.len()) == Some(&b'{'));
            let sample = Sample { name: name.into(), labels, value, own_ms, exemplar };
            let owner = add_sample(core, key, sample, line.len())?;
            alike.set(core, (head, name.len()), owner);
            return Ok(());
        }
        alike.forget();
        match self.parse(whole) {
            Ok(text::Line::Sample(sample)) => add_sample(core, key, sample, line.len()).map(|_| ()),
            Ok(_) => Ok(()),
            Err(error) => {
                core.add_bad_line(whole, error);
                Ok(())
            }
        }
    }

    /// Reads a sample with this key, which is known; its value starts behind so many bytes.
    fn read_known(
        &self,
        core: &mut Core,
        key: Key,
        start: usize,
        (bytes, whole): (&[u8], &[u8]),
    ) -> Result<(), Refusal> {
        match read_tail(self.is_openmetrics, &bytes[start..], whole.len() - start) {
            Some((value, own_ms, exemplar)) => {
                if let Ok(placed) = core.sample(key, Observed::Float(value), own_ms) {
                    add_exemplar(core, placed, exemplar);
                }
                core.check_growth()?;
            }
            None => {
                core.hold(key);
                // The full parser knows what is wrong with it.
                let error = self.parse(whole).err().unwrap_or(LineError { at: start, expected: "a number" });
                core.add_bad_line(whole, error);
            }
        }
        Ok(())
    }

    fn parse<'l>(&self, line: &'l [u8]) -> Result<text::Line<'l>, LineError> {
        if self.is_openmetrics { openmetrics::parse_line(line) } else { text::parse_line(line) }
    }
}

/// Gives whose the sample is.
fn add_sample(core: &mut Core, key: Key, sample: Sample<'_>, bytes: usize) -> Result<Owner, Refusal> {
    let Sample { name, mut labels, value, own_ms, exemplar } = sample;
    let owner = core.owner(name.as_bytes());
    if let Owner::Family(kind) = owner
        && let Some(part) = part_label(kind).and_then(|part| labels.get(part))
        && !plain::is_normal_number(part.as_bytes())
    {
        text::normalise(&mut labels, kind);
    }
    let placed = core.add_sample(key, (&name, owner), labels, Observed::Float(value), own_ms, bytes)?;
    add_exemplar(core, placed, exemplar);
    Ok(owner)
}

/// As much of these bytes as is text.
fn valid_utf8(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// A line as text, if it is one, which begins as `valid` does, unless that is shorter.
fn as_text<'l>(line: &'l [u8], valid: &'l str) -> Option<&'l str> {
    valid.get(..line.len()).or_else(|| std::str::from_utf8(line).ok())
}

fn key(core: &Core, seed: u64, bytes: &[u8]) -> Key {
    Key { hash: core.keys.hash(seed, bytes), len: bytes.len() as u32 }
}

#[inline(always)]
fn add_exemplar(core: &mut Core, placed: Placed, exemplar: Option<LineExemplar<'_>>) {
    if let (Placed::Series(series), Some(exemplar)) = (placed, exemplar) {
        core.add_exemplar(series, exemplar.labels.into_owned(), exemplar.value, exemplar.at_ms);
    }
}

/// A sample's value, its own time, its exemplar.
type Tail<'l> = (f64, Option<i64>, Option<LineExemplar<'l>>);

/// Reads what stands on a sample's line from the value on, line break included: value, time, exemplar.
///
/// The line ends after `len` bytes; those behind it are not looked at but make a short number faster to read.
fn read_tail(is_openmetrics: bool, tail: &[u8], len: usize) -> Option<Tail<'_>> {
    if !is_openmetrics {
        return value::value_line(tail).map(|(value, own_ms, _)| (value, own_ms, None));
    }
    if let Some((value, used)) = value::number(tail)
        && tail.get(used) == Some(&b'\n')
    {
        return Some((value, None, None));
    }
    let tail = &tail[..len];
    let (value, used) = value::number(tail)?;
    let (own_ms, exemplar, _) = openmetrics::tail(tail, used).ok()?;
    Some((value, own_ms, exemplar))
}

/// Reads a line from the value on, and how many bytes that is, line break included.
#[inline]
fn read_alike_tail<'l>(is_openmetrics: bool, tail: &'l [u8]) -> Option<(Tail<'l>, usize)> {
    if !is_openmetrics {
        return value::value_line(tail).map(|(value, own_ms, used)| ((value, own_ms, None), used));
    }
    let used = memchr::memchr(b'\n', tail)? + 1;
    read_tail(true, tail, used).map(|read| (read, used))
}

/// Reads lines for as long as they come as predicted; gives how many bytes they were.
fn read_predicted(core: &mut Core, is_openmetrics: bool, bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += read_run(core, is_openmetrics, &bytes[at..]);
        match read_group(core, is_openmetrics, &bytes[at..]) {
            0 => return at,
            used => at += used,
        }
    }
}

/// Reads samples without exemplars, and blocks of comments and such a sample, and skips what means nothing.
///
/// This is where nearly all of the time of a steady target goes: values are pushed here, and whose they are is noted for
/// the whole run behind the loop.
#[inline(never)]
fn read_run(core: &mut Core, is_openmetrics: bool, bytes: &[u8]) -> usize {
    let (mut context, mut seed) = (core.context(), core.seed());
    let Core { lines, samples, keys, contexts, settings, .. } = core;
    let len_max = settings.line_length_max;
    let (mut rest, mut dropped, mut skipped) = (bytes, 0, 0);
    let order = lines.predicted();
    let mut ahead = order;
    let mut values = samples.take_values();
    while let Some((line, behind)) = ahead.split_first() {
        // Some programs write a comment that means nothing before each sample.
        if let Some(len) = nothing(rest, len_max) {
            rest = &rest[len..];
            skipped += 1;
            continue;
        }
        let Some((head, tail)) = rest.split_at_checked(line.len as usize) else { break };
        if keys.hash(seed, head) != line.hash {
            break;
        }
        let Some((value, used)) = value::number(tail) else { break };
        let after = match tail.get(used..) {
            Some([b'\n', after @ ..]) => Some(after),
            _ => None,
        };
        // Nearly all of a steady target ends here or a few lines below: a number and the line break.
        if line.what.is_plain()
            && let Some(after) = after
            && line.len as usize + used < len_max
        {
            values.push(value);
            (rest, ahead) = (after, behind);
            continue;
        }
        let block = lines.block(line);
        let count = block.map_or(1, |block| block.lines as usize);
        let Some(sample) = ahead.get(count - 1) else { break };
        if sample.what.is_plain()
            && let Some(after) = after
            && sample.len as usize + used < len_max
        {
            values.push(value);
            rest = after;
        } else {
            let Some((own_ms, used)) = time(is_openmetrics, tail, value, used) else { break };
            let is_dropped = sample.what == What::DROPPED;
            if sample.len as usize + used > len_max || !(is_dropped || samples.is_float(sample.what, own_ms)) {
                break;
            }
            if is_dropped {
                dropped += 1;
            } else {
                values.push_timed(value, samples.honored(own_ms));
            }
            rest = &tail[used..];
        }
        ahead = &ahead[count..];
        if let Some(block) = block {
            context = block.context;
            seed = contexts.seed(context);
        }
    }
    samples.put_values(values);
    let came = order.len() - ahead.len();
    samples.name(order[..came].iter().map(|line| line.what));
    lines.came(came);
    core.line += came as u64 + skipped;
    core.dropped += dropped;
    core.enter(context);
    bytes.len() - rest.len()
}

/// The time behind a value, and how many bytes both are, line break included.
#[inline(never)]
fn time(is_openmetrics: bool, tail: &[u8], value: f64, used: usize) -> Option<(Option<i64>, usize)> {
    match tail.get(used) {
        Some(b'\n') => Some((None, used + 1)),
        // It may be an exemplar.
        _ if is_openmetrics => None,
        _ => value::after_value(tail, value, used).map(|(_, own_ms, used)| (own_ms, used)),
    }
}

/// How long a line is, line break included, that can be seen at once to be blank or a comment that means nothing.
#[inline(always)]
fn nothing(bytes: &[u8], line_length_max: usize) -> Option<usize> {
    match bytes {
        // What most lines begin with is above both.
        [first, ..] if *first > b'#' => None,
        [b'\n', ..] => Some(1),
        [b'#', b' ', b'H' | b'T' | b'U' | b'E' | b' ' | b'\t', ..] => None,
        [b'#', b' ', ..] => memchr::memchr(b'\n', bytes).filter(|len| *len <= line_length_max).map(|len| len + 1),
        _ => None,
    }
}

/// Reads comments and the sample behind them, or one sample, as predicted; gives how many bytes they were, or 0.
fn read_group(core: &mut Core, is_openmetrics: bool, bytes: &[u8]) -> usize {
    let seed = core.seed();
    let (mut at, mut comments) = (0, 0);
    while let Some(line) = core.lines.predicted_line() {
        let Some((head, tail)) = bytes[at..].split_at_checked(line.len as usize) else { break };
        let Some(comment) = line.what.comment_number() else {
            let Some(used) = read_predicted_sample(core, is_openmetrics, line, head, tail) else { break };
            at += head.len();
            if comments > 0 {
                let key = Key { hash: core.keys.hash(seed, &bytes[..at]), len: at as u32 };
                core.lines.set_block(key, comments + 1, core.context());
            }
            return at + used;
        };
        let end = match tail {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => break,
        };
        if core.keys.hash(core.comment_seed(), head) != line.hash {
            break;
        }
        core.lines.came_alone();
        core.enter_after(comment);
        core.line += 1;
        comments += 1;
        at += head.len() + end;
    }
    at
}

/// Reads a predicted sample of any kind from its value on; gives how many bytes that was.
fn read_predicted_sample(core: &mut Core, is_openmetrics: bool, line: Line, head: &[u8], tail: &[u8]) -> Option<usize> {
    if core.keys.hash(core.seed(), head) != line.hash {
        return None;
    }
    let end = memchr::memchr(b'\n', tail)? + 1;
    let (value, own_ms, exemplar) = read_tail(is_openmetrics, tail, end)?;
    if head.len() + end > core.settings.line_length_max + 1 {
        return None;
    }
    core.line += 1;
    let placed = core.sample(Key { hash: line.hash, len: line.len }, Observed::Float(value), own_ms).ok()?;
    add_exemplar(core, placed, exemplar);
    Some(end)
}
