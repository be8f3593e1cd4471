//! How this program starts itself as a helper.

/// The program, whatever its name is now and wherever it was moved.
pub(in crate::cli) const PROGRAM: &str = "/proc/self/exe";
/// The word that makes the program a helper.
pub(in crate::cli) const HELPER: &str = "--helper";
/// What ends an upload when its process is gone.
pub(in crate::cli) const KEEP: &str = "keep";
/// What does for a confined process what that can't do by itself.
pub(in crate::cli) const BROKER: &str = "broker";
/// What reads an image.
pub(in crate::cli) const FETCH: &str = "fetch";

/// The command of the helper that ends an upload, without the place.
pub(super) fn keeper() -> Vec<String> {
    [PROGRAM, HELPER, KEEP].map(str::to_owned).to_vec()
}
