//! What an input led to, so that a corpus can be asked whether it leads everywhere.

/// A set of names, of which there are few.
#[derive(Debug, Default)]
pub(crate) struct Reached(Vec<&'static str>);

impl Reached {
    pub(crate) fn add(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    pub(crate) fn names(&self) -> &[&'static str] {
        &self.0
    }
}
