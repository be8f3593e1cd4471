//! What callgrind writes, with `--dump-instr=yes` and nothing compressed: for each function lines
//! of address, source line and cost, and lines of calls, which repeat costs that stand elsewhere.

use std::collections::HashMap;

use super::Failure;

/// An instruction that runs more often than this in a request copies bytes or fills them.
const LOOPS: f64 = 24.0;

/// Instructions per request, and the same of loops over bytes.
pub(crate) fn per_request(text: &str, requests: u64) -> Result<[f64; 2], Failure> {
    let mut object = "";
    let mut costs: HashMap<(&str, &str), u64> = HashMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("calls=") {
            // What the called function cost, all that it called included.
            lines.next();
        } else if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if line.starts_with("0x") {
            let mut words = line.split_whitespace();
            let address = words.next().ok_or("a line without an address")?;
            let cost = words.nth(1).ok_or_else(|| format!("no cost in: {line}"))?;
            *costs.entry((object, address)).or_default() += cost.parse::<u64>()?;
        }
    }
    if costs.is_empty() {
        return Err("callgrind counted nothing; is the counted function still there?".into());
    }
    let mut sums = [0.0; 2];
    for cost in costs.into_values() {
        let each = cost as f64 / requests as f64;
        sums[usize::from(each > LOOPS)] += each;
    }
    Ok(sums)
}
