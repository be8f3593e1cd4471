//! How to convert a file that isn't a raw image, with a command to copy.

use std::path::Path;

use super::format::{Known, Way};

/// The origin of content.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A file; `reader` is a command that reads an image from a pipe, if there is one.
    File {
        /// The file.
        path: &'a Path,
        /// As in `ramblk import vm1 -`.
        reader: Option<&'a str>,
    },
    /// The pipe that `reader` reads.
    Pipe {
        /// As in `ramblk import vm1 -`.
        reader: &'a str,
    },
    /// A request of the API.
    Request,
}

impl Known {
    /// How to convert it, as a clause: a command in quotes, with its Debian package.
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
                format!("run '{command}' (package {package}) and use its output")
            }
            Origin::Pipe { .. } => {
                let command = command.replace("{in}", "FILE").replace("{out}", "FILE.raw");
                format!(
                    "save it to a file first, run '{command}' (package {package}) and use its \
                     output"
                )
            }
            Origin::Request => {
                let command = command.replace("{in}", "FILE").replace("{out}", "FILE.raw");
                format!("convert it with '{command}' (package {package})")
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
                        (to, " and use its output")
                    }
                };
                format!("run '{command} {to}' (package {package}){then}")
            }
            (Origin::Pipe { reader }, Some(command)) => {
                format!(
                    "pipe it through '{command}' (package {package}): '... | {command} | {reader}'"
                )
            }
            (Origin::Pipe { reader }, None) => {
                let command = file.replace("{in}", "FILE");
                format!(
                    "save it to a file first and run '{command} | {reader}' (package {package})"
                )
            }
            (Origin::Request, _) => {
                let command = file.replace("{in}", "FILE");
                format!("convert it with '{command}' (package {package})")
            }
        }
    }
}

/// A path, quoted for a shell.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+,@%:=".contains(&b);
    let text = match text.strip_prefix('-') {
        // A command would take it for an option.
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
