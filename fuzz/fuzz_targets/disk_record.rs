//! A folder's files, as anybody may have left them: a payload that is read is the same after it is written again, and the
//! records that are found in a segment lie in it, one behind the other.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use promferry::pipeline::Slice;
use promferry::pipeline::disk::payload;
use promferry::pipeline::disk::segment::{Header, scan};

fuzz_target!(|data: &[u8]| {
    let _ = Header::read(data);
    let length = data.len() as u64;
    let scanned = scan(&mut Cursor::new(data), 1, length).expect("memory can be read");
    let mut end = 0;
    for (at, frame) in scanned.frames.iter().enumerate() {
        assert!(frame.offset >= end && frame.samples > 0);
        end = frame.end();
        assert!(end <= length || (scanned.is_torn && at + 1 == scanned.frames.len()));
    }
    assert!(scanned.corrupt_bytes <= length);

    let Ok(slices) = payload::read(data) else { return };
    let samples = |slices: &[Slice]| slices.iter().map(Slice::samples).sum::<u64>();
    let mut first = Vec::new();
    payload::write(&slices, &mut first);
    let again = payload::read(&first).expect("what was written can be read");
    assert_eq!(samples(&slices), samples(&again));
    let mut second = Vec::new();
    payload::write(&again, &mut second);
    assert_eq!(first, second);
});
