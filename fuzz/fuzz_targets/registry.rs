//! A registry of VAEs, as users write their own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaekit_hub::Registry;

fuzz_target!(|text: &str| {
    if let Ok(registry) = Registry::parse(text) {
        let registry = Registry::builtin().with_users(registry);
        for entry in registry.entries() {
            assert!(registry.find(&entry.name).is_ok());
        }
    }
});
