//! A command from the broker.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for name in ["ping", "ack", "replay", "other"] {
        let _ = hepalert::publish::messages::Command::read(name, bytes);
    }
});
