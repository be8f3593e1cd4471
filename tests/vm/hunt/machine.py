"""A guest of QEMU, without hardware support for it: what runs anywhere."""

import io
import json
import queue
import subprocess
import threading
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MEMORY = "768M"
# Brings up the packages' root, and runs the guest's part of the hunt in it.
JOB = """
set +x
mkdir -p /r
mount -t ext4 -o ro /dev/vdb /r
# The kernel itself asks for the modules of what is mounted, in this root.
mount -o bind /r/usr/lib/modules /lib/modules
for place in proc sys dev; do mount -o bind /$place /r/$place; done
for place in tmp run mnt; do mount -t tmpfs tmpfs /r/$place; done
mkdir -p /r/dev/shm
mount -t tmpfs tmpfs /r/dev/shm
umount /r/mnt
cp /sys/firmware/qemu_fw_cfg/by_name/opt/ramblk.hunt/raw /r/tmp/hunt.zip
exec chroot /r /usr/bin/python3 -B /tmp/hunt.zip
"""


class Died(Exception):
    """The machine ended, or said nothing for too long."""


def bundle(path):
    """Writes the guest's part of the hunt as one file that Python can run."""
    names = {"guest.py": "__main__.py"}
    with zipfile.ZipFile(path, "w") as bundled:
        for file in sorted(HERE.glob("*.py")):
            bundled.writestr(names.get(file.name, file.name), file.read_text())


class Machine:
    """A running guest. `disk` is the options of QEMU for its disk."""

    def __init__(self, work, disk):
        self.work = Path(work)
        guest, root = ROOT / "target/guest", ROOT / "target/hunt/root.ext4"
        words = f"""
            qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m {MEMORY} -smp 1
            -machine q35,memory-backend=mem
            -object memory-backend-memfd,id=mem,size={MEMORY},share=on
            -drive file={root},format=raw,if=none,id=root,readonly=on,file.locking=off
            -device virtio-blk-pci,drive=root,addr=0x6
            {disk},addr=0x5
            -kernel {guest}/vmlinuz -initrd {guest}/initramfs.cpio
            -fw_cfg name=opt/ramblk.job,file={work}/job.sh
            -fw_cfg name=opt/ramblk.hunt,file={work}/hunt.zip
            -serial stdio -nodefaults -display none -no-reboot
        """.split()
        self.process = subprocess.Popen(
            words + ["-append", "console=ttyS0 quiet panic=-1 no_timer_check"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.lines = queue.Queue()
        self.transcript = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in io.TextIOWrapper(self.process.stdout, errors="replace"):
            line = line.rstrip("\r\n")
            self.transcript.append(line)
            if line.startswith("@"):
                self.lines.put(line)
        self.lines.put(None)

    def tell(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, seconds):
        """The guest's next line that begins with @."""
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            raise Died(f"the guest says nothing for {seconds} s") from None
        if line is None or line.startswith("@fail"):
            raise Died(f"the guest fails: {line}\n" + "\n".join(self.transcript[-30:]))
        return line

    def order(self, do, case, mark=""):
        self.tell(json.dumps({"do": do, "case": case, "mark": mark}))

    def kill(self):
        self.process.kill()
        self.process.wait()
