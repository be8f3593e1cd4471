//! Permissions of a socket, in octal.

/// Parse octal digits, as in `0660`.
pub(in crate::cli) fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| "give octal digits, as in 0660".into())
}
