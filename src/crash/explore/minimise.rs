//! The smallest part of a set that still fails (delta debugging).

/// A part of `all` that still fails, none of whose members can be left out: `fails` says whether a
/// part fails, and is asked at most `most` times. `all` itself fails.
///
/// # Errors
/// The first of `fails`.
pub fn minimise<T: Clone, E>(
    all: &[T],
    most: usize,
    mut fails: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    let mut current = all.to_vec();
    let (mut parts, mut asked) = (2, 0);
    while current.len() > 1 && asked < most {
        let size = current.len().div_ceil(parts);
        let chunks: Vec<&[T]> = current.chunks(size).collect();
        let mut smaller = None;
        for (index, chunk) in chunks.iter().enumerate() {
            let rest = chunks.iter().enumerate().filter(|(at, _)| *at != index);
            let rest: Vec<T> = rest.flat_map(|(_, chunk)| chunk.iter().cloned()).collect();
            let candidates = [(chunk.to_vec(), 2), (rest, parts.saturating_sub(1).max(2))];
            // With two parts, the rest of one is the other.
            for (candidate, next_parts) in candidates.into_iter().take(1 + usize::from(parts > 2)) {
                asked += 1;
                if asked <= most && fails(&candidate)? {
                    smaller = Some((candidate, next_parts));
                    break;
                }
            }
            if smaller.is_some() {
                break;
            }
        }
        match smaller {
            Some((found, next_parts)) => (current, parts) = (found, next_parts),
            None if parts >= current.len() => break,
            None => parts = (parts * 2).min(current.len()),
        }
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn smallest(all: &[u32], fails: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        let ask = |part: &[u32]| Ok::<_, std::convert::Infallible>(fails(part));
        minimise(all, usize::MAX, ask).unwrap_or_default()
    }

    proptest! {
        /// Whatever has to come together, exactly that is left.
        #[test]
        fn what_fails_together_is_what_is_left(
            count in 1_u32..60,
            culprits in proptest::collection::btree_set(0_u32..60, 1..5),
        ) {
            let culprits: Vec<u32> = culprits.into_iter().map(|it| it % count).collect();
            let all: Vec<u32> = (0..count).collect();
            let left = smallest(&all, |part| culprits.iter().all(|it| part.contains(it)));
            let mut wanted = culprits.clone();
            wanted.sort_unstable();
            wanted.dedup();
            prop_assert_eq!(left, wanted);
        }
    }
}
