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
/// from half a second after it was first reached. `<point>:call-<name>` has it make this system
/// call, once, if the sandbox says how ([`make_calls_by`]).
///
/// # Errors
/// The requested one.
#[cfg(ramblk_hooks)]
#[allow(clippy::panic, reason = "a test asks for it")]
pub(crate) fn may_fail(point: &str) -> std::io::Result<()> {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    static SINCE: OnceLock<Instant> = OnceLock::new();
    match failure() {
        Some((name, how))
            if name == point
                && SINCE.get_or_init(Instant::now).elapsed() > Duration::from_millis(500) =>
        {
            assert_ne!(how, "panic", "a test asked for it");
            if let Some(call) = how.strip_prefix("call-") {
                static MADE: std::sync::Once = std::sync::Once::new();
                MADE.call_once(|| CALLS.get().into_iter().for_each(|make| make(call)));
                return Ok(());
            }
            Err(std::io::Error::other("a test asked for it"))
        }
        _ => Ok(()),
    }
}

/// The point at which something fails, and how.
#[cfg(ramblk_hooks)]
fn failure() -> Option<&'static (String, String)> {
    static WANTED: std::sync::OnceLock<Option<(String, String)>> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("RAMBLK_FAIL_AT").ok()?;
        let (name, how) = value.split_once(':')?;
        Some((name.to_owned(), how.to_owned()))
    });
    wanted.as_ref()
}

/// The system call that a test wants at this point.
#[cfg(ramblk_hooks)]
pub(crate) fn call_at(point: &str) -> Option<String> {
    let (_, how) = failure().filter(|(name, _)| name == point)?;
    how.strip_prefix("call-").map(str::to_owned)
}

#[cfg(ramblk_hooks)]
static CALLS: std::sync::OnceLock<fn(&str)> = std::sync::OnceLock::new();

/// How a system call that a test wants is made at a point: by this function.
#[cfg(ramblk_hooks)]
pub(crate) fn make_calls_by(make: fn(&str)) {
    let _ = CALLS.set(make);
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
