//! A segment's file: its header, its frames, and how they are found again.
//!
//! ```text
//! header, 24 bytes, the same in every version:
//!   0  magic "promferQ"   8  version u32   12  lanes u32   16  reserved u32   20  CRC32C of bytes 0..20
//! frame, versions 1 and 2, 49 bytes and the payload:
//!   0  magic "\xf5pRq"    4  bytes of payload u32     8  samples u32     12  lane u32
//!  16  sequence u64      24  oldest sample, wall time ms i64     32  offset of this frame u64
//!  40  CRC32C of the payload u32    44  CRC32C of bytes 0..44 and of the segment's number u64
//!  48  state byte, in no CRC: it alone is written in place
//!  49  payload
//! ```
//! Numbers are little-endian. A frame is sound only where it was written: one that stands in a payload, as a label's value
//! that somebody made up, is never taken for one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version that is written, and the newest that is read. Version 2 has created timestamps in its payloads.
pub(super) const VERSION: u32 = 2;
/// The oldest that is read.
const VERSION_MIN: u32 = 1;
/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 24;
/// Bytes of a frame before its payload.
pub(super) const FRAME_BYTES: usize = 49;
/// A larger payload is neither written nor read.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"promferQ";
const FRAME_MAGIC: &[u8; 4] = b"\xf5pRq";
/// Where the state byte stands in a frame.
const STATE_AT: u64 = 48;
/// Bytes that are looked through at once.
const WINDOW_BYTES: usize = 64 << 10;

/// What is known of a record's way to the receiver. Any two values differ in four bits, and none is another's complement:
/// a flipped bit, or a flipped byte, never makes one of another. A byte that is none of them means attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No attempt to send it may have been received.
    Fresh = 0x33,
    /// It may have been received.
    Attempted = 0x55,
    /// All of it is settled.
    Done = 0x0f,
}

impl State {
    fn of(byte: u8) -> Self {
        match byte {
            byte if byte == Self::Fresh as u8 => Self::Fresh,
            byte if byte == Self::Done as u8 => Self::Done,
            _ => Self::Attempted,
        }
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it is in the segment.
    pub offset: u64,
    /// Bytes of its payload.
    pub payload_bytes: u32,
    /// Samples in it: at least one.
    pub samples: u32,
    /// The lane that it waits for.
    pub lane: u32,
    /// Its place among all records; one that is written anew keeps it.
    pub sequence: u64,
    /// When its oldest sample came, milliseconds since 1970.
    pub oldest_ms: i64,
    /// What is known of its way.
    pub state: State,
    pub(super) payload_crc: u32,
}

impl Frame {
    /// Bytes of the record in the file.
    pub fn bytes(&self) -> u64 {
        FRAME_BYTES as u64 + u64::from(self.payload_bytes)
    }

    /// Where the record ends in the file.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes()
    }

    fn read(bytes: &[u8; FRAME_BYTES], segment: u64, offset: u64) -> Option<Self> {
        let is_sound = bytes.starts_with(FRAME_MAGIC)
            && u32_at(bytes, 44) == frame_crc(&bytes[..44], segment)
            && u64_at(bytes, 32) == offset;
        let frame = Self {
            offset,
            payload_bytes: u32_at(bytes, 4),
            samples: u32_at(bytes, 8),
            lane: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            oldest_ms: u64_at(bytes, 24) as i64,
            state: State::of(bytes[STATE_AT as usize]),
            payload_crc: u32_at(bytes, 40),
        };
        // A sample takes two bytes at least.
        let is_possible = frame.payload_bytes as usize <= PAYLOAD_BYTES_MAX
            && (1..=frame.payload_bytes / 2).contains(&frame.samples)
            && frame.sequence < u64::MAX / 2;
        (is_sound && is_possible).then_some(frame)
    }

    /// Puts the head before the payload, for which `record` has left [`FRAME_BYTES`] free.
    pub(super) fn seal(&mut self, record: &mut [u8], segment: u64) {
        let (head, payload) = record.split_at_mut(FRAME_BYTES);
        self.payload_crc = crc32c::crc32c(payload);
        head[..4].copy_from_slice(FRAME_MAGIC);
        for (at, value) in [(4, self.payload_bytes), (8, self.samples), (12, self.lane), (40, self.payload_crc)] {
            head[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [(16, self.sequence), (24, self.oldest_ms as u64), (32, self.offset)] {
            head[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let crc = frame_crc(&head[..44], segment);
        head[44..48].copy_from_slice(&crc.to_le_bytes());
        head[STATE_AT as usize] = self.state as u8;
    }

    /// A head that [`seal`](Self::seal) will complete.
    pub(super) fn new(offset: u64, record: &[u8], samples: u32, lane: u32, sequence: u64, oldest_ms: i64) -> Self {
        let payload_bytes = (record.len() - FRAME_BYTES) as u32;
        let state = State::Fresh;
        Self { offset, payload_bytes, samples, lane, sequence, oldest_ms, state, payload_crc: 0 }
    }

    /// The payload, or `None` where it is not what was written.
    pub(super) fn payload(&self, file: &File) -> io::Result<Option<Vec<u8>>> {
        let mut payload = vec![0; self.payload_bytes as usize];
        file.read_exact_at(&mut payload, self.offset + FRAME_BYTES as u64)?;
        Ok((crc32c::crc32c(&payload) == self.payload_crc).then_some(payload))
    }
}

/// Writes a record's state in place.
pub(super) fn write_state(file: &File, offset: u64, state: State) -> io::Result<()> {
    file.write_all_at(&[state as u8], offset + STATE_AT)
}

fn frame_crc(head: &[u8], segment: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), &segment.to_le_bytes())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A segment that this program can read, and the number of lanes that it was written for.
    Ours {
        /// Lanes then.
        lanes: u32,
    },
    /// A sound header of a version that this program does not know.
    Unknown {
        /// The version.
        version: u32,
    },
    /// Not a sound header: a damaged segment, or no segment.
    Unsound,
}

impl Header {
    /// Reads a header. **Here it is decided which versions are read**: version 1 has the frames of version 2, and its payloads
    /// are such of version 2 that never use what is new. A version of which this is not so needs a reader of its own.
    pub fn read(bytes: &[u8]) -> Self {
        let Some(header) = bytes.get(..HEADER_BYTES) else { return Self::Unsound };
        if !header.starts_with(MAGIC) || u32_at(header, 20) != crc32c::crc32c(&header[..20]) {
            return Self::Unsound;
        }
        match u32_at(header, 8) {
            VERSION_MIN..=VERSION => Self::Ours { lanes: u32_at(header, 12) },
            version => Self::Unknown { version },
        }
    }

    fn write(lanes: u32) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&lanes.to_le_bytes());
        let crc = crc32c::crc32c(&header[..20]);
        header[20..].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// What was found in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Records whose head is sound, in order, done ones too.
    pub frames: Vec<Frame>,
    /// The last record is cut short: its payload is not all there.
    pub is_torn: bool,
    /// Bytes between records that belong to none.
    pub corrupt_bytes: u64,
}

/// Finds the records of a segment of `length` bytes with this number. Payloads are not read.
pub fn scan(source: &mut (impl Read + Seek), segment: u64, length: u64) -> io::Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut at = HEADER_BYTES as u64;
    while at < length {
        let found = match frame_at(source, segment, at, length)? {
            Some(frame) => Some(frame),
            None => next_frame(source, segment, at + 1, length)?,
        };
        let start = found.map_or(length, |frame| frame.offset);
        scanned.corrupt_bytes += start - at;
        let Some(frame) = found else { break };
        at = frame.end();
        scanned.is_torn = at > length;
        scanned.frames.push(frame);
    }
    Ok(scanned)
}

fn frame_at(source: &mut (impl Read + Seek), segment: u64, at: u64, length: u64) -> io::Result<Option<Frame>> {
    if length - at < FRAME_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; FRAME_BYTES];
    source.seek(SeekFrom::Start(at))?;
    source.read_exact(&mut head)?;
    Ok(Frame::read(&head, segment, at))
}

/// The first sound frame at or behind `from`.
fn next_frame(source: &mut (impl Read + Seek), segment: u64, from: u64, length: u64) -> io::Result<Option<Frame>> {
    let mut window = Vec::new();
    let mut start = from;
    while length.saturating_sub(start) >= FRAME_BYTES as u64 {
        window.resize((length - start).min(WINDOW_BYTES as u64) as usize, 0);
        source.seek(SeekFrom::Start(start))?;
        source.read_exact(&mut window)?;
        for at in memchr::memmem::find_iter(&window, FRAME_MAGIC) {
            let head = window.get(at..at + FRAME_BYTES).and_then(|head| head.try_into().ok());
            if let Some(frame) = head.and_then(|head| Frame::read(head, segment, start + at as u64)) {
                return Ok(Some(frame));
            }
        }
        // Windows overlap: a head that stands across an edge is whole in the next one.
        start += (window.len() - (FRAME_BYTES - 1)) as u64;
    }
    Ok(None)
}

/// The number in a segment's name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    number_before(name, ".segment")
}

/// The number in the name of a segment that was being made.
pub(super) fn number_of_new(name: &str) -> Option<u64> {
    number_before(name, ".new")
}

fn number_before(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let is_ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(digits, 16).ok().filter(|&number| is_ours && number < u64::MAX / 2)
}

/// The file of a segment.
pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.segment"))
}

/// Makes a segment: a file of that name is always one with a whole header.
pub(super) fn create(folder: &Path, number: u64, lanes: u32, is_synced: bool) -> io::Result<File> {
    let (new, path) = (folder.join(format!("{number:016x}.new")), path_of(folder, number));
    let make = || {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all_at(&Header::write(lanes), 0)?;
        if is_synced {
            file.sync_all()?;
        }
        std::fs::rename(&new, &path)?;
        if is_synced {
            File::open(folder)?.sync_all()?;
        }
        Ok(file)
    };
    make().inspect_err(|_| {
        // What is left of it would be in the way of the next try; where it cannot go, that one says why.
        let _ = std::fs::remove_file(&new);
        let _ = std::fs::remove_file(&path);
    })
}

/// Appends a record at `end`. When that fails, what was written of it is cut off again; the second value says whether the
/// segment is as it was before.
pub(super) fn append(file: &File, end: u64, record: &[u8], is_synced: bool) -> Result<(), (io::Error, bool)> {
    file.write_all_at(record, end).map_err(|error| (error, cut(file, end)))?;
    if is_synced {
        file.sync_data().map_err(|error| {
            cut(file, end);
            // After a failed sync nobody knows what is on the disk: nothing more is written to this file.
            (error, false)
        })?;
    }
    Ok(())
}

/// Takes back a record that was not appended as it should. Where it cannot be cut off, it must at least not be taken for one.
fn cut(file: &File, end: u64) -> bool {
    let is_cut = file.set_len(end).is_ok();
    if !is_cut {
        let _ = write_state(file, end, State::Done);
    }
    is_cut
}
