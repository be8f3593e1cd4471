//! The client's side, as far as it takes to keep an export: a connection that negotiates and then
//! asks for nothing.

use std::io::{self, Read, Write};

use super::numbers::{FIXED_NEWSTYLE, IHAVEOPT, NBDMAGIC, NO_ZEROES, OPT_EXPORT_NAME};

/// Negotiate for the export that the server has by default. Returns its size in bytes.
///
/// # Errors
/// The stream's; [`io::ErrorKind::InvalidData`] if the other end is no server of this protocol.
pub fn keep(stream: &mut (impl Read + Write)) -> io::Result<u64> {
    let mut hello = [0; 18];
    stream.read_exact(&mut hello)?;
    let [first, second] = [NBDMAGIC, IHAVEOPT].map(u64::to_be_bytes);
    if hello[..8] != first || hello[8..16] != second {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let flags = u32::from(FIXED_NEWSTYLE | NO_ZEROES);
    let option = [
        &flags.to_be_bytes()[..],
        &second,
        &OPT_EXPORT_NAME.to_be_bytes(),
        // The empty name.
        &0_u32.to_be_bytes(),
    ];
    stream.write_all(&option.concat())?;
    let mut size_bytes = [0; 8];
    stream.read_exact(&mut size_bytes)?;
    let mut flags = [0; 2];
    stream.read_exact(&mut flags)?;
    Ok(u64::from_be_bytes(size_bytes))
}
