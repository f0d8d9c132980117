//! JPEG with cosine transform and samples of 12 bits: what lossy CT is stored in, and what
//! the decoders at hand leave out.
//!
//! One component, Huffman coding, sequential or progressive (ISO 10918-1 F.2 and G.2). Refuses
//! all else. The frame header was held against the DICOM header before: sizes are trusted.

use super::DicomError;

/// The order in which coefficients are written: index in a block, row by row.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

const PRECISION: u32 = 12;

/// More bits than this past the end of a scan are no padding of its last byte.
const MAX_MISSING_BITS: u32 = 64;

type Block = [i32; 64];

fn bad(why: &str) -> DicomError {
    DicomError::CodecFailed(format!("12-bit JPEG: {why}"))
}

/// The samples of a frame of `rows` x `columns`.
pub(super) fn decode(stream: &[u8], rows: usize, columns: usize) -> Result<Vec<u16>, DicomError> {
    let mut decoder = Decoder {
        wide: columns.div_ceil(8),
        blocks: vec![[0; 64]; rows.div_ceil(8) * columns.div_ceil(8)],
        quantisation: [[0; 64]; 4],
        table: 0,
        huffman: [const { None }; 8],
        restart: 0,
        progressive: false,
    };
    decoder.segments(stream)?;
    Ok(decoder.samples(rows, columns))
}

struct Decoder {
    /// Blocks in a row.
    wide: usize,
    blocks: Vec<Block>,
    quantisation: [[i32; 64]; 4],
    /// Which of these the component uses.
    table: usize,
    /// Four for the first coefficient of a block, four for the others.
    huffman: [Option<Huffman>; 8],
    /// Blocks between restarts, 0 for none.
    restart: usize,
    progressive: bool,
}

/// Which coefficients a scan brings, and which bits of them.
struct Scan {
    first: usize,
    last: usize,
    /// Bits that came before, 0 in the first scan of these coefficients.
    high: u32,
    /// Bits that are still to come.
    low: u32,
    dc: usize,
    ac: usize,
}

impl Decoder {
    fn segments(&mut self, stream: &[u8]) -> Result<(), DicomError> {
        let mut at = 2;
        let mut scans = 0;
        loop {
            let Some(&[0xff, kind]) = stream.get(at..at + 2).and_then(|s| s.first_chunk()) else {
                return if scans > 0 { Ok(()) } else { Err(bad("no scan")) };
            };
            at += 2;
            match kind {
                0xff => at -= 1,
                0xd9 => return if scans > 0 { Ok(()) } else { Err(bad("no scan")) },
                0x01 | 0xd0..=0xd8 => {}
                _ => {
                    let length: &[u8; 2] = stream
                        .get(at..)
                        .and_then(|s| s.first_chunk())
                        .ok_or(DicomError::Truncated)?;
                    let length = usize::from(u16::from_be_bytes(*length));
                    let body = stream.get(at + 2..at + length).ok_or(DicomError::Truncated)?;
                    at += length;
                    if kind == 0xda {
                        let scan = self.scan_header(body)?;
                        at += self.scan(stream.get(at..).unwrap_or_default(), &scan)?;
                        scans += 1;
                    } else {
                        self.segment(kind, body)?;
                    }
                }
            }
        }
    }

    fn segment(&mut self, kind: u8, body: &[u8]) -> Result<(), DicomError> {
        match kind {
            0xc0..=0xc2 => {
                self.progressive = kind == 0xc2;
                self.table = usize::from(*body.get(8).ok_or(DicomError::Truncated)?) & 3;
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcf => return Err(bad("another coding")),
            0xc4 => self.huffman_tables(body)?,
            0xdb => self.quantisation_tables(body)?,
            0xdd => {
                let interval = body.first_chunk().ok_or(DicomError::Truncated)?;
                self.restart = usize::from(u16::from_be_bytes(*interval));
            }
            _ => {}
        }
        Ok(())
    }

    fn quantisation_tables(&mut self, mut body: &[u8]) -> Result<(), DicomError> {
        while let [head, rest @ ..] = body {
            let bytes = if head >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * bytes).ok_or(DicomError::Truncated)?;
            let table = &mut self.quantisation[usize::from(head & 3)];
            for (value, place) in values.chunks(bytes).zip(ZIGZAG) {
                table[usize::from(place)] =
                    value.iter().fold(0, |sum, byte| sum << 8 | i32::from(*byte));
            }
            body = &rest[64 * bytes..];
        }
        Ok(())
    }

    fn huffman_tables(&mut self, mut body: &[u8]) -> Result<(), DicomError> {
        while let [head, rest @ ..] = body {
            let counts: &[u8; 16] = rest.first_chunk().ok_or(DicomError::Truncated)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let symbols = rest[16..].get(..total).ok_or(DicomError::Truncated)?;
            let place = usize::from(head & 3) + if head >> 4 == 0 { 0 } else { 4 };
            self.huffman[place] = Some(Huffman::of(counts, symbols));
            body = &rest[16 + total..];
        }
        Ok(())
    }

    fn scan_header(&self, body: &[u8]) -> Result<Scan, DicomError> {
        let &[1, _, tables, first, last, bits] = body else {
            return Err(bad("a scan of several components"));
        };
        let scan = Scan {
            first: first.into(),
            last: last.into(),
            high: u32::from(bits >> 4),
            low: u32::from(bits & 15),
            dc: usize::from(tables >> 4 & 3),
            ac: usize::from(tables & 3) + 4,
        };
        let whole = scan.first == 0 && scan.last == 63 && scan.high == 0 && scan.low == 0;
        let part = scan.low < 14
            && scan.last < 64
            && scan.first <= scan.last
            && (scan.first > 0 || scan.last == 0);
        if (self.progressive && part) || (!self.progressive && whole) {
            Ok(scan)
        } else {
            Err(bad("a scan that cannot be"))
        }
    }

    /// Decodes a scan and says how many bytes it had.
    fn scan(&mut self, bytes: &[u8], scan: &Scan) -> Result<usize, DicomError> {
        let mut bits = Bits { bytes, at: 0, held: 0, count: 0, missing: 0 };
        let (mut predicted, mut run) = (0_i32, 0_u32);
        let mut blocks = std::mem::take(&mut self.blocks);
        for (place, block) in blocks.iter_mut().enumerate() {
            if self.restart > 0 && place > 0 && place % self.restart == 0 {
                bits.restart();
                (predicted, run) = (0, 0);
            }
            self.block(&mut bits, scan, block, &mut predicted, &mut run)?;
            if bits.missing > MAX_MISSING_BITS {
                return Err(DicomError::Truncated);
            }
        }
        self.blocks = blocks;
        Ok(bits.at)
    }

    fn block(
        &self,
        bits: &mut Bits<'_>,
        scan: &Scan,
        block: &mut Block,
        predicted: &mut i32,
        run: &mut u32,
    ) -> Result<(), DicomError> {
        if scan.first == 0 {
            if scan.high > 0 {
                block[0] |= (bits.take(1) as i32) << scan.low;
            } else {
                let size = self.code(scan.dc)?.next(bits)?;
                *predicted = predicted.wrapping_add(bits.signed(u32::from(size))?);
                block[0] = predicted.wrapping_shl(scan.low);
            }
        }
        let from = scan.first.max(1);
        match (from <= scan.last, scan.high) {
            (false, _) => Ok(()),
            (true, 0) => self.first_bits(bits, scan, block, from, run),
            (true, _) => self.further_bits(bits, scan, block, from, run),
        }
    }

    fn code(&self, place: usize) -> Result<&Huffman, DicomError> {
        self.huffman[place].as_ref().ok_or_else(|| bad("a table that was not given"))
    }

    /// G.1.2.2; in a sequential image no run of ends is longer than a block.
    fn first_bits(
        &self,
        bits: &mut Bits<'_>,
        scan: &Scan,
        block: &mut Block,
        from: usize,
        run: &mut u32,
    ) -> Result<(), DicomError> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let code = self.code(scan.ac)?;
        let mut at = from;
        while at <= scan.last {
            let symbol = code.next(bits)?;
            let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && zeros < 15 {
                *run = if self.progressive { (1 << zeros) + bits.take(zeros) - 1 } else { 0 };
                return Ok(());
            }
            at += zeros as usize;
            if size > 0 {
                let place = ZIGZAG.get(at).filter(|_| at <= scan.last);
                let place = place.ok_or_else(|| bad("a coefficient too many"))?;
                block[usize::from(*place)] = bits.signed(size)?.wrapping_shl(scan.low);
            }
            at += 1;
        }
        Ok(())
    }

    /// G.1.2.3: one more bit of what is there, and new coefficients among them.
    fn further_bits(
        &self,
        bits: &mut Bits<'_>,
        scan: &Scan,
        block: &mut Block,
        from: usize,
        run: &mut u32,
    ) -> Result<(), DicomError> {
        let bit = 1 << scan.low;
        let code = self.code(scan.ac)?;
        let mut at = from;
        while *run == 0 && at <= scan.last {
            let symbol = code.next(bits)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            let value = match size {
                0 if zeros < 15 => {
                    *run = (1 << zeros) + bits.take(zeros);
                    break;
                }
                0 => 0,
                _ if bits.take(1) == 1 => bit,
                _ => -bit,
            };
            while at <= scan.last {
                let coefficient = &mut block[usize::from(ZIGZAG[at])];
                if *coefficient != 0 {
                    refine(coefficient, bits, bit);
                } else if zeros == 0 {
                    *coefficient = value;
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            at += 1;
        }
        if *run > 0 {
            for place in ZIGZAG.get(at..=scan.last).unwrap_or_default() {
                let coefficient = &mut block[usize::from(*place)];
                if *coefficient != 0 {
                    refine(coefficient, bits, bit);
                }
            }
            *run -= 1;
        }
        Ok(())
    }

    /// Equation A.3.3, row by row and column by column.
    fn samples(&self, rows: usize, columns: usize) -> Vec<u16> {
        let cosines = cosines();
        let table = &self.quantisation[self.table];
        let mut samples = vec![0; rows * columns];
        for (place, block) in self.blocks.iter().enumerate() {
            let (top, left) = (place / self.wide * 8, place % self.wide * 8);
            let pixels = inverse(block, table, &cosines);
            for (y, line) in pixels.chunks(8).enumerate().take(rows - top) {
                for (x, value) in line.iter().enumerate().take(columns - left) {
                    samples[(top + y) * columns + left + x] = *value;
                }
            }
        }
        samples
    }
}

fn refine(coefficient: &mut i32, bits: &mut Bits<'_>, bit: i32) {
    if bits.take(1) == 1 && *coefficient & bit == 0 {
        *coefficient = coefficient.wrapping_add(if *coefficient > 0 { bit } else { -bit });
    }
}

/// `cos((2 x + 1) u pi / 16)`, scaled: row x, column u.
fn cosines() -> [[f32; 8]; 8] {
    std::array::from_fn(|x| {
        std::array::from_fn(|u| {
            let scale = if u == 0 { 0.125_f64.sqrt() } else { 0.5 };
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
            (scale * angle.cos()) as f32
        })
    })
}

fn inverse(block: &Block, table: &[i32; 64], cosines: &[[f32; 8]; 8]) -> [u16; 64] {
    let value = |at: usize| block[at] as f32 * table[at] as f32;
    let mut rows = [0.0_f32; 64];
    for v in 0..8 {
        for (x, cosine) in cosines.iter().enumerate() {
            rows[8 * v + x] = (0..8).map(|u| cosine[u] * value(8 * v + u)).sum();
        }
    }
    std::array::from_fn(|at| {
        let (y, x) = (at / 8, at % 8);
        let sum: f32 = (0..8).map(|v| cosines[y][v] * rows[8 * v + x]).sum();
        let level = (1 << (PRECISION - 1)) as f32;
        (sum + level).round().clamp(0.0, ((1 << PRECISION) - 1) as f32) as u16
    })
}

/// A code by length: annex C, decoded as in F.2.2.3.
struct Huffman {
    /// Per length, the first code, the number of codes, and the place of the first symbol.
    lengths: [(u32, u32, usize); 16],
    symbols: Vec<u8>,
}

impl Huffman {
    fn of(counts: &[u8; 16], symbols: &[u8]) -> Huffman {
        let (mut code, mut place) = (0_u32, 0);
        let lengths = counts.map(|count| {
            let length = (code, u32::from(count), place);
            code = (code + u32::from(count)) << 1;
            place += usize::from(count);
            length
        });
        Huffman { lengths, symbols: symbols.to_vec() }
    }

    fn next(&self, bits: &mut Bits<'_>) -> Result<u8, DicomError> {
        let mut code = 0;
        for (first, count, place) in self.lengths {
            code = code << 1 | bits.take(1);
            if let Some(offset) = code.checked_sub(first).filter(|offset| *offset < count) {
                let symbol = self.symbols.get(place + offset as usize);
                return symbol.copied().ok_or_else(|| bad("a code without symbol"));
            }
        }
        Err(bad("a code that was not given"))
    }
}

/// The bits of a scan; zeros behind its end.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
    missing: u32,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> u32 {
        (0..count).fold(0, |value, _| value << 1 | self.bit())
    }

    fn bit(&mut self) -> u32 {
        if self.count == 0 {
            (self.held, self.count) = (self.byte(), 8);
        }
        self.count -= 1;
        self.held >> self.count & 1
    }

    /// The next byte; a marker ends the scan, and a zero behind 0xff is stuffing.
    fn byte(&mut self) -> u32 {
        match self.bytes.get(self.at..) {
            Some([0xff, 0, ..]) => {
                self.at += 2;
                0xff
            }
            Some([byte, ..]) if *byte != 0xff => {
                self.at += 1;
                u32::from(*byte)
            }
            _ => {
                self.missing += 8;
                0
            }
        }
    }

    /// A number of so many bits, whose first bit tells its sign (F.2.2.1).
    fn signed(&mut self, size: u32) -> Result<i32, DicomError> {
        if size > 16 {
            return Err(bad("a number of too many bits"));
        }
        let value = self.take(size) as i32;
        let is_negative = size > 0 && value < 1 << (size - 1);
        Ok(if is_negative { value - (1 << size) + 1 } else { value })
    }

    /// Steps over a restart marker.
    fn restart(&mut self) {
        self.count = 0;
        if let Some([0xff, 0xd0..=0xd7, ..]) = self.bytes.get(self.at..) {
            self.at += 2;
        }
    }
}
