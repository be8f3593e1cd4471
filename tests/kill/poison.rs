//! A request that the daemon dies of.
