//! A command from the broker: the first byte names it, the others are its body.
#![no_main]

use hepalert::publish::messages::Command;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let name = ["ping", "ack", "replay", "other"][usize::from(*first) % 4];
    let _ = Command::read(name, body);
});
