//! The faults of a disk: from the texts that are stored to rules, all of which have ids.

use std::collections::BTreeSet;

use super::problems::invalid;
use crate::device::faults::{Kind, MOST_RULES, Rule, RuleError};
use crate::model::Problem;

/// The field at fault.
const FIELD: &str = "faults";

/// Rules from their texts. Those without an id are called `f1`, `f2` and so on, by the first
/// numbers that are unused.
///
/// # Errors
/// `invalid` for a text that is no rule, for an id that is there twice, and for too many rules.
pub(crate) fn named(texts: &[String]) -> Result<Vec<Rule>, Problem> {
    if texts.len() > MOST_RULES {
        let detail = format!(
            "{} faults are too many: a disk has at most {MOST_RULES}",
            texts.len()
        );
        return Err(invalid(FIELD, detail));
    }
    let rules = texts.iter().map(|text| text.parse());
    let mut rules: Vec<Rule> = rules.collect::<Result<_, _>>().map_err(refused)?;
    let mut ids = BTreeSet::new();
    for id in rules.iter().filter_map(|rule| rule.id.clone()) {
        if !ids.insert(id.clone()) {
            let detail = format!("there are two faults called {id:?}: choose another id");
            return Err(invalid(FIELD, detail));
        }
    }
    for rule in rules.iter_mut().filter(|rule| rule.id.is_none()) {
        let mut free = (1..).map(|number| format!("f{number}"));
        rule.id = free.find(|id| ids.insert(id.clone()));
    }
    Ok(rules)
}

/// Rules as texts, which [`named`] reads as the same.
pub(crate) fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

/// Check that the rules can fire on a disk of this size.
///
/// # Errors
/// `invalid`.
pub(crate) fn check_size(rules: &[Rule], size_bytes: u64) -> Result<(), Problem> {
    let mut checked = rules.iter().map(|rule| {
        let id = rule.id.as_deref().unwrap_or_default();
        let checked = rule.check_size(size_bytes);
        checked.map_err(|error| invalid(FIELD, format!("fault {id}: {error}")))
    });
    checked.try_for_each(|checked| checked)
}

/// The parameters of a personality, in words.
pub(crate) fn parameters(rule: &Rule) -> Option<String> {
    match rule.kind {
        Kind::Personality(personality) => Some(personality.parameters()),
        _ => None,
    }
}

/// The parameters of the personalities among rules, from their texts.
pub(crate) fn personality(texts: &[String]) -> Option<String> {
    let rules = named(texts).unwrap_or_default();
    let said: Vec<String> = rules.iter().filter_map(parameters).collect();
    Some(said.join("; ")).filter(|said| !said.is_empty())
}

fn refused(error: RuleError) -> Problem {
    invalid(FIELD, error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn rules_without_an_id_get_the_first_unused_one() {
        let given = ["error", "stall,id=f1", "error,op=read"].map(str::to_owned);
        let rules = named(&given).unwrap();
        let normal = texts(&rules);
        assert_eq!(
            normal,
            ["error,id=f2", "stall,id=f1", "error,id=f3,op=read"]
        );
        assert_eq!(texts(&named(&normal).unwrap()), normal);
        let twice = ["error,id=a", "stall,id=a"].map(str::to_owned);
        let problem = named(&twice).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("faults"));
        assert!(named(&vec!["error".to_owned(); 33]).is_err());
    }
}
