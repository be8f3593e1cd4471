//! Identifiers for VMMs, derived from disk names. Two names never have the same identifier.

/// An identifier for QEMU: it begins with a letter and has letters, digits and `-._`, like a disk's
/// name.
pub(super) fn qemu(name: &str) -> String {
    format!("ramblk-{name}")
}

/// A user alias for libvirt: letters, digits, `_` and `-`, after `ua-`.
pub(super) fn libvirt(name: &str) -> String {
    format!("ua-ramblk-{}", escaped(name, &[('_', "__"), ('.', "_-")]))
}

/// An identifier for Firecracker: letters, digits and `_`.
pub(super) fn firecracker(name: &str) -> String {
    escaped(name, &[('_', "__"), ('.', "_d"), ('-', "_m")])
}

/// Replace characters by escapes, each of which begins with `_`, so that the result is unambiguous.
fn escaped(name: &str, escapes: &[(char, &str)]) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match escapes.iter().find(|(from, _)| *from == c) {
            Some((_, to)) => text.push_str(to),
            None => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// All names of up to four characters out of those that matter.
    fn names() -> Vec<String> {
        let mut names = vec![String::new()];
        for at in 0..4 {
            let longer = names.iter().filter(|name| name.len() == at);
            let longer =
                longer.flat_map(|name| "am_-.d".chars().map(move |c| format!("{name}{c}")));
            let longer: Vec<String> = longer.collect();
            names.extend(longer);
        }
        names
    }

    #[test]
    fn two_names_never_become_one_identifier() {
        let names = names();
        for id in [qemu, libvirt, firecracker] {
            let ids: HashSet<String> = names.iter().map(|name| id(name)).collect();
            assert_eq!(ids.len(), names.len());
        }
    }

    #[test]
    fn identifiers_have_the_characters_that_are_known_there() {
        for name in names() {
            let fits = |id: &str, more: &str| {
                let known = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
                id.chars().all(known)
            };
            assert!(fits(&qemu(&name), "-._") && qemu(&name).starts_with('r'));
            assert!(fits(&libvirt(&name), "_-"), "{name}");
            assert!(fits(&firecracker(&name), "_"), "{name}");
        }
        assert_eq!(qemu("0.a"), "ramblk-0.a");
        assert_eq!(libvirt("golden.v1"), "ua-ramblk-golden_-v1");
        assert_eq!(firecracker("golden.v1-b"), "golden_dv1_mb");
    }
}
