//! Named points at which a test can kill the process, to prove that the arena (and, in the rooms
//! above, a ring) is valid at that moment, or at which it can run another thread. Without the
//! switches `hooks` and `schedules` (`src/build.rs`) these functions do nothing.

/// Let the scheduler of a test switch to another thread.
#[cfg(ramblk_schedules)]
pub(crate) fn reach(_point: &str) {
    // A yield would put this thread behind all others, and hide some interleavings.
    shuttle::sync::atomic::AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
}

/// `RAMBLK_KILL_AT=<point>:<count>` kills the process when it reaches the point for the count-th
/// time.
#[cfg(all(ramblk_hooks, not(ramblk_schedules)))]
pub(crate) fn reach(point: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("RAMBLK_KILL_AT").ok()?;
        let (name, count) = value.split_once(':')?;
        Some((name.to_owned(), AtomicU64::new(count.parse().ok()?)))
    });
    if let Some((name, left)) = wanted
        && name == point
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing.
#[cfg(not(any(ramblk_hooks, ramblk_schedules)))]
#[inline(always)]
pub(crate) fn reach(_point: &str) {}

/// `RAMBLK_TEST_BROKEN` breaks the store on purpose: entries are published before their pages are
/// copied. The kill test must fail on it.
#[cfg(ramblk_hooks)]
pub(crate) fn is_broken() -> bool {
    static WANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *WANTED.get_or_init(|| std::env::var_os("RAMBLK_TEST_BROKEN").is_some())
}

/// No.
#[cfg(not(ramblk_hooks))]
#[inline(always)]
pub(crate) fn is_broken() -> bool {
    false
}

/// `RAMBLK_FAIL_AT=<point>:error` or `<point>:panic` makes the step at that point fail or panic,
/// from half a second after it was first reached.
///
/// # Errors
/// The requested one.
#[cfg(ramblk_hooks)]
#[allow(clippy::panic, reason = "a test asks for it")]
pub(crate) fn may_fail(point: &str) -> std::io::Result<()> {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    static WANTED: OnceLock<Option<(String, String)>> = OnceLock::new();
    static SINCE: OnceLock<Instant> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("RAMBLK_FAIL_AT").ok()?;
        let (name, how) = value.split_once(':')?;
        Some((name.to_owned(), how.to_owned()))
    });
    match wanted {
        Some((name, how))
            if name == point
                && SINCE.get_or_init(Instant::now).elapsed() > Duration::from_millis(500) =>
        {
            assert_ne!(how, "panic", "a test asked for it");
            Err(std::io::Error::other("a test asked for it"))
        }
        _ => Ok(()),
    }
}

/// Nothing.
///
/// # Errors
/// None.
#[cfg(not(ramblk_hooks))]
#[inline(always)]
pub(crate) fn may_fail(_point: &str) -> std::io::Result<()> {
    Ok(())
}

/// With `RAMBLK_TEST_POISON` the process aborts over data that begins with `poison for tests`.
#[cfg(ramblk_hooks)]
pub(crate) fn may_be_poison(from: super::buf::Source<'_>) {
    use std::sync::OnceLock;

    static WANTED: OnceLock<bool> = OnceLock::new();
    let mut start = [0; 16];
    if *WANTED.get_or_init(|| std::env::var_os("RAMBLK_TEST_POISON").is_some())
        && from.copy_to(&mut start) == start.len()
        && start == *b"poison for tests"
    {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(ramblk_hooks))]
#[inline(always)]
pub(crate) fn may_be_poison(_from: super::buf::Source<'_>) {}
