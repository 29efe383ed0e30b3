#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terrarium::http::fuzz::predict(data));
