//! A queue on a real folder, opened and opened again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::model::{ChunkBuilder, Family, Labels, MetricType, Origin, PointsBuilder, Scrape, SeriesSet, Value};
use crate::pipeline::{Ledger, Settlement, Slice, reason};

const LIMITS: Limits =
    Limits { bytes: 64 << 20, age: Duration::from_secs(3600), overflow: Overflow::DropOldest, is_synced: false };

/// A scrape of one gauge for each value, `m0`, `m1` and so on.
fn scrape(values: &[f64]) -> Arc<Scrape> {
    let mut builder = ChunkBuilder::default();
    let mut points = PointsBuilder::default();
    for (at, value) in values.iter().enumerate() {
        let name = format!("m{at}");
        let family = builder.family(Family { name: &name, kind: MetricType::Gauge, ..Family::default() });
        let number = builder.push(family, &name, [("n", name.as_str())].into_iter());
        points.push_float(number, *value, None);
    }
    Arc::new(Scrape {
        origin: Arc::new(Origin { key: 7, labels: Labels::new(), url: "https://h/metrics".into() }),
        at_ms: 1_000,
        series: Arc::new(SeriesSet::new(vec![builder.finish()])),
        points: points.finish(),
        exemplars: Box::default(),
        created: Default::default(),
        is_last: false,
    })
}

fn batch_of(ledger: &Arc<Ledger>, slices: Vec<Slice>) -> Batch {
    let samples = slices.iter().map(Slice::samples).sum();
    Batch::new(slices, ledger.offer(samples), Instant::now())
}

fn batch(ledger: &Arc<Ledger>, values: &[f64]) -> Batch {
    batch_of(ledger, vec![Slice::whole(scrape(values))])
}

fn values(batch: &Batch) -> Vec<f64> {
    let value = |value| if let Value::Float(value) = value { value } else { panic!("a float was written") };
    batch.slices.iter().flat_map(|slice| slice.points()).map(|(point, _)| value(point.value)).collect()
}

fn open(folder: &Path, lanes: usize) -> (Arc<Ledger>, Arc<Disk>) {
    let ledger = Ledger::new("test");
    (ledger.clone(), Disk::open(folder, LIMITS, lanes, &ledger).unwrap())
}

fn deliver(mut batch: Batch) {
    let settlement = Settlement::delivered(batch.waiting.samples());
    batch.settle(&settlement);
}

#[test]
fn what_is_written_comes_back_after_a_restart_and_what_is_settled_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let (ledger, disk) = open(&path, 1);
    for value in [1.0, 2.0, 3.0] {
        let mut batch = batch(&ledger, &[value]);
        disk.write(0, &mut batch).unwrap();
        disk.put_back(batch).unwrap();
    }
    assert_eq!((disk.state().records, disk.state().samples), (3, 3));
    let taken = disk.take(0, Pick::Oldest).unwrap();
    assert_eq!(values(&taken), [1.0]);
    deliver(taken);
    assert_eq!(disk.state().records, 2);
    disk.close();
    drop(disk);
    let counts = ledger.snapshot();
    assert_eq!((counts.waiting, counts.settled.delivered, counts.imbalance()), (2, 1, 0));

    let (ledger, disk) = open(&path, 1);
    assert_eq!(ledger.snapshot().restored, 2);
    let newest = disk.take(0, Pick::Newest).unwrap();
    let oldest = disk.take(0, Pick::Oldest).unwrap();
    assert_eq!((values(&newest), values(&oldest)), (vec![3.0], vec![2.0]));
    assert!(disk.take(0, Pick::Oldest).is_none() && !disk.is_drained(0));
    deliver(newest);
    deliver(oldest);
    assert!(disk.is_drained(0));
    disk.maintain();
    assert_eq!(disk.state(), DiskState::default());
    let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "in a steady state nothing is on disk");
}

fn open_with(folder: &Path, lanes: usize, limits: Limits) -> (Arc<Ledger>, Arc<Disk>) {
    let ledger = Ledger::new("test");
    (ledger.clone(), Disk::open(folder, limits, lanes, &ledger).unwrap())
}

/// Writes a batch of these values, and lets go of it.
fn store(disk: &Disk, ledger: &Arc<Ledger>, lane: usize, values: &[f64]) {
    let mut batch = batch(ledger, values);
    disk.write(lane, &mut batch).unwrap();
    disk.put_back(batch).unwrap();
}

/// Takes all of a lane, in the order in which it was written.
fn take_all(disk: &Disk, lane: usize) -> Vec<Vec<f64>> {
    let taken = std::iter::from_fn(|| {
        let batch = disk.take(lane, Pick::Oldest)?;
        let read = values(&batch);
        deliver(batch);
        Some(read)
    });
    taken.collect()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

fn fill(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A folder with one segment of three records, the segment's name, and where each record starts.
fn three_records() -> (BTreeMap<String, Vec<u8>>, String, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 1);
    for values in [&[1.0, 2.0][..], &[3.0], &[4.0, 5.0, 6.0]] {
        store(&disk, &ledger, 0, values);
    }
    disk.close();
    let files = files(folder.path());
    let (name, bytes) = files.iter().find(|(name, _)| name.ends_with(".segment")).unwrap();
    let number = segment::number_of(name).unwrap();
    let scanned = segment::scan(&mut std::io::Cursor::new(bytes), number, bytes.len() as u64).unwrap();
    let starts = scanned.frames.iter().map(|frame| frame.offset).collect();
    (files.clone(), name.clone(), starts)
}

const THREE: [&[f64]; 3] = [&[1.0, 2.0], &[3.0], &[4.0, 5.0, 6.0]];

#[test]
fn a_flipped_byte_costs_the_record_that_it_is_in_and_nothing_else() {
    let (files, name, starts) = three_records();
    for at in 0..files[&name].len() {
        for mask in [1 << (at % 8), 0xff] {
            let folder = tempfile::tempdir().unwrap();
            let mut damaged = files.clone();
            damaged.get_mut(&name).unwrap()[at] ^= mask;
            fill(folder.path(), &damaged);
            let (ledger, disk) = open(folder.path(), 1);
            let restored = ledger.snapshot().restored;
            let taken = take_all(&disk, 0);

            let hit = starts.iter().rposition(|&start| start <= at as u64);
            let is_state = hit.is_some_and(|hit| starts[hit] + 48 == at as u64);
            let hit = hit.filter(|_| !is_state);
            let expected: Vec<_> = (0..3).filter(|number| Some(*number) != hit).map(|number| THREE[number]).collect();
            assert_eq!(taken, expected, "byte {at} ^ {mask:#x}");
            let counts = ledger.snapshot();
            let corrupt = counts.settled.dropped.get(reason::CORRUPT).copied().unwrap_or(0);
            assert_eq!((counts.imbalance(), counts.waiting), (0, 0), "byte {at}");
            assert_eq!(counts.settled.delivered + corrupt, restored, "byte {at}");
            let state = disk.state();
            let is_noticed = state.corrupt_bytes > 0 || state.corrupt_records == 1;
            assert_eq!((is_noticed, disk.is_drained(0)), (hit.is_some(), true), "byte {at}: {state:?}");
        }
    }
}

#[test]
fn a_record_that_is_cut_short_costs_itself() {
    let (files, name, starts) = three_records();
    let whole = files[&name].len();
    for length in starts[2] as usize..whole {
        let folder = tempfile::tempdir().unwrap();
        let mut cut = files.clone();
        cut.get_mut(&name).unwrap().truncate(length);
        fill(folder.path(), &cut);
        let (ledger, disk) = open(folder.path(), 1);
        store(&disk, &ledger, 0, &[7.0]);
        assert_eq!(take_all(&disk, 0), [&[1.0, 2.0][..], &[3.0], &[7.0]], "cut at {length}");
        let counts = ledger.snapshot();
        let is_head_whole = length >= starts[2] as usize + segment::FRAME_BYTES;
        let dropped = counts.settled.dropped.get(reason::CORRUPT).copied();
        assert_eq!(dropped, is_head_whole.then_some(3), "cut at {length}");
        assert_eq!((counts.waiting, counts.imbalance()), (0, 0));
        let lost = if is_head_whole { 0 } else { length as u64 - starts[2] };
        assert_eq!(disk.state().corrupt_bytes, lost, "cut at {length}");
    }
}

#[test]
fn a_made_up_record_inside_of_a_payload_is_never_read() {
    let (files, name, starts) = three_records();
    // A target that knows what a record looks like sends one, as a label's value; the head before it is then damaged.
    let bytes = files[&name].clone();
    let stolen = bytes[starts[0] as usize..starts[1] as usize].to_vec();
    let mut damaged = bytes[..starts[1] as usize].to_vec();
    damaged.extend_from_slice(&stolen);
    let number = segment::number_of(&name).unwrap();
    let scan = |bytes: &[u8]| segment::scan(&mut std::io::Cursor::new(bytes), number, bytes.len() as u64).unwrap();
    let scanned = scan(&damaged);
    assert_eq!((scanned.frames.len(), scanned.corrupt_bytes), (1, stolen.len() as u64));
    let elsewhere = segment::scan(&mut std::io::Cursor::new(&bytes), number + 1, bytes.len() as u64).unwrap();
    assert!(elsewhere.frames.is_empty(), "a record of another segment is not one of this");
}

#[test]
fn flags_tell_a_resend_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 1);
    let write = |value: f64| {
        let mut batch = batch(&ledger, &[value]);
        disk.write(0, &mut batch).unwrap();
        batch
    };
    let batches: Vec<Batch> = (0..5).map(|number| write(f64::from(number))).collect();
    let record = |number: usize| batches[number].record.clone().unwrap();
    record(1).sending();
    record(2).sending();
    record(2).not_received();
    record(3).sending();
    record(3).sending();
    record(3).not_received();
    let mut known = batch(&ledger, &[5.0]);
    known.attempt.is_maybe_resend = true;
    disk.write(0, &mut known).unwrap();
    let record = known.record.clone().unwrap();
    record.sending();
    record.not_received();
    // As after a kill: nothing is closed or put back.
    for batch in batches.into_iter().chain([known]) {
        let Batch { waiting, .. } = batch;
        waiting.leave();
    }
    drop((disk, record));
    let (_ledger, disk) = open(folder.path(), 1);
    let taken: Vec<Batch> = std::iter::from_fn(|| disk.take(0, Pick::Oldest)).collect();
    let flags: Vec<_> = taken.iter().map(|batch| (values(batch)[0], batch.attempt.is_maybe_resend)).collect();
    assert_eq!(flags, [(0.0, false), (1.0, true), (2.0, false), (3.0, true), (4.0, false), (5.0, true)]);
    taken.into_iter().for_each(deliver);
}

#[test]
fn what_comes_back_from_hand_keeps_its_flag() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 1);
    store(&disk, &ledger, 0, &[1.0, 2.0]);
    let sent = disk.take(0, Pick::Oldest).unwrap();
    sent.record.as_ref().unwrap().sending();
    disk.put_back(sent).unwrap();
    let again = disk.take(0, Pick::Oldest).unwrap();
    assert!(again.attempt.is_maybe_resend, "nobody has said that it was not received");
    let record = again.record.clone().unwrap();
    record.sending();
    record.not_received();
    disk.put_back(again).unwrap();
    drop(record);
    let mut again = disk.take(0, Pick::Oldest).unwrap();
    assert!(again.attempt.is_maybe_resend, "an earlier attempt may have been received");
    again.settle(&Settlement::delivered(1));
    again.keep(&[1]);
    disk.put_back(again).unwrap();
    let rest = disk.take(0, Pick::Oldest).unwrap();
    assert_eq!((values(&rest), rest.attempt.is_maybe_resend), (vec![2.0], true), "nor is it lost by writing anew");
    deliver(rest);
    assert_eq!(ledger.snapshot().settled.delivered, 2);
}

#[test]
fn what_is_left_of_a_batch_is_written_anew_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 1);
    for values in [&[1.0, 2.0, 3.0, 4.0][..], &[5.0], &[6.0, 7.0]] {
        store(&disk, &ledger, 0, values);
    }
    let mut first = disk.take(0, Pick::Oldest).unwrap();
    first.settle(&Settlement::delivered(2));
    first.keep(&[1, 3]);
    disk.put_back(first).unwrap();
    // Parts share a record: it is done when the last of them is.
    let newest = disk.take(0, Pick::Newest).unwrap();
    let [left, right] = newest.split().unwrap();
    let (kept, sent) = if values(&left) == [6.0] { (left, right) } else { (right, left) };
    disk.put_back(kept).unwrap();
    assert_eq!(disk.state().records, 4, "a part of the last record is still in hand");
    deliver(sent);
    assert_eq!((disk.state().records, disk.state().samples), (3, 4));
    disk.close();
    drop(disk);
    assert_eq!(ledger.snapshot().imbalance(), 0);
    let (ledger, disk) = open(folder.path(), 1);
    assert_eq!(ledger.snapshot().restored, 4);
    assert_eq!(take_all(&disk, 0), [&[2.0, 4.0][..], &[5.0], &[6.0]]);
}

#[test]
fn what_was_settled_and_not_marked_comes_again_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 1);
    for value in [1.0, 2.0, 3.0] {
        store(&disk, &ledger, 0, &[value]);
    }
    deliver(disk.take(0, Pick::Oldest).unwrap());
    disk.maintain();
    let second = disk.take(0, Pick::Oldest).unwrap();
    second.record.as_ref().unwrap().sending();
    deliver(second);
    drop(disk);
    let (ledger_after, disk) = open(folder.path(), 1);
    let second = disk.take(0, Pick::Oldest).unwrap();
    assert_eq!((values(&second), second.attempt.is_maybe_resend), (vec![2.0], true));
    deliver(second);
    assert_eq!(take_all(&disk, 0), [[3.0]]);
    assert_eq!((ledger.snapshot().waiting, ledger_after.snapshot().restored), (1, 2));
}

#[test]
fn a_full_queue_lets_go_of_what_waits_longest_but_not_of_what_is_in_hand() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 4096, ..LIMITS };
    let (ledger, disk) = open_with(folder.path(), 1, limits);
    let values = |number: usize| -> Vec<f64> { (0..10).map(|at| (number * 100 + at) as f64).collect() };
    store(&disk, &ledger, 0, &values(0));
    let in_hand = disk.take(0, Pick::Oldest).unwrap();
    for number in 1..40 {
        store(&disk, &ledger, 0, &values(number));
        let on_disk: usize = files(folder.path()).values().map(Vec::len).sum();
        assert_eq!(on_disk as u64, disk.state().bytes);
        assert!(on_disk <= 4096, "{on_disk} bytes");
    }
    disk.put_back(in_hand).unwrap();
    let left = take_all(&disk, 0);
    let newest: Vec<_> = (40 - (left.len() - 1)..40).map(values).collect();
    assert_eq!((&left[0], &left[1..]), (&values(0), &newest[..]));
    let counts = ledger.snapshot();
    let dropped = counts.settled.dropped[reason::QUEUE_FULL];
    assert_eq!((counts.offered, counts.settled.delivered + dropped, counts.imbalance()), (400, 400, 0));
    assert!(left.len() > 5, "no more goes than has to: {}", left.len());

    let mut large = batch(&ledger, &vec![0.1; 1000]);
    assert!(matches!(disk.write(0, &mut large), Err(DiskError::Full { .. })));
    large.drop_all(reason::QUEUE_FULL);
    assert!(disk.is_drained(0));
}

#[test]
fn a_full_queue_refuses_what_comes_when_that_is_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 2048, overflow: Overflow::DropNewest, ..LIMITS };
    let (ledger, disk) = open_with(folder.path(), 1, limits);
    let mut written = 0;
    let refused = loop {
        let mut batch = batch(&ledger, &[f64::from(written); 10]);
        match disk.write(0, &mut batch) {
            Ok(()) => disk.put_back(batch).unwrap(),
            Err(error) => break (batch, error),
        }
        written += 1;
    };
    let (batch, error) = refused;
    assert!(written > 2 && matches!(error, DiskError::Full { bytes: 2048, .. }), "{written}: {error}");
    assert!(disk.state().failing.is_some_and(|said| said.contains("max_bytes")));
    assert_eq!(take_all(&disk, 0).len(), written as usize);
    let mut batch = batch;
    disk.write(0, &mut batch).unwrap();
    assert_eq!(disk.state().failing, None);
    deliver(batch);
    assert_eq!(ledger.snapshot().imbalance(), 0);
}

#[test]
fn a_disk_that_is_full_or_gone_is_an_error_and_the_next_write_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue");
    let (ledger, disk) = open(&path, 1);
    store(&disk, &ledger, 0, &[1.0]);
    let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    disk.inner.replace_active(full);
    let mut second = batch(&ledger, &[2.0]);
    let error = disk.write(0, &mut second).unwrap_err().to_string();
    assert!(error.contains("the disk is full") && error.contains(".segment"), "{error}");
    assert_eq!(disk.state().failing, Some(error));
    disk.maintain();
    assert!(disk.state().failing.is_some(), "nothing was written since");
    disk.write(0, &mut second).unwrap();
    disk.put_back(second).unwrap();
    assert_eq!((disk.state().failing, disk.state().segments), (None, 2), "a new segment was begun");

    disk.inner.replace_active(std::fs::File::open("/dev/null").unwrap());
    let mut third = batch(&ledger, &[3.0]);
    disk.write(0, &mut third).unwrap_err();
    let aside = folder.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    let error = disk.write(0, &mut third).unwrap_err().to_string();
    assert!(error.contains("there is no such place"), "{error}");
    std::fs::rename(&aside, &path).unwrap();
    disk.write(0, &mut third).unwrap();
    disk.put_back(third).unwrap();
    assert_eq!(take_all(&disk, 0), [[1.0], [2.0], [3.0]]);
    disk.close();
    assert_eq!(ledger.snapshot().imbalance(), 0);
}

#[test]
fn a_file_that_cannot_be_cut_is_not_written_to_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    segment::append(&file, 0, b"before", true).unwrap();
    let read_only = std::fs::File::open(&path).unwrap();
    let (_, is_sound) = segment::append(&read_only, 6, b"record", false).unwrap_err();
    assert!(!is_sound);
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
}

#[test]
fn a_folder_that_cannot_be_is_an_error_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = Disk::open(&folder.path().join("file/queue"), LIMITS, 1, &Ledger::new("test")).err().unwrap();
    assert!(error.to_string().contains("making the folder failed"), "{error}");
}

#[test]
fn a_folder_is_private_and_belongs_to_one_process() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue");
    let (ledger, disk) = open(&path, 1);
    store(&disk, &ledger, 0, &[1.0]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for name in files(&path).keys() {
        assert_eq!(std::fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let error = Disk::open(&path, LIMITS, 1, &Ledger::new("other")).err().unwrap();
    assert!(error.to_string().contains("another process has this disk queue open"), "{error}");
    drop(disk);
    assert_eq!(ledger.snapshot().waiting, 1, "what is on disk is not abandoned");
    open(&path, 1);
}

#[test]
fn a_segment_of_version_1_is_delivered() {
    let (mut files, name, _) = three_records();
    let segment = files.get_mut(&name).unwrap();
    assert_eq!(segment[8..12], 2u32.to_le_bytes());
    segment[8..12].copy_from_slice(&1u32.to_le_bytes());
    let crc = crc32c::crc32c(&segment[..20]);
    segment[20..24].copy_from_slice(&crc.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &files);
    let ledger = Ledger::new("test");
    let disk = Disk::open(folder.path(), LIMITS, 1, &ledger).unwrap();
    assert_eq!((disk.state().records, disk.state().corrupt_bytes), (3, 0));
}

#[test]
fn a_newer_version_is_refused_and_left_untouched() {
    let (mut files_before, name, _) = three_records();
    let segment = files_before.get_mut(&name).unwrap();
    segment[8..12].copy_from_slice(&3u32.to_le_bytes());
    let crc = crc32c::crc32c(&segment[..20]);
    segment[20..24].copy_from_slice(&crc.to_le_bytes());
    files_before.insert(format!("{:016x}.new", 99), Vec::new());
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &files_before);
    let ledger = Ledger::new("test");
    let error = Disk::open(folder.path(), LIMITS, 1, &ledger).err().unwrap().to_string();
    for part in [name.as_str(), "version 3,", "up to version 2;", "left untouched"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(files(folder.path()), files_before);
    assert_eq!(ledger.snapshot().restored, 0);
}

#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let (mut before, _, _) = three_records();
    let foreign =
        [("notes.txt", &b"mine"[..]), ("00000000000000ff.segment", b"not a segment at all, but of that name")];
    before.extend(foreign.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())));
    before.insert(format!("{:016x}.new", 7), Vec::new());
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &before);
    std::fs::create_dir(folder.path().join("0000000000000003.segment")).unwrap();
    let (ledger, disk) = open(folder.path(), 1);
    store(&disk, &ledger, 0, &[7.0]);
    assert!(folder.path().join("0000000000000100.segment").exists(), "numbers go on behind all names");
    assert_eq!(take_all(&disk, 0).len(), 4);
    disk.maintain();
    std::fs::remove_dir(folder.path().join("0000000000000003.segment")).unwrap();
    let mut after = files(folder.path());
    after.remove("lock");
    assert_eq!(after, foreign.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect());
}

#[test]
fn age_counts_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 1);
    let now = Instant::now();
    for (value, age_s) in [(1.0, 1800), (2.0, 600)] {
        let mut batch = batch(&ledger, &[value]);
        batch.oldest = now - Duration::from_secs(age_s);
        disk.write(0, &mut batch).unwrap();
        disk.put_back(batch).unwrap();
    }
    disk.close();
    drop(disk);
    let limits = Limits { age: Duration::from_secs(1000), ..LIMITS };
    let (ledger, disk) = open_with(folder.path(), 1, limits);
    assert_eq!(ledger.snapshot().settled.dropped, [(reason::TOO_OLD, 1)].into());
    let young = disk.take(0, Pick::Oldest).unwrap();
    let age_s = young.oldest.elapsed().as_secs();
    assert!((600..660).contains(&age_s), "{age_s} s");
    disk.put_back(young).unwrap();
    disk.close();
    drop(disk);
    let (ledger, disk) = open_with(folder.path(), 1, limits);
    assert_eq!((ledger.snapshot().restored, disk.state().records), (1, 1), "what was too old is gone for good");
}

#[tokio::test(start_paused = true)]
async fn what_waits_too_long_on_disk_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 2);
    store(&disk, &ledger, 1, &[1.0, 2.0]);
    tokio::time::advance(LIMITS.age / 2).await;
    store(&disk, &ledger, 1, &[3.0]);
    tokio::time::advance(LIMITS.age / 2).await;
    disk.maintain();
    assert_eq!(ledger.snapshot().settled.dropped, [(reason::TOO_OLD, 2)].into());
    tokio::time::advance(LIMITS.age / 2).await;
    assert!(disk.take(1, Pick::Newest).is_none() && disk.is_drained(1));
    assert_eq!((ledger.snapshot().waiting, ledger.snapshot().imbalance()), (0, 0));
}

#[test]
fn with_another_number_of_lanes_the_first_drains_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, disk) = open(folder.path(), 3);
    for (lane, value) in [(2, 1.0), (0, 2.0), (1, 3.0), (2, 4.0)] {
        store(&disk, &ledger, lane, &[value, value]);
    }
    assert!((0..3).all(|lane| disk.may_take(lane) && !disk.is_drained(lane) && disk.has_waiting(lane)));
    disk.close();
    assert!(!(0..3).any(|lane| disk.has_waiting(lane)), "nothing more is taken");
    drop(disk);

    let (ledger, disk) = open(folder.path(), 2);
    store(&disk, &ledger, 1, &[5.0]);
    assert_eq!((disk.may_take(0), disk.may_take(1)), (true, false));
    assert!(disk.take(1, Pick::Oldest).is_none());
    let mut first = disk.take(0, Pick::Oldest).unwrap();
    first.settle(&Settlement::delivered(1));
    first.keep(&[1]);
    disk.put_back(first).unwrap();
    disk.close();
    drop(disk);

    // What was written anew is still of the old number.
    let (_, disk) = open(folder.path(), 2);
    assert!(!disk.may_take(1));
    let mut old: Vec<Batch> = (0..4).map(|_| disk.take(0, Pick::Oldest).unwrap()).collect();
    assert_eq!(old.iter().map(|batch| values(batch)[0]).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!((disk.has_waiting(0), disk.has_waiting(1)), (false, true));
    let last = old.pop().unwrap();
    old.into_iter().for_each(deliver);
    assert!(!disk.may_take(1), "one of them is still in hand");
    deliver(last);
    assert_eq!((disk.may_take(1), disk.is_drained(0), disk.is_drained(1)), (true, true, false));
    assert_eq!(take_all(&disk, 1), [[5.0]]);
}

#[test]
fn segments_are_many_and_few_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 80_000, is_synced: true, ..LIMITS };
    let (ledger, disk) = open_with(folder.path(), 1, limits);
    let all: Vec<Vec<f64>> = (0..30).map(|number| vec![f64::from(number) + 0.1; 60]).collect();
    all.iter().for_each(|values| store(&disk, &ledger, 0, values));
    assert!(disk.state().segments >= 5, "{:?}", disk.state());
    let sizes = files(folder.path());
    assert!(sizes.values().all(|bytes| bytes.len() <= 10_000), "no more than an eighth");
    let taken: Vec<Batch> = std::iter::from_fn(|| disk.take(0, Pick::Oldest)).collect();
    assert_eq!(taken.iter().map(values).collect::<Vec<_>>(), all);
    let is_segment = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
        target.starts_with(folder.path()) && target.extension().is_some_and(|name| name == "segment")
    };
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(is_segment).filter(|is| *is).count();
    assert!((1..=5).contains(&open), "{open} files are open");
    taken.into_iter().for_each(deliver);
    disk.maintain();
    assert_eq!(disk.state(), DiskState::default());
}

#[test]
fn many_threads_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 200_000, ..LIMITS };
    let (ledger, disk) = open_with(folder.path(), 4, limits);
    let work = |thread: usize| {
        // A fixed course, another one for each thread.
        let mut course = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(thread as u64 + 1);
        let mut held: Vec<Batch> = Vec::new();
        for round in 0..300 {
            course = course.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let lane = thread % 2 + 2 * (course >> 60 & 1) as usize;
            match course >> 40 & 7 {
                0..=2 => {
                    let mut batch = batch(&ledger, &[f64::from(round); 6]);
                    disk.write(lane, &mut batch).unwrap();
                    held.push(batch);
                }
                3 => held.extend(disk.take(lane, if course >> 50 & 1 == 0 { Pick::Oldest } else { Pick::Newest })),
                4 => held.drain(..).for_each(|batch| disk.put_back(batch).unwrap()),
                5 => disk.maintain(),
                6 => {
                    let parts = held.pop().map(|batch| batch.split().map_or_else(|one| vec![one], Vec::from));
                    held.extend(parts.into_iter().flatten());
                }
                _ => {
                    if let Some(batch) = held.pop() {
                        batch.record.as_ref().unwrap().sending();
                        deliver(batch);
                    }
                }
            }
            let _ = (disk.state(), disk.is_drained(lane));
        }
        held.into_iter().for_each(|batch| disk.put_back(batch).unwrap());
    };
    std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || work(thread)))));
    disk.close();
    let counts = ledger.snapshot();
    assert_eq!((disk.state().samples, counts.imbalance()), (counts.waiting, 0));
    assert!(counts.settled.delivered > 0 && counts.waiting > 0, "{counts:?}");
    assert!(!counts.settled.dropped.contains_key(reason::ABANDONED), "{counts:?}");
    drop(disk);
    let (restored, disk) = open_with(folder.path(), 4, limits);
    assert_eq!(restored.snapshot().restored, counts.waiting);
    let samples: usize = (0..4).flat_map(|lane| take_all(&disk, lane)).map(|values| values.len()).sum();
    assert_eq!(samples as u64, counts.waiting);
}
