//! `multipart/form-data` (RFC 7578) as MONAI Label's client writes and reads it.
//!
//! Owns the form on bytes in memory. Refuses nested parts, encodings and more parts than the
//! client sends.

/// The client sends two or three.
const MAX_PARTS: usize = 8;
/// A part's header lines.
const MAX_HEADER_BYTES: usize = 4096;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// The field's name.
    pub name: String,
    /// The file's name, as told; never a path of ours.
    pub file: Option<String>,
    /// Its content.
    pub bytes: &'a [u8],
}

/// The boundary in a content type.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = rest.split(';').find_map(|word| word.trim().strip_prefix("boundary="))?;
    let value = value.trim_matches('"');
    (1..=70).contains(&value.len()).then_some(value)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The parts of a body; none if it is no such form.
pub fn parse<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let dashed = format!("--{}", boundary(content_type)?);
    let between = format!("\r\n{dashed}");
    let mut rest = body.strip_prefix(dashed.as_bytes())?;
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n")?;
        let end = find(&rest[..rest.len().min(MAX_HEADER_BYTES)], b"\r\n\r\n")?;
        let (name, file) = disposition(std::str::from_utf8(&rest[..end]).ok()?)?;
        rest = &rest[end + 4..];
        let length = find(rest, between.as_bytes())?;
        parts.push(Part { name, file, bytes: &rest[..length] });
        rest = &rest[length + between.len()..];
        if parts.len() > MAX_PARTS {
            return None;
        }
    }
    Some(parts)
}

/// Name and file name in a part's header lines.
fn disposition(lines: &str) -> Option<(String, Option<String>)> {
    let line = lines.split("\r\n").find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let word = |key: &str| {
        let found = line.split(';').find_map(|word| word.trim().strip_prefix(key))?;
        Some(found.trim_matches('"').to_owned())
    };
    Some((word("name=")?, word("filename=")))
}

/// A form of one field and one file: its content type and its bytes.
pub fn compose(field: (&str, &str), file: (&str, &str, &[u8])) -> (String, Vec<u8>) {
    let (name, file_name, bytes) = file;
    // A boundary that stands nowhere in the file: tried until it does not.
    let mut boundary = "hepalert-boundary".to_owned();
    while find(bytes, boundary.as_bytes()).is_some() || field.1.contains(&boundary) {
        boundary.push('x');
    }
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; \
         filename=\"{file_name}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
        field.0, field.1
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_composed_is_parsed() {
        let bytes = b"\r\n--hepalert-boundary\r\n\x00\xff";
        let (kind, body) = compose(("params", "{\"a\": 1}"), ("image", "l.nii.gz", bytes));
        let parts = parse(&kind, &body).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].name.as_str(), parts[0].bytes), ("params", &b"{\"a\": 1}"[..]));
        assert_eq!(parts[1].file.as_deref(), Some("l.nii.gz"));
        assert_eq!(parts[1].bytes, bytes);
    }

    #[test]
    fn other_bodies_are_none() {
        let kind = "multipart/form-data; boundary=x";
        assert_eq!(parse(kind, b"--x--\r\n"), Some(Vec::new()));
        let empty = b"--x\r\nContent-Disposition: form-data; name=\"p\"\r\n\r\n\r\n--x--";
        assert_eq!(parse(kind, empty).unwrap()[0].bytes, b"");
        for body in [
            &b""[..],
            b"--y\r\n",
            b"--x\r\n",
            b"--x\r\n\r\n\r\na",
            b"--x\r\nA: b\r\n\r\na\r\n--x--",
        ] {
            assert_eq!(parse(kind, body), None, "{body:?}");
        }
        assert_eq!(parse("application/json", b"--x--"), None);
        assert_eq!(parse("multipart/form-data", b"--x--"), None);
        assert_eq!(parse("multipart/form-data; boundary=", b"--x--"), None);
        let many = empty[..empty.len() - 5].repeat(20);
        assert_eq!(parse(kind, &many), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_none(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse("multipart/form-data; boundary=x", &body);
            let whole = [b"--x\r\n", &body[..]].concat();
            let _ = parse("multipart/form-data; boundary=x", &whole);
        }
    }
}
