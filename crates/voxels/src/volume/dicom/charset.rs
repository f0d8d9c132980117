//! Texts in the character sets of DICOM, code extensions of ISO 2022 among them (PS3.5 section 6.1).
//!
//! Owns which bytes are which letters where a file declares several sets, and of those that the library
//! lacks. What cannot be told is U+FFFD, and never another letter.

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

const ESCAPE: u8 = 0x1b;
const UNKNOWN: char = '\u{fffd}';
/// Latin-5 (ISO_IR 148), where it differs from Latin-1.
const LATIN5: [(u8, char); 6] =
    [(0xd0, 'Ğ'), (0xdd, 'İ'), (0xde, 'Ş'), (0xf0, 'ğ'), (0xfd, 'ı'), (0xfe, 'ş')];
/// Latin-9 (ISO_IR 203), where it differs from Latin-1.
const LATIN9: [(u8, char); 8] = [
    (0xa4, '€'),
    (0xa6, 'Š'),
    (0xa8, 'š'),
    (0xb4, 'Ž'),
    (0xb8, 'ž'),
    (0xbc, 'Œ'),
    (0xbd, 'œ'),
    (0xbe, 'Ÿ'),
];

/// The text of these bytes; `declared` is SpecificCharacterSet, none where there is none.
pub(super) fn decoded(bytes: &[u8], declared: Option<&str>) -> String {
    let names: Vec<&str> = declared.unwrap_or_default().split('\\').map(str::trim).collect();
    let first = names.first().copied().unwrap_or_default();
    let has_extensions = names.len() > 1 || first.starts_with("ISO 2022");
    if bytes.is_ascii() && !bytes.contains(&ESCAPE) {
        return bytes.iter().copied().map(char::from).collect();
    }
    match (declared, has_extensions) {
        (Some(_), true) => Extended::new(first).decoded(bytes),
        (Some(name), false) if !name.trim().is_empty() => whole(name.trim(), bytes),
        // Nothing is declared and there is more than ASCII: Latin-1 is what is meant most.
        _ => whole("ISO_IR 100", bytes),
    }
}

/// The registration number of a set: `144` of `ISO_IR 144` and of `ISO 2022 IR 144`.
fn number(name: &str) -> &str {
    name.trim_start_matches("ISO 2022 IR").trim_start_matches("ISO_IR").trim()
}

/// All bytes in one set.
fn whole(name: &str, bytes: &[u8]) -> String {
    let differing: &[(u8, char)] = match number(name) {
        "148" => &LATIN5,
        "203" => &LATIN9,
        _ => {
            let unknown = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { UNKNOWN };
            let known = SpecificCharacterSet::from_code(name);
            let read = known.and_then(|set| set.decode(bytes).ok());
            return read.unwrap_or_else(|| bytes.iter().map(unknown).collect());
        }
    };
    let letter = |byte: &u8| {
        let other = differing.iter().find(|(differs, _)| differs == byte);
        other.map_or(char::from(*byte), |(_, letter)| *letter)
    };
    bytes.iter().map(letter).collect()
}

/// What bytes below 0x80 mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Low {
    Ascii,
    /// JIS X 0201: a yen sign and an overline.
    Roman,
    /// JIS X 0208, two bytes a letter.
    Kanji,
    /// Two bytes a letter, of a set that is not known here.
    Unknown,
}

/// What bytes from 0x80 on mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum High {
    None,
    /// A set of single bytes.
    Single(&'static str),
    /// JIS X 0201, half-width.
    Katakana,
    /// Two bytes a letter.
    Double(&'static str),
}

/// Escape sequences behind the escape itself, and what they bring (PS3.3 table C.12-3 and C.12-4).
const LOW: [(&[u8], Low); 4] =
    [(b"(B", Low::Ascii), (b"(J", Low::Roman), (b"$B", Low::Kanji), (b"$(D", Low::Unknown)];
const HIGH: [(&[u8], High); 15] = [
    (b")I", High::Katakana),
    (b"$)C", High::Double("ISO 2022 IR 149")),
    (b"$)A", High::Double("ISO 2022 IR 58")),
    (b"-A", High::Single("ISO_IR 100")),
    (b"-B", High::Single("ISO_IR 101")),
    (b"-C", High::Single("ISO_IR 109")),
    (b"-D", High::Single("ISO_IR 110")),
    (b"-L", High::Single("ISO_IR 144")),
    (b"-G", High::Single("ISO_IR 127")),
    (b"-F", High::Single("ISO_IR 126")),
    (b"-H", High::Single("ISO_IR 138")),
    (b"-M", High::Single("ISO_IR 148")),
    (b"-b", High::Single("ISO_IR 203")),
    (b"-T", High::Single("ISO_IR 166")),
    (b"-~", High::None),
];

/// A text whose sets change on the way.
struct Extended {
    begin: (Low, High),
    low: Low,
    high: High,
}

impl Extended {
    /// `first` is the set that a text begins in, and that delimiters bring back.
    fn new(first: &str) -> Extended {
        let begin = match number(first) {
            "13" => (Low::Roman, High::Katakana),
            wanted => {
                let is_it =
                    |high: &High| matches!(high, High::Single(name) if number(name) == wanted);
                let single = HIGH.iter().map(|(_, high)| *high).find(is_it);
                (Low::Ascii, single.unwrap_or(High::None))
            }
        };
        Extended { begin, low: begin.0, high: begin.1 }
    }

    fn decoded(mut self, bytes: &[u8]) -> String {
        let mut text = String::new();
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if *byte == ESCAPE {
                rest = self.switched(behind);
                continue;
            }
            let takes = self.letter(rest, &mut text);
            rest = &rest[takes..];
        }
        text
    }

    /// Takes an escape sequence; one that is not known ends what was known.
    fn switched<'a>(&mut self, behind: &'a [u8]) -> &'a [u8] {
        if let Some((mark, low)) = LOW.iter().find(|(mark, _)| behind.starts_with(mark)) {
            self.low = *low;
            return &behind[mark.len()..];
        }
        if let Some((mark, high)) = HIGH.iter().find(|(mark, _)| behind.starts_with(mark)) {
            self.high = *high;
            return &behind[mark.len()..];
        }
        (self.low, self.high) = (Low::Ascii, High::None);
        behind
    }

    /// Adds the next letter; how many bytes it has.
    fn letter(&mut self, rest: &[u8], text: &mut String) -> usize {
        let [first, second] = [rest[0], rest.get(1).copied().unwrap_or_default()];
        let pair = |name: &str, bytes: &[u8]| {
            let set = SpecificCharacterSet::from_code(name);
            let read = set.and_then(|set| set.decode(bytes).ok()).unwrap_or_default();
            let mut letters = read.chars();
            letters.next().filter(|_| letters.next().is_none()).unwrap_or(UNKNOWN)
        };
        let (letter, takes) = match (first.is_ascii(), self.low, self.high) {
            (true, Low::Kanji, _) => {
                (pair("ISO 2022 IR 87", &[ESCAPE, b'$', b'B', first, second]), 2)
            }
            (true, Low::Unknown, _) => (UNKNOWN, 2),
            (true, Low::Ascii | Low::Roman, _) => (self.plain(first), 1),
            (false, _, High::None) => (UNKNOWN, 1),
            (false, _, High::Single(name)) => {
                (whole(name, &[first]).chars().next().unwrap_or(UNKNOWN), 1)
            }
            (false, _, High::Katakana) => match first {
                0xa1..=0xdf => {
                    (char::from_u32(0xff61 + u32::from(first - 0xa1)).unwrap_or(UNKNOWN), 1)
                }
                _ => (UNKNOWN, 1),
            },
            (false, _, High::Double(name)) => (pair(name, &[first, second]), 2),
        };
        text.push(letter);
        takes.min(rest.len())
    }

    fn plain(&mut self, byte: u8) -> char {
        let letter = match (byte, self.low) {
            (b'\\', Low::Roman) => '¥',
            (b'~', Low::Roman) => '\u{203e}',
            (byte, _) => char::from(byte),
        };
        // PS3.5 section 6.1.2.5.3.
        if matches!(byte, b'^' | b'=' | b'\\' | b'\r' | b'\n' | b'\t' | 0x0c) {
            (self.low, self.high) = self.begin;
        }
        letter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_standards_examples_are_read() {
        // PS3.5 annexes H, I and K.
        let cases: [(&[u8], &str, &str); 5] = [
            (
                b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
                "\\ISO 2022 IR 87",
                "Yamada^Tarou=山田^太郎=やまだ^たろう",
            ),
            (
                b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
                "ISO 2022 IR 13\\ISO 2022 IR 87",
                "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
            ),
            (
                b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
                "\\ISO 2022 IR 149",
                "Hong^Gildong=洪^吉洞=홍^길동",
            ),
            (
                b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
                "\\ISO 2022 IR 58",
                "Zhang^XiaoDong=张^小东",
            ),
            (b"Ivanov=\x1b-L\xb8\xd2\xd0\xdd", "ISO 2022 IR 100\\ISO 2022 IR 144", "Ivanov=Иван"),
        ];
        for (bytes, declared, wanted) in cases {
            assert_eq!(decoded(bytes, Some(declared)), wanted);
        }
    }

    #[test]
    fn one_set_is_read_and_what_is_not_known_is_no_other_letter() {
        assert_eq!(decoded(b"Plain^Name", None), "Plain^Name");
        assert_eq!(decoded(b"M\xfcller", Some("ISO_IR 100")), "Müller");
        assert_eq!(decoded("山".as_bytes(), Some("ISO_IR 192")), "山");
        assert_eq!(decoded(b"Ay\xfee", Some("ISO_IR 148")), "Ayşe");
        assert_eq!(decoded(b"\xa6", Some("ISO_IR 203")), "Š");
        assert_eq!(decoded(b"a\xfc", Some("ISO_IR 999")), "a\u{fffd}");
        let supplement = b"A=\x1b$(D\x30\x21\x1b(B^B";
        assert_eq!(decoded(supplement, Some("\\ISO 2022 IR 87\\ISO 2022 IR 159")), "A=\u{fffd}^B");
        // Cut in the middle of a letter, or of a sequence.
        assert_eq!(decoded(b"a\x1b$B;", Some("\\ISO 2022 IR 87")), "a\u{fffd}");
        assert_eq!(decoded(b"a\x1b", Some("\\ISO 2022 IR 87")), "a");
        assert_eq!(decoded(b"a\x1b$)C\xfb", Some("\\ISO 2022 IR 149")), "a\u{fffd}");
    }
}
