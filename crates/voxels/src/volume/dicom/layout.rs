//! How the pixels of a CT image are stored, as its header says, checked.

use super::{DicomError, SliceHeader};

/// CT images have up to 2048 rows; four times the pixels are refused before they are read.
const MAX_SIDE: u16 = 4096;

/// Which of the images in one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// From 0.
    pub(super) at: usize,
    /// How many there are.
    pub(super) of: usize,
}

impl Frame {
    /// A classic image.
    pub(super) const ONLY: Frame = Frame { at: 0, of: 1 };
}

/// How pixels are stored, checked.
pub(super) struct Layout {
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) bytes_per_sample: usize,
    bits_stored: u32,
    /// Unused bits below the sample.
    shift: u32,
    pub(super) signed: bool,
}

impl Layout {
    pub(super) fn of(header: &SliceHeader) -> Result<Layout, DicomError> {
        let present = |value: Option<u16>, name| value.ok_or(DicomError::MissingAttribute(name));
        let rows = present(header.rows, "Rows")?;
        let columns = present(header.columns, "Columns")?;
        if rows > MAX_SIDE || columns > MAX_SIDE {
            return Err(DicomError::TooLarge { rows: rows.into(), columns: columns.into() });
        }
        if rows == 0 || columns == 0 {
            return Err(DicomError::Corrupt("an image without pixels".into()));
        }
        if header.samples_per_pixel.unwrap_or(1) != 1 {
            return Err(DicomError::UnsupportedPixels("several samples".into()));
        }
        // GDCM inverts MONOCHROME1 and the standard does not: no reader can be right for all.
        if header.photometric.as_deref().is_some_and(|name| name != "MONOCHROME2") {
            return Err(DicomError::UnsupportedPixels(
                "another photometry than MONOCHROME2".into(),
            ));
        }
        let allocated = present(header.bits_allocated, "BitsAllocated")?;
        let stored = header.bits_stored.unwrap_or(allocated);
        let high = header.high_bit.unwrap_or(stored.saturating_sub(1));
        if !matches!(allocated, 8 | 16) || stored == 0 || high >= allocated || high + 1 < stored {
            let bits = format!("{allocated} bits allocated, {stored} stored, {high} highest");
            return Err(DicomError::UnsupportedPixels(bits));
        }
        Ok(Layout {
            rows,
            columns,
            bytes_per_sample: usize::from(allocated / 8),
            bits_stored: stored.into(),
            shift: u32::from(high + 1 - stored),
            signed: header.signed.ok_or(DicomError::MissingAttribute("PixelRepresentation"))?,
        })
    }

    pub(super) fn pixels(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns)
    }

    /// Bytes of one image, uncompressed.
    pub(super) fn bytes(&self) -> usize {
        self.pixels() * self.bytes_per_sample
    }

    /// The number that the stored bits mean.
    pub(super) fn sample(&self, raw: u16) -> i32 {
        let value = i32::from(raw) >> self.shift & ((1 << self.bits_stored) - 1);
        if self.signed && value >> (self.bits_stored - 1) == 1 {
            value - (1 << self.bits_stored)
        } else {
            value
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_above_the_stored_ones_are_dropped_and_the_sign_extended() {
        let mut layout = Layout {
            rows: 1,
            columns: 1,
            bytes_per_sample: 2,
            bits_stored: 12,
            shift: 0,
            signed: true,
        };
        assert_eq!(layout.sample(0xf800), -2048);
        assert_eq!(layout.sample(0x17ff), 2047);
        layout.signed = false;
        assert_eq!(layout.sample(0xf800), 2048);
        layout.shift = 4;
        assert_eq!(layout.sample(0x8005), 2048);
    }
}
