//! What to type to give a disk to a virtual machine: `ramblk attach --print`.
//!
//! Each text can be piped to where it belongs: what is not a command is a comment there.

use clap::ValueEnum;

use crate::daemon::model::{Disk, Share};

/// Who runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Vmm {
    Qemu,
    Libvirt,
    CloudHypervisor,
    Crosvm,
    Firecracker,
}

/// The most queues that a recipe asks for: what is of use to a guest with as many processors.
const MOST_QUEUES: u16 = 4;
/// Entries of a queue.
const QUEUE_SIZE: u16 = 256;

/// The text for a disk.
pub(super) fn recipe(vmm: Vmm, disk: &Disk) -> String {
    match vmm {
        Vmm::Qemu => qemu(disk),
        Vmm::Libvirt => libvirt(disk),
        Vmm::CloudHypervisor => cloud_hypervisor(disk),
        Vmm::Crosvm => crosvm(disk),
        Vmm::Firecracker => firecracker(disk),
    }
}

fn queues(disk: &Disk) -> u16 {
    disk.queues.clamp(1, MOST_QUEUES)
}

/// A word for a shell, in quotes only if it needs them.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a comment says of every disk that isn't as usual.
fn notes(disk: &Disk) -> Vec<String> {
    let mut notes = Vec::new();
    if disk.read_only || disk.share == Share::Ro {
        notes.push(
            "The guest finds this disk read-only: ramblk says so, no option is needed.".into(),
        );
    }
    if disk.share == Share::None && disk.attached {
        notes
            .push("A front end is connected now; this one is served when that one is gone.".into());
    }
    notes.push(format!(
        "In the guest: /dev/disk/by-id/virtio-{}",
        disk.serial
    ));
    notes
}

fn comments(notes: &[String]) -> String {
    notes.iter().map(|note| format!("# {note}\n")).collect()
}

fn qemu(disk: &Disk) -> String {
    // A comma ends a value in QEMU's options; two are one.
    let socket = disk.socket.replace(',', ",,");
    let chardev = |reconnect: &str| quoted(&format!("socket,id=ramblk0,path={socket},{reconnect}"));
    let mut notes = notes(disk);
    notes.push("-m and size= must be the same; the guest's memory must be shared.".into());
    notes.push("Before QEMU 9.2, reconnecting is spelled differently:".into());
    notes.push(format!("  -chardev {}", chardev("reconnect=1")));
    let queues = queues(disk);
    format!(
        "{}qemu-system-x86_64 -m 2G -machine q35,accel=kvm:tcg,memory-backend=mem \\\n  \
         -object memory-backend-memfd,id=mem,size=2G,share=on \\\n  \
         -chardev {} \\\n  \
         -device vhost-user-blk-pci,chardev=ramblk0,num-queues={queues},queue-size={QUEUE_SIZE}\n",
        comments(&notes),
        chardev("reconnect-ms=1000"),
    )
}

fn xml(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('\'', "&apos;")
}

fn libvirt(disk: &Disk) -> String {
    let mut notes = notes(disk);
    notes.push("libvirt refuses serial, readonly, iotune and more here: ramblk has them.".into());
    // Two dashes end a comment.
    let notes = notes.join("\n     ").replace("--", "- -");
    format!(
        "<!-- {notes} -->\n\
         <!-- in the domain: -->\n\
         <memoryBacking>\n  \
           <source type='memfd'/>\n  \
           <access mode='shared'/>\n\
         </memoryBacking>\n\
         <!-- in its devices: -->\n\
         <disk type='vhostuser' device='disk'>\n  \
           <driver name='qemu' type='raw' queues='{}'/>\n  \
           <source type='unix' path='{}'>\n    \
             <reconnect enabled='yes' timeout='1'/>\n  \
           </source>\n  \
           <target dev='vdb' bus='virtio'/>\n  \
           <alias name='ua-ramblk-{}'/>\n\
         </disk>\n",
        queues(disk),
        xml(&disk.socket),
        disk.name.replace('.', "-"),
    )
}

fn cloud_hypervisor(disk: &Disk) -> String {
    let options = format!(
        "vhost_user=on,socket={},num_queues={},queue_size={QUEUE_SIZE},id={}",
        disk.socket,
        queues(disk),
        disk.name
    );
    let options = quoted(&options);
    let mut notes = notes(disk);
    notes.push("The guest's memory must be shared. Its own disk and kernel go in here too.".into());
    format!(
        "{}cloud-hypervisor --api-socket /tmp/ch.sock --memory size=2G,shared=on --disk {options}\n\
         # To a machine that runs, if it was started with shared=on:\n\
         # ch-remote --api-socket /tmp/ch.sock add-disk {options}\n",
        comments(&notes),
    )
}

fn crosvm(disk: &Disk) -> String {
    let mut notes = notes(disk);
    notes.push("crosvm does not reconnect: when ramblk ends, so does the guest's disk.".into());
    notes.push("vmlinux stands for the guest's kernel.".into());
    format!(
        "{}crosvm run --mem 2048 --vhost-user {} --vhost-user-connect-timeout-ms 5000 vmlinux\n",
        comments(&notes),
        quoted(&format!(
            "block,socket={},max-queue-size={QUEUE_SIZE}",
            disk.socket
        )),
    )
}

fn firecracker(disk: &Disk) -> String {
    // Firecracker's identifiers have letters, digits and underscores.
    let id: String = disk
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let drive = serde_json::json!({
        "drive_id": id,
        "socket": disk.socket,
        "is_root_device": false,
    });
    let after = serde_json::json!({ "drive_id": id });
    let put = "curl --unix-socket /tmp/firecracker.sock -H 'Content-Type: application/json'";
    let url = format!("http://localhost/drives/{id}");
    let mut notes = notes(disk);
    notes.push("One queue, and no discard: what the guest deletes stays in memory.".into());
    notes.push("Before the machine is started:".into());
    format!(
        "{}{put} -X PUT {url} -d {}\n\
         # After 'ramblk resize', so that the guest sees it:\n\
         # {put} -X PATCH {url} -d {}\n",
        comments(&notes),
        quoted(&drive.to_string()),
        quoted(&after.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::{self, compare};

    #[test]
    fn each_vmm_has_its_recipe() {
        for vmm in Vmm::value_variants() {
            let name = format!("attach-{vmm:?}").to_lowercase();
            compare(&name, &recipe(*vmm, &samples::disk("scratch")));
        }
    }

    #[test]
    fn a_recipe_fits_its_disk() {
        let mut disk = samples::disk("golden.v1");
        disk.attached = false;
        for vmm in Vmm::value_variants() {
            assert!(!recipe(*vmm, &disk).contains("read-only"), "{vmm:?}");
        }
        (disk.read_only, disk.queues) = (true, 1);
        for vmm in Vmm::value_variants() {
            let text = recipe(*vmm, &disk);
            assert!(text.contains("read-only"), "{text}");
            assert!(text.contains("/run/ramblk/golden.v1/vhost.sock"), "{text}");
        }
        assert!(recipe(Vmm::Qemu, &disk).contains("num-queues=1,"));
        assert!(recipe(Vmm::CloudHypervisor, &disk).contains("num_queues=1,"));
        assert!(recipe(Vmm::Libvirt, &disk).contains("queues='1'"));
        assert!(recipe(Vmm::Firecracker, &disk).contains("/drives/golden_v1 "));
    }

    #[test]
    fn odd_paths_survive_shell_qemu_and_xml() {
        let mut disk = samples::disk("a");
        disk.socket = "/tmp/it's, <here>/s".into();
        let qemu = recipe(Vmm::Qemu, &disk);
        assert!(
            qemu.contains(r"'socket,id=ramblk0,path=/tmp/it'\''s,, <here>/s,reconnect-ms=1000'"),
            "{qemu}"
        );
        let libvirt = recipe(Vmm::Libvirt, &disk);
        assert!(
            libvirt.contains("path='/tmp/it&apos;s, &lt;here>/s'"),
            "{libvirt}"
        );
        assert_eq!(quoted("plain/word-1"), "plain/word-1");
    }
}
