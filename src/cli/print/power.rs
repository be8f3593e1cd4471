//! Power cuts, as text.

use super::layout::{columns, folded, table};
use crate::model::{Because, DiskCut, Keep, LostFate, LostWrite, PowerCut};

/// How many lost writes of a disk are printed. `-o json` has more of them.
const MOST_ROWS: usize = 20;

/// `ramblk power-cut`.
pub(in crate::cli) fn cut(cut: &PowerCut) -> String {
    let keep = match cut.keep {
        Keep::None => "none",
        Keep::All => "all",
        Keep::Prefix => "prefix",
        Keep::Subset => "subset",
        Keep::Reorder => "reorder",
    };
    let each = cut.disks.iter().map(of_disk);
    let text: String = each.collect();
    format!(
        "{text}keep {keep}, seed {}, tear unit {}\n",
        cut.seed, cut.tear_unit_bytes
    )
}

fn of_disk(cut: &DiskCut) -> String {
    let what = match &cut.fork {
        Some(fork) => format!("{fork} is {} after a power cut", cut.disk),
        None => format!("{} lost its power", cut.disk),
    };
    let mut text = match (cut.volatile_writes, cut.lost_writes) {
        (0, _) => format!("{what}: no write was volatile\n"),
        (volatile, lost) => {
            format!("{what}: volatile writes: {volatile}, of these not wholly there: {lost}\n")
        }
    };
    if !cut.lost.is_empty() {
        let rows = cut.lost.iter().take(MOST_ROWS).map(row).collect();
        text += &table(
            &["WRITE", "KIND", "AT", "LENGTH", "FATE", "WHY"],
            &[0, 2, 3],
            rows,
        );
    }
    let listed = cut.lost.len().min(MOST_ROWS);
    let unlisted = cut.lost_writes.saturating_sub(listed);
    if unlisted > 0 {
        let hint = match cut.lost.len() > listed {
            true => format!("; -o json lists {}", cut.lost.len()),
            false => String::new(),
        };
        text += &format!("and {unlisted} more{hint}\n");
    }
    if let Some(hint) = &cut.hint {
        text += &(folded(hint, 0, columns()) + "\n");
    }
    text
}

fn row(lost: &LostWrite) -> Vec<String> {
    let fate = match lost.fate {
        LostFate::Lost => "lost".to_owned(),
        LostFate::Garbage => "garbage".to_owned(),
        LostFate::Torn => {
            let parts = lost.kept.iter();
            let parts = parts.map(|part| format!("{}+{}", part.start_bytes, part.length_bytes));
            format!("torn, kept {}", parts.collect::<Vec<_>>().join(" "))
        }
    };
    let why = match lost.because {
        Because::InFlight => "in flight",
        Because::NoFlush => "no flush",
    };
    vec![
        lost.number.to_string(),
        lost.kind.clone(),
        lost.start_bytes.to_string(),
        lost.length_bytes.to_string(),
        fate,
        why.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeptPart;

    #[test]
    fn a_cut_lists_what_was_lost_and_how_to_do_it_again() {
        let write = LostWrite {
            number: 7,
            kind: "write".into(),
            start_bytes: 4096,
            length_bytes: 8192,
            fate: LostFate::Torn,
            kept: vec![KeptPart {
                start_bytes: 8192,
                length_bytes: 4096,
            }],
            because: Because::NoFlush,
        };
        let made = PowerCut {
            disks: vec![DiskCut {
                disk: "vm1".into(),
                fork: None,
                volatile_writes: 3,
                lost_writes: 2,
                lost: vec![write],
                disconnected: 0,
                hint: None,
            }],
            keep: Keep::Subset,
            seed: 42,
            tear_unit_bytes: 4096,
        };
        assert_eq!(
            cut(&made),
            "vm1 lost its power: volatile writes: 3, of these not wholly there: 2\n\
             WRITE  KIND     AT  LENGTH  FATE                  WHY\n    \
             7  write  4096    8192  torn, kept 8192+4096  no flush\n\
             and 1 more\n\
             keep subset, seed 42, tear unit 4096\n"
        );
        let mut many = made;
        many.disks[0].lost = vec![many.disks[0].lost[0].clone(); 256];
        many.disks[0].lost_writes = 1000;
        let text = cut(&many);
        assert_eq!(text.lines().count(), MOST_ROWS + 4);
        assert!(text.contains("and 980 more; -o json lists 256\n"), "{text}");
    }
}
