//! Fields of which it matters whether they are present.

use serde::{Deserialize, Deserializer};

/// Set a field if something is said of it.
pub(super) fn set<T: Clone>(field: &mut T, said: &Option<T>) {
    if let Some(said) = said {
        field.clone_from(said);
    }
}

/// A field that is present, even if it is `null`.
pub(super) fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
