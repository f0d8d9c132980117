//! STOW-RS: an object as an HTTP POST.
//!
//! Owns the request and what is read of the answer. One object a request, so that each has its own
//! answer. A server that keeps the line open, or answers in pieces, is understood; one that redirects is
//! not followed: the configuration names the place.

use std::fs;
use std::io::{Read, Write};

use super::dial::{dial, encrypted};
use super::target::{Outcome, Outgoing, SendError, Target, Way};

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
pub fn is_url(url: &str) -> bool {
    place(url).is_some()
}

/// Whether an address asks for encryption.
pub fn is_secure(url: &str) -> bool {
    place(url).is_some_and(|place| place.secure)
}

/// Hands over one object.
pub(super) fn store(target: &Target, object: Outgoing<'_>) -> Result<Outcome, SendError> {
    let mut body = format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n").into_bytes();
    body.extend(object.bytes);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    let kind = format!("multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}");
    let (status, answer) = ask(target, "POST", "/studies", Some((&kind, &body)))?;
    Ok(judged(status, &answer))
}

/// What an answer means (PS3.18 section 10.5.3). A page that says 200 is no archive: an object counts
/// as kept where the answer says so of it, as an answer of `Accept: application/dicom+json` must.
fn judged(status: u16, answer: &str) -> Outcome {
    match status {
        // 202: some were kept, and there was one only.
        200..=299 => match (holds(answer, FAILED), holds(answer, KEPT)) {
            (true, _) => Outcome::Refused(reason(answer).unwrap_or(status)),
            (false, true) => Outcome::Stored,
            (false, false) => Outcome::Refused(status),
        },
        409 => match reason(answer) {
            // It is there already.
            Some(0x0111) => Outcome::Stored,
            reason => Outcome::Refused(reason.unwrap_or(status)),
        },
        // It may be let in once the token is renewed, or when there is room.
        401 | 403 | 408 | 429 | 500..=599 => Outcome::Busy(status),
        refused => Outcome::Refused(refused),
    }
}

/// Whether a sequence of a DICOM JSON answer holds an item.
fn holds(answer: &str, sequence: &str) -> bool {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(body_of(answer));
    let items = parsed.ok().and_then(|answer| Some(answer[sequence]["Value"].as_array()?.len()));
    items.is_some_and(|items| items > 0)
}

/// The document itself: in an answer in pieces the lengths stand around it.
fn body_of(answer: &str) -> &str {
    match (answer.find('{'), answer.rfind('}')) {
        (Some(first), Some(last)) if first < last => &answer[first..=last],
        _ => "",
    }
}

/// The first failure reason of a DICOM JSON answer.
fn reason(answer: &str) -> Option<u16> {
    let behind = answer.split(REASON).nth(1)?;
    let digits: String = behind
        .split("\"Value\"")
        .nth(1)?
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// Whether the server answers a query.
pub(super) fn echo(target: &Target) -> Result<String, SendError> {
    let (status, _) = ask(target, "GET", "/studies?limit=1", None)?;
    match status {
        200..=299 => Ok(format!("it answers QIDO-RS with {status}")),
        401 | 403 => Err(SendError::NotLetIn(target.name.clone(), format!("HTTP {status}"))),
        other => {
            Err(SendError::Unreachable(target.name.clone(), format!("it answers HTTP {other}")))
        }
    }
}

/// One request on a line of its own: status and body.
fn ask(
    target: &Target,
    method: &str,
    below: &str,
    body: Option<(&str, &[u8])>,
) -> Result<(u16, String), SendError> {
    let Way::Web { url, token_file, tls } = &target.way else {
        return Err(SendError::Local(format!("{}: no web target", target.name)));
    };
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
    let lost =
        |error: std::io::Error| SendError::Unreachable(target.name.clone(), error.to_string());
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
    let answer = answer.map_err(lost)?;
    parsed(&answer).ok_or_else(|| {
        SendError::Unreachable(target.name.clone(), "it does not speak HTTP".to_owned())
    })
}

fn token(file: &std::path::Path) -> Result<String, SendError> {
    let text = fs::read_to_string(file)
        .map_err(|error| SendError::Local(format!("{}: {error}", file.display())))?;
    let token = text.trim();
    match !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(token.to_owned()),
        false => Err(SendError::Local(format!("{}: holds no token", file.display()))),
    }
}

fn exchange(mut line: impl Read + Write, head: &[u8], body: &[u8]) -> std::io::Result<Vec<u8>> {
    line.write_all(head)?;
    // A server that refuses early closes before all is sent: its answer still counts.
    let sent = line.write_all(body).and_then(|()| line.flush());
    let mut answer = Vec::new();
    let heard = line.take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
    match (sent, heard) {
        // Without a farewell of TLS, or with a line that stays open: what came is what was said.
        (_, _) if parsed(&answer).is_some() => Ok(answer),
        (Err(error), _) | (_, Err(error)) => Err(error),
        (Ok(()), Ok(_)) => Ok(answer),
    }
}

/// Status and the rest as text.
fn parsed(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = text.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
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
    fn an_answer_says_whether_the_object_is_kept() {
        let failed =
            r#"{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[49152]}}]}}"#;
        let kept = r#"{"00081198":{"vr":"SQ"},"00081199":{"vr":"SQ","Value":[{"00081155":
            {"vr":"UI","Value":["1.2.3"]}}]}}"#;
        assert_eq!(judged(200, kept), Outcome::Stored, "an empty sequence of failures is none");
        assert_eq!(judged(200, &format!("2f\r\n{kept}\r\n0\r\n")), Outcome::Stored);
        for page in ["", "{}", "<html>login</html>"] {
            assert_eq!(judged(200, page), Outcome::Refused(200), "{page}");
        }
        assert_eq!(judged(202, failed), Outcome::Refused(49152));
        assert_eq!(judged(409, failed), Outcome::Refused(49152));
        assert_eq!(judged(409, &failed.replace("49152", "273")), Outcome::Stored);
        assert_eq!(judged(503, ""), Outcome::Busy(503));
        assert_eq!(judged(400, ""), Outcome::Refused(400));
    }
}
