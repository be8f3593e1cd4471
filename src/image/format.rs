//! Formats that files have which are no raw images, by how such files begin and end.
//!
//! A row of [`KNOWN`] says how a format is told, and what makes a raw image of it. A file that is
//! none of them is taken as raw. So is one that begins with a partition table or with what file
//! systems and volume managers write behind a boot area: no compressed file and no archive has
//! those, and a boot area may hold anything.

use super::marks;

/// Enough of a file's beginning to tell every format: the header of a partition table behind a
/// sector of 4096 bytes.
pub const HEAD_BYTES: usize = 4608;
/// Enough of its end: a sector.
pub const TAIL_BYTES: usize = 512;

/// A format that a file can have, besides raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Format {
    Qcow,
    Qcow2,
    Qed,
    Vmdk,
    Vdi,
    Vhd,
    Vhdx,
    Parallels,
    Bochs,
    Dmg,
    AndroidSparse,
    Ewf,
    Aff,
    Gzip,
    Compress,
    Bzip2,
    Xz,
    Lzma,
    Zstd,
    Lz4,
    Lzip,
    Lzop,
    Tar,
    Zip,
    SevenZip,
    Rar,
    Cpio,
    Ar,
    Rpm,
    Cabinet,
    Wim,
    Elf,
    Html,
    Xml,
    LfsPointer,
    Torrent,
}

/// What a format is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Disks: one file is one disk, in a form of its own.
    Image,
    /// One file, made smaller.
    Compressed,
    /// Any number of files.
    Archive,
    /// Something that has no disk in it.
    Other,
}

/// What makes a raw image of a file. In commands `{in}` stands for the file, `{out}` for the image,
/// and MEMBER for a part of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A command that writes the raw image to its stdout.
    Stream {
        /// It reads a file.
        file: &'static str,
        /// It reads its stdin; not every program can.
        pipe: Option<&'static str>,
    },
    /// A command that has to seek in both files.
    Convert(&'static str),
    /// As `Stream`, for a member, after a command that lists them.
    Member {
        /// It lists the members of a file.
        list: &'static str,
        /// It reads a file.
        file: &'static str,
        /// It reads its stdin.
        pipe: Option<&'static str>,
    },
    /// No command does. What to do instead.
    Advice(&'static str),
}

/// All that is known of a format.
#[derive(Debug)]
pub struct Known {
    /// Which it is.
    pub format: Format,
    /// What people call it, with its article.
    pub name: &'static str,
    /// What it is made for.
    pub kind: Kind,
    /// What makes a raw image of it.
    pub way: Way,
    /// The Debian package of that command; empty if there is none.
    pub package: &'static str,
    /// Whether a file begins so. Less than [`HEAD_BYTES`] is the whole file.
    begins: fn(&[u8]) -> bool,
    /// Whether it ends so. Less than [`TAIL_BYTES`] is the whole file.
    ends: fn(&[u8]) -> bool,
}

/// The format of a file of which these are the first [`HEAD_BYTES`] and the last [`TAIL_BYTES`] (or
/// all that there are), if it is none that is raw for all that is known.
pub fn probe(head: &[u8], tail: &[u8]) -> Option<&'static Known> {
    begins(head).or_else(|| ends(tail))
}

fn begins(head: &[u8]) -> Option<&'static Known> {
    let found = KNOWN.iter().find(|known| (known.begins)(head))?;
    (!marks::is_laid_out(head)).then_some(found)
}

fn ends(tail: &[u8]) -> Option<&'static Known> {
    KNOWN.iter().find(|known| (known.ends)(tail))
}

/// The same for content that comes once, piece by piece.
#[derive(Debug, Default)]
pub struct Probe {
    head: Vec<u8>,
    tail: Vec<u8>,
    looked: bool,
}

impl Probe {
    /// Look at the next piece: the format that the content begins like. Said at most once, as soon
    /// as enough has come to tell; content that ends before is for [`Self::end`].
    pub fn take(&mut self, piece: &[u8]) -> Option<&'static Known> {
        let last = &piece[piece.len().saturating_sub(TAIL_BYTES)..];
        let kept = TAIL_BYTES - last.len();
        self.tail.drain(..self.tail.len().saturating_sub(kept));
        self.tail.extend_from_slice(last);
        if self.looked {
            return None;
        }
        let missing = HEAD_BYTES - self.head.len();
        self.head
            .extend_from_slice(&piece[..missing.min(piece.len())]);
        if self.head.len() < HEAD_BYTES {
            return None;
        }
        self.looked = true;
        begins(&std::mem::take(&mut self.head))
    }

    /// That was all of it: the format that it ends like, or that it has as a whole.
    pub fn end(&self) -> Option<&'static Known> {
        begins(&self.head).or_else(|| ends(&self.tail))
    }
}

const fn never(_: &[u8]) -> bool {
    false
}

/// A format that is told by its beginning.
const fn row(
    format: Format,
    name: &'static str,
    kind: Kind,
    (way, package): (Way, &'static str),
    begins: fn(&[u8]) -> bool,
) -> Known {
    Known {
        format,
        name,
        kind,
        way,
        package,
        begins,
        ends: never,
    }
}

/// What `qemu-img` reads.
const fn qemu(command: &'static str) -> (Way, &'static str) {
    (Way::Convert(command), "qemu-utils")
}

/// A filter that writes what it unpacks to stdout.
const fn filter(
    file: &'static str,
    pipe: &'static str,
    package: &'static str,
) -> (Way, &'static str) {
    let pipe = Some(pipe);
    (Way::Stream { file, pipe }, package)
}

const fn advice(text: &'static str) -> (Way, &'static str) {
    (Way::Advice(text), "")
}

/// All formats that are known. The first one that fits is it.
#[rustfmt::skip]
pub static KNOWN: &[Known] = &[
    row(Format::Qcow, "a qcow image", Kind::Image,
        qemu("qemu-img convert -f qcow -O raw {in} {out}"),
        |head| head.starts_with(b"QFI\xfb\0\0\0\x01")),
    row(Format::Qcow2, "a qcow2 image", Kind::Image,
        qemu("qemu-img convert -f qcow2 -O raw {in} {out}"),
        |head| head.starts_with(b"QFI\xfb")),
    row(Format::Qed, "a QED image", Kind::Image,
        qemu("qemu-img convert -f qed -O raw {in} {out}"),
        |head| head.starts_with(b"QED\0")),
    row(Format::Vmdk, "a VMDK image", Kind::Image,
        qemu("qemu-img convert -f vmdk -O raw {in} {out}"), marks::vmdk),
    row(Format::Vdi, "a VDI image", Kind::Image,
        qemu("qemu-img convert -f vdi -O raw {in} {out}"),
        |head| marks::at(head, 64, b"\x7f\x10\xda\xbe")),
    Known { ends: marks::vhd_footer, ..row(Format::Vhd, "a VHD image", Kind::Image,
        qemu("qemu-img convert -f vpc -O raw {in} {out}"),
        |head| head.starts_with(b"conectix")) },
    row(Format::Vhdx, "a VHDX image", Kind::Image,
        qemu("qemu-img convert -f vhdx -O raw {in} {out}"),
        |head| head.starts_with(b"vhdxfile")),
    row(Format::Parallels, "a Parallels image", Kind::Image,
        qemu("qemu-img convert -f parallels -O raw {in} {out}"),
        |head| head.starts_with(b"WithoutFreeSpace") || head.starts_with(b"WithouFreSpacExt")),
    row(Format::Bochs, "a Bochs image", Kind::Image,
        qemu("qemu-img convert -f bochs -O raw {in} {out}"),
        |head| head.starts_with(b"Bochs Virtual HD Image")),
    Known { ends: marks::dmg_trailer, ..row(Format::Dmg, "a DMG image", Kind::Image,
        qemu("qemu-img convert -f dmg -O raw {in} {out}"), never) },
    row(Format::AndroidSparse, "an Android sparse image", Kind::Image,
        (Way::Convert("simg2img {in} {out}"), "android-sdk-libsparse-utils"),
        |head| head.starts_with(b"\x3a\xff\x26\xed\x01\0")),
    row(Format::Ewf, "an EWF image", Kind::Image,
        (Way::Stream { file: "ewfexport -qu -t - {in}", pipe: None }, "ewf-tools"),
        |head| head.starts_with(b"EVF\t\r\n\xff\0") || head.starts_with(b"EVF2\r\n\x81\0")),
    row(Format::Aff, "an AFF image", Kind::Image,
        (Way::Stream { file: "affcat {in}", pipe: None }, "afflib-tools"),
        |head| head.starts_with(b"AFF10\r\n\0")),
    row(Format::Gzip, "compressed with gzip", Kind::Compressed,
        filter("gzip -dc {in}", "gzip -dc", "gzip"), marks::gzip),
    row(Format::Compress, "compressed with compress", Kind::Compressed,
        filter("gzip -dc {in}", "gzip -dc", "gzip"), marks::compress),
    row(Format::Bzip2, "compressed with bzip2", Kind::Compressed,
        filter("bzip2 -dc {in}", "bzip2 -dc", "bzip2"), marks::bzip2),
    row(Format::Xz, "compressed with xz", Kind::Compressed,
        filter("xz -dc {in}", "xz -dc", "xz-utils"),
        |head| head.starts_with(b"\xfd7zXZ\0")),
    row(Format::Lzma, "compressed with lzma", Kind::Compressed,
        filter("xz --format=lzma -dc {in}", "xz --format=lzma -dc", "xz-utils"), marks::lzma),
    row(Format::Zstd, "compressed with zstd", Kind::Compressed,
        filter("zstd -dc {in}", "zstd -dc", "zstd"), marks::zstd),
    row(Format::Lz4, "compressed with lz4", Kind::Compressed,
        filter("lz4 -dc {in}", "lz4 -dc", "lz4"), marks::lz4),
    row(Format::Lzip, "compressed with lzip", Kind::Compressed,
        filter("lzip -dc {in}", "lzip -dc", "lzip"),
        |head| head.starts_with(b"LZIP\x01") || head.starts_with(b"LZIP\0")),
    row(Format::Lzop, "compressed with lzop", Kind::Compressed,
        filter("lzop -dc {in}", "lzop -dc", "lzop"),
        |head| head.starts_with(b"\x89LZO\0\r\n\x1a\n")),
    row(Format::Tar, "a tar archive", Kind::Archive, (Way::Member {
        list: "tar -tf {in}", file: "tar -xOf {in} MEMBER", pipe: Some("tar -xOf - MEMBER"),
    }, "tar"), marks::tar),
    row(Format::Zip, "a zip archive", Kind::Archive, (Way::Member {
        list: "unzip -l {in}", file: "unzip -p {in} MEMBER", pipe: None,
    }, "unzip"), marks::zip),
    row(Format::SevenZip, "a 7z archive", Kind::Archive, (Way::Member {
        list: "7z l {in}", file: "7z x -so {in} MEMBER", pipe: None,
    }, "p7zip-full"), |head| head.starts_with(b"7z\xbc\xaf\x27\x1c")),
    row(Format::Rar, "a RAR archive", Kind::Archive, (Way::Member {
        list: "unrar l {in}", file: "unrar p -inul {in} MEMBER", pipe: None,
    }, "unrar"), |head| head.starts_with(b"Rar!\x1a\x07")),
    row(Format::Cpio, "a cpio archive", Kind::Archive, (Way::Member {
        list: "cpio -it < {in}", file: "cpio -i --to-stdout MEMBER < {in}",
        pipe: Some("cpio -i --to-stdout MEMBER"),
    }, "cpio"), marks::cpio),
    row(Format::Ar, "an ar archive or Debian package", Kind::Archive, (Way::Member {
        list: "ar t {in}", file: "ar p {in} MEMBER", pipe: None,
    }, "binutils"), |head| head.starts_with(b"!<arch>\n")),
    row(Format::Rpm, "an RPM package", Kind::Archive, (Way::Member {
        list: "rpm2cpio {in} | cpio -it", file: "rpm2cpio {in} | cpio -i --to-stdout MEMBER",
        pipe: Some("rpm2cpio - | cpio -i --to-stdout MEMBER"),
    }, "rpm2cpio"), |head| head.starts_with(b"\xed\xab\xee\xdb")),
    row(Format::Cabinet, "a cabinet archive", Kind::Archive, (Way::Member {
        list: "cabextract -l {in}", file: "cabextract -pF MEMBER {in}", pipe: None,
    }, "cabextract"), |head| head.starts_with(b"MSCF\0\0\0\0")),
    row(Format::Wim, "a WIM archive", Kind::Archive,
        advice("it holds files and no disk: install from it (wimapply, package wimtools)"),
        |head| head.starts_with(b"MSWIM\0\0\0")),
    row(Format::Elf, "an ELF program", Kind::Other,
        advice("it is a program or kernel, and no disk; look for the image that belongs to it"),
        marks::elf),
    row(Format::Html, "a page of HTML", Kind::Other,
        advice("a server's error page, perhaps; look into it, and fetch the image again"),
        |head| marks::text(head, &["<!doctype html", "<html"])),
    row(Format::Xml, "an XML document", Kind::Other,
        advice("a description of an image or a server's error, perhaps; look into it"),
        |head| marks::text(head, &["<?xml "])),
    row(Format::LfsPointer, "a pointer of Git LFS", Kind::Other,
        advice("'git lfs pull' in its repository fetches the file itself"),
        |head| head.starts_with(b"version https://git-lfs.github.com/")),
    row(Format::Torrent, "a BitTorrent file", Kind::Other,
        advice("fetch with a BitTorrent client what it names"),
        |head| head.starts_with(b"d8:announce") || head.starts_with(b"d13:announce-list")),
];
