//! Long texts that are seldom read: `src/build.rs` packs them, and the program contains them so.

use std::io::Read;

/// The text of a file that was packed. Expects nothing but such files, which are built in.
pub(crate) fn text(packed: &[u8]) -> String {
    let mut text = String::new();
    let _ = flate2::read::ZlibDecoder::new(packed).read_to_string(&mut text);
    text
}
