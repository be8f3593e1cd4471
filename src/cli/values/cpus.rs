//! Lists of processors on the command line, in the notation of `taskset` and the kernel: `0,2-5`.

/// The highest number, which bounds a range.
const MOST: usize = 8191;

/// Processors by number, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Cpus(pub(in crate::cli) Vec<usize>);

/// Parse a list of numbers and ranges.
pub(in crate::cli) fn parse_cpus(text: &str) -> Result<Cpus, String> {
    let bad =
        || format!("'{text}' is not a list of processors: give numbers and ranges, as in 0,2-5");
    let number = |text: &str| {
        let number = text.trim().parse().ok();
        number.filter(|&number: &usize| number <= MOST)
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first = number(first).ok_or_else(bad)?;
        let last = number(last).ok_or_else(bad)?;
        if last < first || cpus.len() > MOST {
            return Err(bad());
        }
        cpus.extend(first..=last);
    }
    Ok(Cpus(cpus))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_in_their_order() {
        assert_eq!(parse_cpus("3").unwrap().0, [3]);
        assert_eq!(parse_cpus("6,0-2, 4").unwrap().0, [6, 0, 1, 2, 4]);
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "a", "1,", "-1", "3-1", "1-", "0-9999", "1-2-3"] {
            let error = parse_cpus(text).unwrap_err();
            assert!(
                error.contains(text) && error.contains("as in 0,2-5"),
                "{error}"
            );
        }
    }
}
