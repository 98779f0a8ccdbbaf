//! The time, which std does not know in a browser.

/// Seconds since some moment.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn seconds() -> f64 {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed().as_secs_f64()
}

/// Seconds since some moment.
#[cfg(target_arch = "wasm32")]
pub(crate) fn seconds() -> f64 {
    js_sys::Date::now() / 1000.0
}
