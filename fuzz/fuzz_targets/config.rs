//! The configuration.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = toml::from_str::<hepalert::config::Config>(text) {
        let _ = config.check();
    }
});
