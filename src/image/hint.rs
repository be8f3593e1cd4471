//! What to do about a file that is no raw image, in words and with a command that can be copied.

use std::path::Path;

use super::format::{Known, Way};

/// Where content comes from, and what would read it from a pipe.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A file that a command can name; `reader` is a command that reads a pipe, if there is one.
    File {
        /// The file.
        path: &'a Path,
        /// As in `ramblk import vm1 -`.
        reader: Option<&'a str>,
    },
    /// A pipe that `reader` reads.
    Pipe {
        /// As in `ramblk import vm1 -`.
        reader: &'a str,
    },
    /// A request: what to send instead.
    Request,
}

impl Known {
    /// What to do about it, without an end: a command in quotes, with the Debian package that has
    /// it.
    pub fn hint(&self, from: Origin) -> String {
        match self.way {
            Way::Advice(text) => text.to_owned(),
            Way::Convert(command) => self.convert(command, from),
            Way::Stream { file, pipe } => self.stream(file, pipe, from),
            Way::Member { list, file, pipe } => {
                let list = match from {
                    Origin::File { path, .. } => list.replace("{in}", &shell_word(path)),
                    Origin::Pipe { .. } | Origin::Request => list.replace("{in}", "FILE"),
                };
                let stream = self.stream(file, pipe, from);
                format!("'{list}' lists its members; {stream}")
            }
        }
    }

    fn convert(&self, command: &str, from: Origin) -> String {
        let package = self.package;
        match from {
            Origin::File { path, .. } => {
                let out = format!("{}.raw", path.display());
                let (input, output) = (shell_word(path), shell_word(Path::new(&out)));
                let command = command.replace("{in}", &input).replace("{out}", &output);
                format!("say '{command}' (package {package}) and take what that makes")
            }
            Origin::Pipe { .. } => {
                let command = command.replace("{in}", "FILE").replace("{out}", "FILE.raw");
                format!(
                    "save it to a file first, say '{command}' (package {package}) and take what \
                     that makes"
                )
            }
            Origin::Request => {
                let command = command.replace("{in}", "FILE").replace("{out}", "FILE.raw");
                format!("'{command}' (package {package}) makes what can be sent")
            }
        }
    }

    fn stream(&self, file: &str, pipe: Option<&str>, from: Origin) -> String {
        let package = self.package;
        match (from, pipe) {
            (Origin::File { path, reader }, _) => {
                let command = file.replace("{in}", &shell_word(path));
                let (to, then) = match reader {
                    Some(reader) => (format!("| {reader}"), ""),
                    None => {
                        let out = format!("{}.raw", path.display());
                        let to = format!("> {}", shell_word(Path::new(&out)));
                        (to, " and take what that makes")
                    }
                };
                format!("say '{command} {to}' (package {package}){then}")
            }
            (Origin::Pipe { reader }, Some(command)) => {
                format!(
                    "put '{command}' before it (package {package}): '... | {command} | {reader}'"
                )
            }
            (Origin::Pipe { reader }, None) => {
                let command = file.replace("{in}", "FILE");
                format!(
                    "save it to a file first and say '{command} | {reader}' (package {package})"
                )
            }
            (Origin::Request, _) => {
                let command = file.replace("{in}", "FILE");
                format!("'{command}' (package {package}) makes what can be sent")
            }
        }
    }
}

/// A path as a shell reads it.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+,@%:=".contains(&b);
    let text = match text.strip_prefix('-') {
        // It would be read as an option.
        Some(_) => format!("./{text}"),
        None => text.into_owned(),
    };
    if !text.is_empty() && text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{KNOWN, Way};
    use super::*;

    #[test]
    fn a_pipe_is_never_a_file_of_that_name() {
        for known in KNOWN {
            let hint = known.hint(Origin::Pipe {
                reader: "ramblk import vm1 -",
            });
            assert!(!hint.contains("stdin") && !hint.contains("{in}"), "{hint}");
            let convert = matches!(known.way, Way::Convert(_));
            assert_eq!(
                hint.contains("to a file first"),
                convert || {
                    matches!(
                        known.way,
                        Way::Stream { pipe: None, .. } | Way::Member { pipe: None, .. }
                    )
                }
            );
        }
    }

    #[test]
    fn paths_are_words_of_a_shell() {
        for (path, word) in [
            ("disk.gz", "disk.gz"),
            ("-disk.gz", "./-disk.gz"),
            ("my disk", "'my disk'"),
            ("it's", r"'it'\''s'"),
            ("$HOME`x`", "'$HOME`x`'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
