//! Which account pays for the blocks of a tree that takes another one's place.

use crate::store::layout::entry::Entry;
use crate::store::layout::levels::PAGE;
use crate::store::memory::pool::Pool;

/// Charge to `to` what the account `from` pays for in a tree that nothing changes meanwhile. A node
/// of another account has only blocks of other accounts below it: a change of a tree first
/// makes all nodes above it the disk's own.
pub(crate) fn pass_on(pool: &Pool, entry: Entry, level: u32, from: u16, to: u16) {
    let Some(block) = entry.block() else { return };
    if !pool.charge_instead(block, from, to) || level == PAGE {
        return;
    }
    for word in pool.arena().words(block) {
        pass_on(pool, Entry::load(word), level - 1, from, to);
    }
}

/// How many blocks that `account` pays for are freed once the last of the `references` to the tree
/// `old` is gone, and `new` is there, which was made from it. Nothing changes either meanwhile.
pub(crate) fn freed(
    pool: &Pool,
    (old, references): (Entry, u32),
    new: Entry,
    level: u32,
    account: u16,
) -> u64 {
    let Some(block) = old.block() else { return 0 };
    let (has, owner) = pool.standing(block);
    if new.block() == Some(block) || has != references {
        return 0;
    }
    let mut blocks = u64::from(owner == account);
    if level > PAGE {
        let words = new.block().map(|node| pool.arena().words(node));
        for (at, word) in pool.arena().words(block).iter().enumerate() {
            let below = words.map_or(Entry::NONE, |words| Entry::load(&words[at]));
            blocks += freed(pool, (Entry::load(word), 1), below, level - 1, account);
        }
    }
    blocks
}
