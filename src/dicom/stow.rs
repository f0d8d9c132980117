//! STOW-RS: an object as an HTTP POST.
//!
//! Owns the request and what is read of the answer. One object a request, so that each has its own
//! answer. A server that keeps the line open, or answers in pieces, is understood; one that redirects is
//! not followed: the configuration names the place.

use std::fs;
use std::io::{Read, Write};

use serde_json::Value;

use super::dial::{dial, encrypted};
use super::target::{DeliveryOutcome, Outgoing, SendError, Status, Target, Web};

/// Between the parts; no object holds it by chance.
const BOUNDARY: &str = "hepalert-7d1f0c6b9a2e4c58b3d5e1f7a6c90842";
/// An answer is a list of a few objects.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Failure reason in an answer (0008,1197), and the sequence of failures (0008,1198).
const FAILED: &str = "00081198";
/// The sequence of what is kept (0008,1199).
const KEPT: &str = "00081199";
const REASON: &str = "00081197";

/// A place on the web.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    secure: bool,
    host: &'a str,
    port: u16,
    path: &'a str,
}

/// Takes an address apart; `None` if it is none.
fn place(url: &str) -> Option<Place<'_>> {
    let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return None,
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let usual = if secure { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, usual),
    };
    let plain = |c: char| c.is_ascii_graphic() && !"@?#".contains(c);
    let fits = !host.is_empty() && host.chars().all(plain) && path.chars().all(plain);
    fits.then_some(Place { secure, host, port, path: path.trim_end_matches('/') })
}

/// Whether an address can be one of a target.
pub(crate) fn is_url(url: &str) -> bool {
    place(url).is_some()
}

/// Whether an address asks for encryption.
pub(crate) fn is_secure(url: &str) -> bool {
    place(url).is_some_and(|place| place.secure)
}

/// Hands over one object.
pub(super) fn store(
    target: &Target,
    way: &Web,
    object: Outgoing<'_>,
) -> Result<DeliveryOutcome, SendError> {
    let mut body = format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n").into_bytes();
    body.extend(object.bytes);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    let kind = format!("multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}");
    let (status, answer) = ask((target, way), "POST", "/studies", Some((&kind, &body)))?;
    let_in(target, status)?;
    Ok(outcome_of_answer(status, &answer))
}

/// It may be once the token is renewed.
fn let_in(target: &Target, status: u16) -> Result<(), SendError> {
    match status {
        401 | 403 => Err(SendError::NoToken(target.name.clone(), Status::Http(status).to_string())),
        _ => Ok(()),
    }
}

/// What an answer means (PS3.18 section 10.5.3). A page that says 200 is no archive: an object counts
/// as kept where the answer says so of it, as an answer of `Accept: application/dicom+json` must.
fn outcome_of_answer(status: u16, answer: &str) -> DeliveryOutcome {
    let told: Value = serde_json::from_str(answer).unwrap_or_default();
    let holds = |sequence: &str| told[sequence]["Value"].as_array().is_some_and(|v| !v.is_empty());
    let reason = told[FAILED]["Value"][0][REASON]["Value"][0].as_u64();
    let reason = reason.and_then(|reason| u16::try_from(reason).ok());
    let why = reason.map_or(Status::Http(status), Status::Dimse);
    match status {
        // 202: some were kept, and there was one only.
        200..=299 => match (holds(FAILED), holds(KEPT)) {
            (true, _) => DeliveryOutcome::Refused(why),
            (false, true) => DeliveryOutcome::Stored,
            (false, false) => DeliveryOutcome::Refused(Status::Http(status)),
        },
        409 => match reason {
            // It is there already.
            Some(0x0111) => DeliveryOutcome::Stored,
            _ => DeliveryOutcome::Refused(why),
        },
        // There may be room later.
        408 | 429 | 500..=599 => DeliveryOutcome::Busy(Status::Http(status)),
        refused => DeliveryOutcome::Refused(Status::Http(refused)),
    }
}

/// Whether the server answers a query.
pub(super) fn echo(target: &Target, way: &Web) -> Result<String, SendError> {
    let (status, _) = ask((target, way), "GET", "/studies?limit=1", None)?;
    let_in(target, status)?;
    match status {
        200..=299 => Ok(format!("it answers QIDO-RS with {status}")),
        other => {
            let said = format!("it answers {}", Status::Http(other));
            Err(SendError::Unreachable(target.name.clone(), said))
        }
    }
}

/// One request on a line of its own: status and body.
fn ask(
    (target, way): (&Target, &Web),
    method: &str,
    below: &str,
    body: Option<(&str, &[u8])>,
) -> Result<(u16, String), SendError> {
    let Web { url, token_file, tls } = way;
    let place = place(url).ok_or_else(|| SendError::Local(format!("{url} is no address")))?;
    let mut head = format!(
        "{method} {}{below} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: hepalert\r\n\
         Accept: application/dicom+json\r\nConnection: close\r\n",
        place.path, place.host, place.port
    );
    if let Some(file) = token_file {
        head += &format!("Authorization: Bearer {}\r\n", token(file)?);
    }
    let (kind, bytes) = body.unwrap_or(("", &[]));
    if !kind.is_empty() {
        head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", bytes.len());
    }
    head += "\r\n";
    let lost = |error: std::io::Error| SendError::unreachable(target, &error);
    let socket = dial(target, place.host, place.port)?;
    socket.set_read_timeout(Some(target.patience)).map_err(lost)?;
    socket.set_write_timeout(Some(target.patience)).map_err(lost)?;
    let answer = match (place.secure, tls) {
        (true, Some(tls)) => exchange(encrypted(place.host, socket, tls)?, head.as_bytes(), bytes),
        (true, None) => {
            return Err(SendError::Local(format!("{}: https needs ca_file", target.name)));
        }
        (false, _) => exchange(socket, head.as_bytes(), bytes),
    };
    answer.map_err(lost)
}

/// What a token file holds.
pub(super) fn token(file: &std::path::Path) -> Result<String, SendError> {
    let text = fs::read_to_string(file)
        .map_err(|error| SendError::Local(format!("{}: {error}", file.display())))?;
    let token = text.trim();
    match !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(token.to_owned()),
        false => Err(SendError::Local(format!("{}: holds no token", file.display()))),
    }
}

/// Sends, and reads what comes until the line closes.
fn exchange(
    mut line: impl Read + Write,
    head: &[u8],
    body: &[u8],
) -> std::io::Result<(u16, String)> {
    line.write_all(head)?;
    // A server that refuses early closes before all is sent: its answer still counts.
    let sent = line.write_all(body).and_then(|()| line.flush());
    let mut answer = Vec::new();
    let heard = line.take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
    match (parsed(&answer), sent.and(heard)) {
        // Without a farewell of TLS, or with a line that stays open: what came is what was said.
        (Some(answer), _) => Ok(answer),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(std::io::Error::other(no_answer(&answer))),
    }
}

/// What a line that ended said instead of an answer.
fn no_answer(heard: &[u8]) -> &'static str {
    const BEGINS: &[u8] = b"HTTP/1.";
    match heard {
        [] => "it hung up before it answered",
        cut if cut.starts_with(BEGINS) || BEGINS.starts_with(cut) => "its answer breaks off",
        _ => "it does not speak HTTP",
    }
}

/// Status and body as text.
fn parsed(answer: &[u8]) -> Option<(u16, String)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let is_chunked = head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding")
            && value.trim().eq_ignore_ascii_case("chunked")
    });
    let body = if is_chunked { joined(body) } else { body.to_vec() };
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// A body in pieces, each behind its length in hex digits (RFC 9112 section 7.1), as far as it came.
fn joined(mut pieces: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = pieces.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&pieces[..end]).unwrap_or_default();
        let size = size.split(';').next().unwrap_or_default().trim();
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        let rest = &pieces[end + 2..];
        body.extend(&rest[..size.min(rest.len())]);
        // Whatever length a peer names: behind the end there is nothing.
        pieces = rest.get(size.saturating_add(2)..).unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let found = place("https://pacs.example:8443/dicom-web/").unwrap();
        let wanted = Place { secure: true, host: "pacs.example", port: 8443, path: "/dicom-web" };
        assert_eq!(found, wanted);
        assert_eq!(place("http://127.0.0.1").unwrap().port, 80);
        for wrong in [
            "pacs",
            "ftp://x",
            "http://",
            "http://a:b/",
            "http://a b/",
            "http://u@a/",
            "http://a/?x\r\n",
        ] {
            assert!(!is_url(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_line_that_was_cut_is_told_from_one_that_speaks_otherwise() {
        struct Peer(std::io::Cursor<&'static [u8]>);
        impl Read for Peer {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(into)
            }
        }
        impl Write for Peer {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let told = |says: &'static [u8]| {
            let answer = exchange(Peer(std::io::Cursor::new(says)), b"POST", b"x");
            answer.map_or_else(|error| error.to_string(), |(status, _)| status.to_string())
        };
        assert_eq!(told(b""), "it hung up before it answered");
        assert_eq!(told(b"HTTP/1.1 200 OK\r\nContent"), "its answer breaks off");
        assert_eq!(told(b"220 mail ready\r\n"), "it does not speak HTTP");
        assert_eq!(told(b"HTTP/1.1 503 busy\r\n\r\n"), "503");
    }

    #[test]
    fn an_answer_says_whether_the_object_is_kept() {
        let failed =
            r#"{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[49152]}}]}}"#;
        let kept = r#"{"00081198":{"vr":"SQ"},"00081199":{"vr":"SQ","Value":[{"00081155":
            {"vr":"UI","Value":["1.2.3"]}}]}}"#;
        assert_eq!(
            outcome_of_answer(200, kept),
            DeliveryOutcome::Stored,
            "an empty sequence of failures is none"
        );
        let (a, b) = kept.split_at(40);
        let pieces = format!("{:x}\r\n{a}\r\n{:x};x=1\r\n{b}\r\n0\r\n\r\n", a.len(), b.len());
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n";
        let (status, body) = parsed(format!("{head}{pieces}").as_bytes()).unwrap();
        assert_eq!(body, kept, "an answer in pieces is put together");
        assert_eq!(outcome_of_answer(status, &body), DeliveryOutcome::Stored);
        let endless = format!("{head}ffffffffffffffff\r\n{kept}");
        assert_eq!(parsed(endless.as_bytes()).unwrap().1, kept, "as far as it came");
        for page in ["", "{}", "<html>login</html>"] {
            assert_eq!(
                outcome_of_answer(200, page),
                DeliveryOutcome::Refused(Status::Http(200)),
                "{page}"
            );
        }
        assert_eq!(outcome_of_answer(202, failed), DeliveryOutcome::Refused(Status::Dimse(0xc000)));
        assert_eq!(outcome_of_answer(409, failed), DeliveryOutcome::Refused(Status::Dimse(0xc000)));
        assert_eq!(
            outcome_of_answer(409, &failed.replace("49152", "273")),
            DeliveryOutcome::Stored
        );
        assert_eq!(outcome_of_answer(503, ""), DeliveryOutcome::Busy(Status::Http(503)));
        assert_eq!(outcome_of_answer(400, ""), DeliveryOutcome::Refused(Status::Http(400)));
    }
}
