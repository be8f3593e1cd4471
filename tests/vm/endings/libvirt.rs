//! libvirt makes a domain's disks before it starts, and ends them with it, by the hook of
//! `docs/libvirt`. libvirt runs in namespaces of its own, without systemd, and changes nothing of
//! the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{guest_file, numbers, sha256};

/// Starts the daemon and libvirt, defines the domain, and then runs the script `steps`.
const BEGIN: &str = r#"
    mount --make-rprivate /
    for place in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
        mount -t tmpfs tmpfs $place
    done
    mkdir -p /etc/libvirt/hooks/qemu.d /run/libvirt
    cp hook /etc/libvirt/hooks/qemu.d/ramblk
    printf '%s\n' 'user = "root"' 'group = "root"' 'dynamic_ownership = 0' 'remember_owner = 0' \
        'security_driver = "none"' 'namespaces = []' 'cgroup_controllers = []' \
        'stdio_handler = "file"' >/etc/libvirt/qemu.conf
    echo 'auth_unix_rw = "none"' >/etc/libvirt/libvirtd.conf
    until_ok() {
        tries=0
        until "$@" >said 2>&1; do
            tries=$((tries + 1))
            [ $tries -lt 600 ] || { cat said console; exit 1; }
            sleep 0.1
        done
    }
    virsh() { command virsh --quiet --connect qemu:///system "$@"; }
    # Why the domain doesn't start.
    refused() {
        if virsh start vm1 --paused 2>error; then exit 1; fi
        grep -qF "$1" error || { cat error; exit 1; }
    }
    disks() { ramblk list | sed 1d | cut -d ' ' -f 1; }
    no_disks() { [ -z "$(disks)" ]; }
    ramblk serve --memory-limit 512M --run-dir /run/ramblk 2>log &
    until_ok ramblk ping
    libvirtd --daemon --pid-file /run/libvirtd.pid
    until_ok virsh version
    touch console
    virsh define domain.xml
    set -x
"#;

/// What happens to the domain.
const STEPS: &str = r#"
    # The reason is seen where the domain is started, and nothing is left.
    refused 'disk vm1-root: there is no image named "base"'
    no_disks
    ramblk image pull image --name base
    sed 's/size="64M"/size="64M" frob="1"/' domain.xml >other.xml
    virsh define other.xml
    refused "disk vm1-data: ramblk create has no option '--frob'"
    no_disks
    sed 's|path="/run/ramblk/vm1-data/|path="/run/ramblk/data/|' domain.xml >other.xml
    virsh define other.xml
    refused 'disk vm1-data has the socket /run/ramblk/vm1-data/vhost.sock'
    no_disks
    virsh define domain.xml
    ramblk create vm1-root --size 1M
    refused 'disk vm1-root exists already, and was not made for this domain'
    [ "$(disks)" = vm1-root ]
    ramblk destroy vm1-root

    # A guest finds what the metadata says. The disks end with it, and the image stays.
    virsh start vm1
    until_ok grep '@host: it runs' console
    ramblk snapshot vm1-data checked
    virsh destroy vm1
    no_disks
    ramblk image show base >said
    if grep vm1 said; then exit 1; fi

    # So do those of a machine that is killed, even while libvirt isn't there.
    virsh start vm1 --paused
    kill -9 $(pidof qemu-system-x86_64)
    until_ok no_disks
    virsh start vm1 --paused
    kill $(cat /run/libvirtd.pid)
    until_ok test ! -e /run/libvirtd.pid
    kill -9 $(pidof qemu-system-x86_64)
    [ -n "$(disks)" ]
    libvirtd --daemon --pid-file /run/libvirtd.pid
    until_ok virsh version
    until_ok no_disks

    # What is left of an earlier run, as by a host that went down, doesn't count. What is kept does.
    ramblk create vm1-data --size 1M --label libvirt=6f3a1b1e-1111-4222-8333-444455556666
    sed 's/name="vm1-root"/keep="yes" &/' domain.xml >other.xml
    virsh define other.xml
    for run in 1 2; do
        virsh start vm1 --paused
        virsh destroy vm1
        [ "$(disks)" = vm1-root ]
    done

    kill %1
    wait %1
    refused 'no daemon answers at "/run/ramblk/api.sock"'
"#;

/// What the guest does.
const JOB: &str = "
    check_eq root \"$(dd if=/dev/vda bs=64k | sum)\" SUM
    check_eq block \"$(cat /sys/block/vdb/queue/logical_block_size)\" 4096
    check_eq serial \"$(cat /sys/block/vdb/serial)\" data
    mkfs.ext4 -q /dev/vdb
    mount -t ext4 /dev/vdb /mnt
    dd if=/dev/vda of=/mnt/copy bs=64k
    umount /mnt
    echo '@host: it runs'
    sleep 1000
";

/// The domain: a machine that boots the kernel and `/init` of the other tests.
fn domain(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    let disk = |name: &str, target: &str| {
        format!(
            r#"<disk type="vhostuser" device="disk">
                 <driver name="qemu" type="raw"/>
                 <source type="unix" path="/run/ramblk/{name}/vhost.sock"/>
                 <target dev="{target}" bus="virtio"/>
               </disk>"#
        )
    };
    format!(
        r#"<domain type="qemu">
             <name>vm1</name>
             <uuid>6f3a1b1e-1111-4222-8333-444455556666</uuid>
             <metadata>
               <ramblk:disks xmlns:ramblk="urn:ramblk:libvirt:1">
                 <ramblk:disk name="vm1-root" image="image://base"/>
                 <ramblk:disk name="vm1-data" size="64M" block-size="4096" serial="data"
                              in-order="yes" detect-zeroes="no"/>
               </ramblk:disks>
             </metadata>
             <memory unit="MiB">640</memory>
             <memoryBacking><source type="memfd"/><access mode="shared"/></memoryBacking>
             <os>
               <type arch="x86_64" machine="q35">hvm</type>
               <kernel>{kernel}</kernel>
               <initrd>{initramfs}</initrd>
               <cmdline>console=ttyS0 quiet panic=-1 no_timer_check</cmdline>
             </os>
             <sysinfo type="fwcfg"><entry name="opt/ramblk.job" file="{job}"/></sysinfo>
             <features><acpi/></features>
             <devices>
               {root}
               {data}
               <serial type="file"><source path="{console}"/></serial>
               <memballoon model="none"/>
             </devices>
           </domain>"#,
        kernel = guest_file("vmlinuz").display(),
        initramfs = guest_file("initramfs.cpio").display(),
        job = path("job"),
        root = disk("vm1-root", "vda"),
        data = disk("vm1-data", "vdb"),
        console = path("console"),
    )
}

#[test]
#[ignore = "needs libvirt, and root; scripts/soak runs it"]
fn libvirt_makes_the_disks_of_a_domain_and_ends_them_with_it() {
    let scratch = TempDir::new().unwrap();
    let folder = scratch.path();
    let image = folder.join("image");
    fs::write(&image, numbers(10_000_000, 8 << 20)).unwrap();
    fs::write(folder.join("job"), JOB.replace("SUM", &sha256(&image))).unwrap();
    fs::write(folder.join("domain.xml"), domain(folder)).unwrap();
    let hook = folder.join("hook");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/libvirt/ramblk");
    fs::copy(source, &hook).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_ramblk")).parent().unwrap();
    let old = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{old}:/usr/sbin:/sbin", programs.display());
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-eu", "-c", &format!("{BEGIN}\n{STEPS}")])
        .current_dir(folder)
        .env("PATH", path)
        .env_remove("RAMBLK_API")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "(of libvirt-daemon-system and libvirt-clients; scripts/setup --soak installs them)\n\
         {}\n{said}",
        String::from_utf8_lossy(&output.stdout)
    );
}
