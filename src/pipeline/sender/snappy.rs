//! Snappy's block format, made piece by piece: <https://github.com/google/snappy/blob/main/format_description.txt>.
//!
//! A block is the length of what it came from and then parts, and a compressor looks back within 64 KiB alone. So parts that are
//! compressed each by itself make up the same block as all of it at once would; but there the room for the worst case is larger
//! than the body, fresh for each request, and the kernel has to hand it out page by page.

use snap::raw::{Encoder, max_compress_len};

/// Bytes that are compressed at once: how far the format's compressors look back.
const PART_BYTES: usize = 64 << 10;

/// Bytes of a length in front of a part, at most: it is below 2^21.
const LENGTH_BYTES_MAX: usize = 3;

/// Compresses `body`, which is shorter than 4 GiB.
pub fn compress(body: &[u8]) -> Vec<u8> {
    // Usually all of it.
    let mut out = Vec::with_capacity(body.len() / 3 + LENGTH_BYTES_MAX + 2);
    length(&mut out, body.len());
    let mut encoder = Encoder::new();
    let mut room = vec![0; max_compress_len(body.len().min(PART_BYTES))];
    for part in body.chunks(PART_BYTES) {
        // There is room for the worst case, so it does not fail.
        let len = encoder.compress(part, &mut room).unwrap_or_default();
        let of_length = room[..len.min(LENGTH_BYTES_MAX)].iter().take_while(|byte| **byte >= 0x80).count() + 1;
        out.extend_from_slice(room.get(of_length..len).unwrap_or_default());
    }
    out.into_boxed_slice().into()
}

/// A number of seven bits a byte, the lowest first.
fn length(out: &mut Vec<u8>, mut rest: usize) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_up_what_would_be_made_at_once() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut noise = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        };
        for len in [0, 1, 127, 128, 16_384, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 1_000_003] {
            let texts = (0..len).map(|at| b"series{job=\"x\"}"[at % 15] ^ u8::from(at % 97 == 0)).collect();
            let noise = (0..len).map(|_| noise()).collect();
            for body in [vec![0; len], texts, noise] {
                let compressed = compress(&body);
                assert_eq!(compressed, Encoder::new().compress_vec(&body).unwrap(), "{len}");
                assert_eq!(snap::raw::Decoder::new().decompress_vec(&compressed).unwrap(), body);
            }
        }
    }
}
