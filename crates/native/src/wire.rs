//! Protocol buffers on the wire: fields of one message, one after the other.
//!
//! Borrows everything and allocates nothing, so no length that a file claims costs memory.
//! Refuses groups (ONNX has none), numbers of more than ten bytes, and lengths past the end.

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken at byte {at} of a message: {what}")]
pub(crate) struct Broken {
    at: usize,
    what: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// An integer, not zigzag.
    Integer(u64),
    /// Four bytes, little endian.
    Four([u8; 4]),
    /// Eight bytes, little endian.
    Eight([u8; 8]),
    /// A string, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// Reads the fields of one message.
#[derive(Debug, Clone)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Message<'a> {
    /// A message is nothing but its fields.
    pub(crate) fn new(bytes: &'a [u8]) -> Message<'a> {
        Message { bytes, at: 0 }
    }

    fn broken(&self, what: &'static str) -> Broken {
        Broken { at: self.at, what }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else { return Err(self.broken("it ends too early")) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.broken("it ends too early"))
    }

    fn integer(&mut self) -> Result<u64, Broken> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(self.broken("a number of more than 64 bits"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.broken("a number of more than ten bytes"))
    }

    /// The next field and its number.
    fn field(&mut self) -> Result<(u64, Field<'a>), Broken> {
        let key = self.integer()?;
        let field = match key & 7 {
            0 => Field::Integer(self.integer()?),
            1 => Field::Eight(self.array()?),
            2 => {
                let length = self.integer()?;
                let length = usize::try_from(length).map_err(|_| self.broken("a length"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Four(self.array()?),
            _ => return Err(self.broken("a field of unknown kind")),
        };
        match key >> 3 {
            0 => Err(self.broken("a field without a number")),
            number => Ok((number, field)),
        }
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<(u64, Field<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.bytes.len();
        }
        Some(field)
    }
}

/// The integers of a repeated field, packed or one by one.
pub(crate) fn integers(field: Field<'_>, into: &mut Vec<i64>) -> Result<(), Broken> {
    match field {
        Field::Integer(value) => into.push(value.cast_signed()),
        Field::Bytes(bytes) => {
            let mut packed = Message::new(bytes);
            while packed.at < bytes.len() {
                into.push(packed.integer()?.cast_signed());
            }
        }
        Field::Four(_) | Field::Eight(_) => {
            return Err(Broken { at: 0, what: "an integer of fixed width" });
        }
    }
    Ok(())
}

/// The numbers of a repeated field of `f32`, packed or one by one.
pub(crate) fn floats(field: Field<'_>, into: &mut Vec<f32>) -> Result<(), Broken> {
    match field {
        Field::Four(bytes) => into.push(f32::from_le_bytes(bytes)),
        Field::Bytes(bytes) => {
            let (numbers, []) = bytes.as_chunks() else {
                return Err(Broken { at: 0, what: "numbers of four bytes cut short" });
            };
            into.extend(numbers.iter().copied().map(f32::from_le_bytes));
        }
        Field::Integer(_) | Field::Eight(_) => {
            return Err(Broken { at: 0, what: "a number that is no f32" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, Broken> {
        Message::new(bytes).collect()
    }

    #[test]
    fn the_four_kinds_of_field_are_read() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f];
        let found = all(&bytes).unwrap();
        assert_eq!(found[0], (1, Field::Integer(150)));
        assert_eq!(found[1], (2, Field::Bytes(b"hi")));
        assert_eq!(found[2], (3, Field::Four(1.0_f32.to_le_bytes())));
        assert_eq!(all(&[0x21, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap()[0].0, 4);
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        for bytes in [
            &[0x08][..],
            &[0x12, 3, 1, 2],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x0b],
            &[0x00, 0x00],
            &[0x1d, 0, 0],
        ] {
            assert!(all(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn negative_integers_take_ten_bytes() {
        let mut found = Vec::new();
        let minus = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        integers(Field::Bytes(&minus), &mut found).unwrap();
        assert_eq!(found, [-1]);
    }
}
