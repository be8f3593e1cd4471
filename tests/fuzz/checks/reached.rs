//! What inputs led to, so that a test can check that the corpus covers everything.

/// A small set of names.
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
