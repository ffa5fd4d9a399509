//! Taking up a folder: what is in it, whose it is, and what an earlier run has left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Entry, Inner, Key, Log, Segment, Tally, Work, instant_of, since, wall_ms};
use crate::pipeline::disk::handle::Place;
use crate::pipeline::disk::segment::{self, FRAME_BYTES, Frame, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX, State};
use crate::pipeline::disk::{DiskError, DiskState, Limits};
use crate::pipeline::ledger::{Ledger, reason};
use crate::telemetry::Edge;

/// The lock against other processes.
const LOCK: &str = "lock";
/// No file of ours is larger.
const FILE_BYTES_MAX: u64 = (HEADER_BYTES + FRAME_BYTES + PAYLOAD_BYTES_MAX) as u64;

/// A segment that was found.
struct Found {
    number: u64,
    bytes: u64,
    header: Header,
}

impl Inner {
    pub(in crate::pipeline::disk) fn open(
        folder: &Path,
        limits: Limits,
        lanes: usize,
        ledger: &Arc<Ledger>,
    ) -> Result<Arc<Self>, DiskError> {
        let lanes = lanes.clamp(1, u32::MAX as usize - 1);
        let lock = lock(folder)?;
        let names = Names::read(folder).map_err(failed(folder, "reading it"))?;
        let found = names.look(folder)?;
        for new in &names.unfinished {
            // Left behind by a process that ended while it made a segment: nothing is in it yet.
            std::fs::remove_file(new).map_err(failed(new, "removing it"))?;
        }
        let inner = Arc::new(Self {
            folder: folder.to_owned(),
            limits,
            ledger: ledger.clone(),
            lanes,
            log: Mutex::new(Log {
                segments: BTreeMap::new(),
                index: (0..lanes).map(|_| BTreeMap::new()).collect(),
                active: None,
                files: Vec::new(),
                unmarked: Vec::new(),
                next_segment: names.highest.map_or(1, |number| number + 1),
                next_sequence: 1,
                bytes: 0,
                is_closed: false,
                failed: None,
                trouble: Edge::default(),
            }),
            tally: Mutex::new(Tally {
                lanes: vec![0; lanes].into(),
                waiting: vec![0; lanes].into(),
                old: 0,
                state: DiskState::default(),
                notes: Vec::new(),
            }),
            _lock: lock,
        });
        let mut log = inner.log();
        for found in found {
            inner.take_up(&mut log, found)?;
        }
        inner.make_older_old(&mut log);
        inner.publish(&mut log, Work::Append, None);
        drop(log);
        inner.maintain();
        let DiskState { records, samples, .. } = inner.tally().state.clone();
        if records > 0 {
            let folder = folder.display();
            tracing::info!(%folder, records, samples, "the disk queue holds samples of an earlier run");
        }
        Ok(inner)
    }

    fn take_up(&self, log: &mut Log, found: Found) -> Result<(), DiskError> {
        let Found { number, bytes, header } = found;
        let path = segment::path_of(&self.folder, number);
        let scan = || segment::scan(&mut BufReader::with_capacity(4096, open_file(&path)?), number, bytes);
        let scanned = scan().map_err(failed(&path, "reading it"))?;
        if header == Header::Unsound && scanned.frames.is_empty() {
            tell_foreign(&path);
            return Ok(());
        }
        log.bytes += bytes;
        log.segments.insert(number, Segment { bytes, ..Segment::default() });
        if scanned.corrupt_bytes > 0 || header == Header::Unsound {
            self.tell_corrupt(log, number, &format!("{} bytes belong to no record", scanned.corrupt_bytes));
            self.tally().state.corrupt_bytes += scanned.corrupt_bytes;
        }
        let last = scanned.frames.last().map(|frame| frame.offset);
        for frame in scanned.frames {
            log.next_sequence = log.next_sequence.max(frame.sequence + 1);
            if frame.state != State::Done {
                let is_torn = scanned.is_torn && Some(frame.offset) == last;
                self.restore(log, number, header, frame, is_torn);
            }
        }
        Ok(())
    }

    /// What is older than a record of another number of lanes goes before it, by its sequence: an earlier run may have had as many
    /// lanes as this one.
    fn make_older_old(&self, log: &mut Log) {
        let old = log.index[0].iter().filter(|(_, entry)| entry.is_old);
        let Some(last) = old.map(|(key, _)| key.sequence).max() else { return };
        for lane in 0..log.index.len() {
            let older: Vec<_> = log.index[lane].extract_if(.., |key, _| key.sequence <= last).collect();
            for (key, entry) in older {
                let mut tally = self.tally();
                tally.old += u64::from(!entry.is_old);
                tally.lanes[lane] -= 1;
                tally.lanes[0] += 1;
                drop(tally);
                log.index[0].insert(key, Entry { is_old: true, ..entry });
            }
            self.count_waiting(log, lane);
        }
        self.count_waiting(log, 0);
    }

    fn restore(&self, log: &mut Log, number: u64, header: Header, frame: Frame, is_torn: bool) {
        let is_old = !matches!(header, Header::Ours { lanes } if lanes as usize == self.lanes)
            || frame.lane as usize >= self.lanes;
        let lane = if is_old { 0 } else { frame.lane as usize };
        // The clock may have been ahead when it was written; that must not make it wait for ever.
        let frame = Frame { oldest_ms: frame.oldest_ms.min(wall_ms()), ..frame };
        let key = Key { sequence: frame.sequence, segment: number, offset: frame.offset };
        let oldest = instant_of(frame.oldest_ms);
        let waiting = self.ledger.restore(u64::from(frame.samples), oldest);
        let entry = Entry { frame, waiting, oldest, is_old };
        if let Some(segment) = log.segments.get_mut(&number) {
            segment.live += 1;
        }
        self.tally().remember(Place { lane, is_old }, u64::from(frame.samples));
        if is_torn {
            self.tell_corrupt(log, number, "the last record is cut short");
            self.tally().state.corrupt_records += 1;
            return self.discard(log, lane, key, entry, reason::CORRUPT);
        }
        if since(frame.oldest_ms) >= self.limits.age {
            return self.discard(log, lane, key, entry, reason::TOO_OLD);
        }
        log.index[lane].insert(key, entry);
        self.count_waiting(log, lane);
    }
}

fn lock(folder: &Path) -> Result<File, DiskError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder, "making the folder"))?;
    let mode = std::fs::metadata(folder).map_err(failed(folder, "looking at it"))?.mode();
    if mode & 0o077 != 0 {
        let folder = folder.display();
        tracing::warn!(%folder, "others than its owner may look into the folder of the disk queue; set its mode to 0700");
    }
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(&path).map_err(failed(&path, "opening it"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::Taken { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(DiskError::Io { path, doing: "locking it", source }),
    }
}

/// What a folder holds, by name.
#[derive(Default)]
struct Names {
    segments: Vec<u64>,
    unfinished: Vec<PathBuf>,
    /// Of any name that we could have given.
    highest: Option<u64>,
}

impl Names {
    fn read(folder: &Path) -> io::Result<Self> {
        let mut names = Self::default();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(segment::number_of);
            let new = name.to_str().and_then(segment::number_of_new);
            names.highest = names.highest.max(number).max(new);
            let is_file = entry.file_type()?.is_file();
            match (number, new) {
                (Some(number), _) if is_file => names.segments.push(number),
                (_, Some(_)) if is_file && entry.metadata()?.len() <= HEADER_BYTES as u64 => {
                    names.unfinished.push(entry.path());
                }
                _ if name == OsStr::new(LOCK) => {}
                _ => tell_foreign(&entry.path()),
            }
        }
        names.segments.sort_unstable();
        Ok(names)
    }

    /// Looks at all segments, and refuses the folder where one is of a version that is not known: before anything is touched.
    fn look(&self, folder: &Path) -> Result<Vec<Found>, DiskError> {
        let mut found = Vec::new();
        for &number in &self.segments {
            let path = segment::path_of(folder, number);
            let open = || {
                let mut file = open_file(&path)?;
                let mut start = Vec::new();
                (&mut file).take(HEADER_BYTES as u64).read_to_end(&mut start)?;
                let bytes = file.metadata()?.len();
                Ok(Found { number, bytes, header: Header::read(&start) })
            };
            let segment = open().map_err(failed(&path, "reading it"))?;
            if let Header::Unknown { version } = segment.header {
                return Err(DiskError::Version { file: path, found: version, supported: segment::VERSION });
            }
            match segment.bytes <= FILE_BYTES_MAX {
                true => found.push(segment),
                false => tell_foreign(&path),
            }
        }
        Ok(found)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn tell_foreign(path: &Path) {
    let file = path.display().to_string();
    tracing::warn!(file, "this is not a file of the disk queue; it is left alone");
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError::Io { path: path.to_owned(), doing, source }
}
