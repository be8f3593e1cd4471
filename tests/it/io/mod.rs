//! Requests that a driver sends to the built program: what each means, however it lies in memory.
//!
//! | file | what it is about |
//! |---|---|
//! | `requests` | statuses, used lengths, and the bytes themselves |
//! | `zeroes` | discard and write-zeroes, and a random mix of everything |
//! | `framing` | requests cut into descriptors in any way |
//! | `regions` | buffers, statuses and tables anywhere in memory |
//! | `plain` | plain requests in batches, with others among them |
//! | `in_order` | a disk that promises to use requests in order |
//! | `writeback` | the cache mode, which a driver may write |

mod framing;
mod in_order;
mod plain;
mod regions;
mod requests;
mod writeback;
mod zeroes;
