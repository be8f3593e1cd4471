//! Formats other than raw, recognised by the beginning and the end of a file.
//!
//! A row of [`KNOWN`] says how to recognise a format, and how to convert it to a raw image. A file
//! without a known format is raw. So is a file with a partition table, or with a signature that
//! file systems and volume managers write behind a boot area: compressed files and archives have
//! neither, and a boot area may contain anything.

use super::marks;

/// The bytes at a file's beginning by which formats are recognised. They include the header of a
/// partition table behind a sector of 4096 bytes.
pub const HEAD_BYTES: usize = 4608;
/// Likewise of a file's end: a sector.
pub const TAIL_BYTES: usize = 512;

/// A format other than raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the formats")]
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

/// A format that is read, as it is named in options: with a dot, one inside of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's format.
    Qcow2,
    /// Raw or qcow2, compressed.
    Packed(Packing, Content),
}

/// How a whole image is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the formats")]
pub enum Packing {
    Gzip,
    Xz,
    Zstd,
}

/// What is inside of a compressed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the formats")]
pub enum Content {
    Raw,
    Qcow2,
}

impl ImageFormat {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Qcow2,
        Self::Packed(Packing::Gzip, Content::Raw),
        Self::Packed(Packing::Xz, Content::Raw),
        Self::Packed(Packing::Zstd, Content::Raw),
        Self::Packed(Packing::Gzip, Content::Qcow2),
        Self::Packed(Packing::Xz, Content::Qcow2),
        Self::Packed(Packing::Zstd, Content::Qcow2),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Packed(Packing::Gzip, Content::Raw) => "gz",
            Self::Packed(Packing::Xz, Content::Raw) => "xz",
            Self::Packed(Packing::Zstd, Content::Raw) => "zst",
            Self::Packed(Packing::Gzip, Content::Qcow2) => "qcow2.gz",
            Self::Packed(Packing::Xz, Content::Qcow2) => "qcow2.xz",
            Self::Packed(Packing::Zstd, Content::Qcow2) => "qcow2.zst",
        }
    }
}

/// The purpose of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image of one disk.
    Image,
    /// One compressed file.
    Compressed,
    /// Any number of files.
    Archive,
    /// No disk at all.
    Other,
}

/// How to convert a file to a raw image. In commands `{in}` is the file, `{out}` the image, and
/// MEMBER a member of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A command that writes the raw image to its stdout.
    Stream {
        /// It reads a file.
        file: &'static str,
        /// It reads its stdin, if the program can.
        pipe: Option<&'static str>,
    },
    /// A command that seeks in both files.
    Convert(&'static str),
    /// The same as `Stream`, for one member, with a command that lists all members.
    Member {
        /// It lists the members of a file.
        list: &'static str,
        /// It reads a file.
        file: &'static str,
        /// It reads its stdin.
        pipe: Option<&'static str>,
    },
    /// Advice, if no command can convert it.
    Advice(&'static str),
}

/// A known format.
#[derive(Debug)]
pub struct Known {
    /// Which it is.
    pub format: Format,
    /// Its usual name, with the article.
    pub name: &'static str,
    /// Its purpose.
    pub kind: Kind,
    /// How to convert it.
    pub way: Way,
    /// The Debian package of that command; empty if there is none.
    pub package: &'static str,
    /// Whether a file with this beginning has the format. Less than [`HEAD_BYTES`] is the whole
    /// file.
    begins: fn(&[u8]) -> bool,
    /// Whether a file with this end has the format. Less than [`TAIL_BYTES`] is the whole file.
    ends: fn(&[u8]) -> bool,
}

/// The format of a file with these first [`HEAD_BYTES`] and last [`TAIL_BYTES`] (or all bytes of a
/// shorter file); `None` if it is raw.
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

/// Recognises the format of content that arrives piece by piece.
#[derive(Debug, Default)]
pub struct Probe {
    head: Vec<u8>,
    tail: Vec<u8>,
    looked: bool,
}

impl Probe {
    /// Take the next piece. As soon as [`HEAD_BYTES`] have arrived, this returns once the format
    /// that the content begins like. For shorter content [`Self::end`] returns it.
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

    /// The format of the whole content, or the one that it ends like.
    pub fn end(&self) -> Option<&'static Known> {
        begins(&self.head).or_else(|| ends(&self.tail))
    }
}

const fn never(_: &[u8]) -> bool {
    false
}

/// A format that is recognised by its beginning.
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

/// A format that `qemu-img` reads.
const fn qemu(command: &'static str) -> (Way, &'static str) {
    (Way::Convert(command), "qemu-utils")
}

/// A format that a filter unpacks to stdout.
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

/// All known formats. The first match counts.
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
        advice("it holds files, not a disk; install from it (wimapply, package wimtools)"),
        |head| head.starts_with(b"MSWIM\0\0\0")),
    row(Format::Elf, "an ELF program", Kind::Other,
        advice("it is a program or a kernel, not a disk; find the disk image that belongs to it"),
        marks::elf),
    row(Format::Html, "a page of HTML", Kind::Other,
        advice("it may be a server's error page; check it, and download the image again"),
        |head| marks::text(head, &["<!doctype html", "<html"])),
    row(Format::Xml, "an XML document", Kind::Other,
        advice("it may describe an image, or be a server's error; check it"),
        |head| marks::text(head, &["<?xml "])),
    row(Format::LfsPointer, "a pointer of Git LFS", Kind::Other,
        advice("fetch the file itself with 'git lfs pull' in its repository"),
        |head| head.starts_with(b"version https://git-lfs.github.com/")),
    row(Format::Torrent, "a BitTorrent file", Kind::Other,
        advice("download the image with a BitTorrent client"),
        |head| head.starts_with(b"d8:announce") || head.starts_with(b"d13:announce-list")),
];
