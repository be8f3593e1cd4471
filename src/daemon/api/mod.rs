//! Stub of this branch.
use super::Error;
use super::disks::Disks;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
/// Stub.
#[derive(Debug, Default)]
pub struct Options;
/// Stub.
#[derive(Debug)]
pub struct Server;
impl Server {
    /// Stub.
    ///
    /// # Errors
    /// None.
    pub fn start(_: UnixListener, _: Arc<Disks>, _: Options) -> Result<Self, Error> {
        Ok(Self)
    }
    /// Stub.
    pub fn stop(self) {}
}
