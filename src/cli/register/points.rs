//! Points as CSV: `x,y,z` in millimetres RAS, one a line, under a heading or none.
//!
//! Owns the format. Refuses headings of another order: `z,y,x` would put every point elsewhere.

use std::fmt::Write;
use std::path::Path;

use anyhow::anyhow;

use super::super::Failure;
use super::super::study_files::read_file;
use crate::report::output::{self, POINTS};
use hepalert_register::map::Map;

/// More points than this are no landmarks.
const MAX_POINTS: usize = 1_000_000;

/// What spreadsheets put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Points of the fixed image, `[x, y, z]` in mm RAS.
///
/// # Errors
/// Refused as `bad_points`, with the line.
pub(super) fn read(from: &Path) -> Result<Vec<[f64; 3]>, Failure> {
    let text = String::from_utf8(read_file(from)?).map_err(|_| bad(from, 1, "is not text"))?;
    parse(&text).map_err(|(line, what)| bad(from, line, what))
}

/// Writes where points of the fixed image lie in the moving one.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(
    points: &[[f64; 3]],
    to: &Path,
    map: &Map,
    inputs: &[&Path],
) -> Result<(), Failure> {
    let mut out = format!("{POINTS}\n");
    for point in points {
        let [x, y, z] = map.at(*point);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{x:.4},{y:.4},{z:.4}");
    }
    Ok(output::put(to, out.as_bytes(), inputs)?)
}

fn bad(path: &Path, line: usize, what: &str) -> Failure {
    let error = anyhow!("{}, line {line}: {what}; write x,y,z in mm", path.display());
    Failure::refused("bad_points", error)
}

/// Points, or the number of the line that is none and why.
fn parse(text: &str) -> Result<Vec<[f64; 3]>, (usize, &'static str)> {
    let mut points = Vec::new();
    for (number, line) in text.trim_start_matches(BYTE_ORDER_MARK).lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if number == 0 && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            check_heading(line)?;
            continue;
        }
        let values: Vec<Option<f64>> = line.split(',').map(|v| v.trim().parse().ok()).collect();
        let [Some(x), Some(y), Some(z)] = values[..] else {
            return Err((number + 1, "is not three numbers"));
        };
        if ![x, y, z].iter().all(|v| v.is_finite() && v.abs() < 1e6) {
            return Err((number + 1, "is no place in a patient"));
        }
        if points.len() == MAX_POINTS {
            return Err((number + 1, "is one point too many"));
        }
        points.push([x, y, z]);
    }
    if points.is_empty() {
        return Err((1, "is all there is, and there is no point"));
    }
    Ok(points)
}

fn check_heading(line: &str) -> Result<(), (usize, &'static str)> {
    let columns = line.split(',').map(|column| column.trim().to_ascii_lowercase());
    let axes = columns.map(|column| column.chars().next());
    match axes.eq([Some('x'), Some('y'), Some('z')]) {
        true => Ok(()),
        false => Err((1, "names other columns than x, y and z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_points_and_what_is_none_is_named() {
        let found = parse("x,y,z\n1,2,3\n\n -4.5, 0 ,1e2\r\n").unwrap();
        assert_eq!(found, [[1.0, 2.0, 3.0], [-4.5, 0.0, 100.0]]);
        assert_eq!(parse("1,2,3").unwrap(), [[1.0, 2.0, 3.0]]);
        assert_eq!(parse("1,2,3\n1,2").unwrap_err().0, 2);
        assert_eq!(parse("1,2,nan").unwrap_err().0, 1);
        assert_eq!(parse("1,2,3,4").unwrap_err().0, 1);
        assert_eq!(parse("\u{feff}X, Y, Z\n1,2,3\n").unwrap(), [[1.0, 2.0, 3.0]]);
        assert_eq!(parse(&format!("{POINTS}\n1,2,3")).unwrap(), [[1.0, 2.0, 3.0]]);
        for wrong in ["z,y,x\n1,2,3", "x,y\n1,2,3", "id,x,y,z\n1,2,3", "", "\n\n", "x,y,z\n"] {
            assert_eq!(parse(wrong).unwrap_err().0, 1, "{wrong:?}");
        }
    }
}
