//! Faults, and what they did, as text for people.

use std::fmt::Write;

use super::layout::{columns, folded, table};
use super::tables::time;
use crate::model::{Fault, FaultLog};

/// `ramblk fault list`.
pub(in crate::cli) fn list(faults: &[Fault]) -> String {
    let rows = faults.iter().map(|fault| {
        let state = match (fault.spent, fault.crowded) {
            (true, _) => "spent",
            (_, true) => "crowded",
            _ => "armed",
        };
        vec![
            fault.id.clone(),
            fault.requests.to_string(),
            fault.fired.to_string(),
            state.into(),
            fault.rule.clone(),
        ]
    });
    let head = ["ID", "REQUESTS", "FIRED", "STATE", "RULE"];
    table(&head, &[1, 2], rows.collect())
}

/// `ramblk fault release`. The daemon doesn't say whether anything was held.
pub(in crate::cli) fn released(fault: &Fault) -> String {
    let later = match fault.spent {
        true => "and is spent",
        false => "and stays armed for later ones",
    };
    format!("fault {} holds no request now, {later}\n", fault.id)
}

/// `ramblk fault add`.
pub(in crate::cli) fn added(disk: &str, fault: &Fault) -> String {
    let mut text = format!("fault {} of {disk}: {}\n", fault.id, fault.rule);
    if let Some(parameters) = &fault.parameters {
        let _ = writeln!(text, "{}", folded(parameters, 0, columns()));
    }
    for bits in &fault.rotten {
        let _ = writeln!(text, "byte {}: bits {:08b}", bits.at_bytes, bits.mask);
    }
    text
}

/// `ramblk fault log`.
pub(in crate::cli) fn log(log: &FaultLog) -> String {
    let rows = log.firings.iter().map(|firing| {
        let ns = firing.wait_ns;
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let wait = ns.map_or_else(|| "-".into(), |ns| time(ns as f64 / 1e9));
        vec![
            firing.id.clone(),
            firing.number.to_string(),
            firing.op.clone(),
            firing.start_bytes.to_string(),
            firing.length_bytes.to_string(),
            firing
                .asked
                .map_or_else(|| "-".into(), |asked| asked.to_string()),
            wait,
            firing.kind.clone(),
        ]
    });
    let head = [
        "ID", "NUMBER", "OP", "START", "LENGTH", "ASKED", "WAIT", "KIND",
    ];
    let mut text = table(&head, &[1, 3, 4, 5, 6], rows.collect());
    if log.dropped > 0 {
        let _ = writeln!(text, "and {} before these", log.dropped);
    }
    text
}
