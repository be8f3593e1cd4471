//! The locks of the store and of the workers' mail, and the atomics of the latter. With the switch
//! `schedules` they are those of a test's scheduler.

#[cfg(not(ramblk_schedules))]
pub(crate) use parking_lot::{MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(ramblk_schedules)]
pub(crate) use scheduled::{MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[cfg(not(ramblk_schedules))]
pub(crate) use parking_lot::Mutex;
#[cfg(ramblk_schedules)]
pub(crate) use scheduled::Mutex;
#[cfg(ramblk_schedules)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(ramblk_schedules))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};

#[cfg(ramblk_schedules)]
mod scheduled {
    use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
            self.0.try_read().ok()
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
