//! How fast this machine multiplies and adds at most: `cargo run --release --example peak THREADS`
//! prints thousand million operations a second as one line of JSON, of both precisions.

#![allow(clippy::unwrap_used, reason = "an example may stop")]

#[path = "../benches/peak/mod.rs"]
mod peak;
#[path = "../tests/written/mod.rs"]
mod written;

use hepalert_native::{Level, Precision};

fn main() {
    let threads = std::env::args().nth(1).map_or(1, |word| word.parse().unwrap());
    let single = peak::gflops(Precision::F32, threads);
    let half = match Level::widest().has_bf16() {
        true => format!("{:.0}", peak::gflops(Precision::Bf16, threads)),
        false => "null".to_owned(),
    };
    println!("{{\"threads\": {threads}, \"f32\": {single:.0}, \"bf16\": {half}}}");
}
