//! RLE Lossless (PS3.5 annex G): one PackBits segment per byte of a sample, the most
//! significant first.
//!
//! Written here because the decoder of the registry indexes past its buffer on a damaged
//! segment table.

use super::DicomError;

/// `pixels` samples of `bytes_per_sample`, little-endian.
pub(super) fn decode(
    frame: &[u8],
    pixels: usize,
    bytes_per_sample: usize,
) -> Result<Vec<u8>, DicomError> {
    let word = |index: usize| -> Option<usize> {
        let raw = frame.get(4 * index..)?.first_chunk()?;
        Some(u32::from_le_bytes(*raw) as usize)
    };
    if word(0) != Some(bytes_per_sample) {
        return Err(DicomError::CodecFailed("an RLE header of other segments".into()));
    }
    let mut decoded = vec![0; pixels * bytes_per_sample];
    for segment in 0..bytes_per_sample {
        let begin = word(segment + 1).ok_or(DicomError::Truncated)?;
        let end = if segment + 1 < bytes_per_sample { word(segment + 2) } else { None };
        let packed = frame.get(begin..end.unwrap_or(frame.len())).ok_or(DicomError::Truncated)?;
        let byte = bytes_per_sample - 1 - segment;
        unpack(packed, decoded.iter_mut().skip(byte).step_by(bytes_per_sample))?;
    }
    Ok(decoded)
}

/// PackBits until `samples` is full.
fn unpack<'a>(
    mut packed: &[u8],
    mut samples: impl ExactSizeIterator<Item = &'a mut u8>,
) -> Result<(), DicomError> {
    while samples.len() > 0 {
        let (&control, rest) = packed.split_first().ok_or(DicomError::Truncated)?;
        packed = rest;
        match control as i8 {
            -128 => {}
            literal @ 0.. => {
                let count = literal as usize + 1;
                let bytes = packed.get(..count).ok_or(DicomError::Truncated)?;
                packed = &packed[count..];
                // The last run may reach into padding.
                bytes.iter().zip(samples.by_ref()).for_each(|(byte, sample)| *sample = *byte);
            }
            repeat => {
                let (&byte, rest) = packed.split_first().ok_or(DicomError::Truncated)?;
                packed = rest;
                let count = 1 - repeat as isize;
                samples.by_ref().take(count as usize).for_each(|sample| *sample = byte);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut frame = vec![0; 64];
        frame[0] = segments.len() as u8;
        for (index, segment) in segments.iter().enumerate() {
            let begin = (frame.len() as u32).to_le_bytes();
            frame[4 + 4 * index..8 + 4 * index].copy_from_slice(&begin);
            frame.extend_from_slice(segment);
        }
        frame
    }

    #[test]
    fn runs_and_literals_of_two_segments_become_words() {
        // High bytes: a run of four 1s. Low bytes: three literals, a no-op, a run of one.
        let high: &[u8] = &[0xfd, 1];
        let low: &[u8] = &[2, 10, 20, 30, 0x80, 0, 40];
        let decoded = decode(&frame(&[high, low]), 4, 2).unwrap();
        assert_eq!(decoded, [10, 1, 20, 1, 30, 1, 40, 1]);
    }

    #[test]
    fn damage_is_an_error_at_every_length() {
        let whole = frame(&[&[0xfd, 1], &[3, 10, 20, 30, 40]]);
        assert!(decode(&whole, 4, 2).is_ok());
        for length in 0..whole.len() {
            assert!(decode(&whole[..length], 4, 2).is_err(), "{length} bytes");
        }
        let mut lying = whole.clone();
        lying[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&lying, 4, 2).is_err());
        let mut lying = whole;
        lying[8..12].copy_from_slice(&5000u32.to_le_bytes());
        assert!(decode(&lying, 4, 2).is_err());
    }

    #[test]
    fn a_run_past_the_end_of_the_image_is_cut() {
        assert_eq!(decode(&frame(&[&[0x81, 7]]), 5, 1).unwrap(), [7; 5]);
    }
}
