//! A file that is to be saved, and under which name.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// The bytes of a file of this name.
///
/// # Errors
/// [`Problem`] for a name that no header can hold.
pub(super) fn attached(bytes: Vec<u8>, name: &str) -> Result<Response, Problem> {
    let mut response = bytes.into_response();
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition(name)?);
    Ok(response)
}

/// Slicer's client takes a name in quotation marks, or one of RFC 5987 where it has other letters.
///
/// # Errors
/// As [`download`].
pub(super) fn disposition(name: &str) -> Result<HeaderValue, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte);
    let text = match name.is_ascii() {
        true => format!("attachment; filename=\"{name}\""),
        false => {
            let encoded = name.bytes().map(|byte| match is_plain(byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            });
            format!("attachment; filename*=utf-8''{}", encoded.collect::<String>())
        }
    };
    HeaderValue::from_str(&text).map_err(Problem::fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_client_reads_names() {
        let told = |name| disposition(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(told("p7 (2)@vp.nii.gz"), "attachment; filename=\"p7 (2)@vp.nii.gz\"");
        assert_eq!(told("Ü.nii.gz"), "attachment; filename*=utf-8''%C3%9C.nii.gz");
    }
}
