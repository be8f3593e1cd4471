//! Discard and write-zeroes as a guest's kernel sends them.

use crate::harness::{Guest, MIB, Machine, Ramblk};

#[test]
fn discarded_and_zeroed_ranges_read_as_zeros_and_give_memory_back() {
    let ramblk = Ramblk::run("64M", &[]);
    let job = "
        zeros() { # OFFSET and LENGTH in MiB
            dd if=/dev/vda bs=1M skip=$1 count=$2 iflag=direct | cmp -n $(($2 << 20)) - /dev/zero
        }
        part() { # OFFSET and LENGTH in MiB
            dd if=/dev/vda bs=1M skip=$1 count=$2 iflag=direct | sum
        }
        fill() {
            dd if=/dev/urandom of=/dev/vda bs=1M count=64 oflag=direct
        }
        fill
        # What is said about zeros below says nothing unless this is not zero already.
        if zeros 0 64; then fail 'random data is all zeros'; fi
        before=$(part 0 16) after=$(part 32 32)
        host measure full

        # A part: that part and no more.
        blkdiscard -o 16M -l 16M /dev/vda
        zeros 16 16
        check_eq 'what comes before the part' \"$(part 0 16)\" \"$before\"
        check_eq 'what comes after the part' \"$(part 32 32)\" \"$after\"
        host measure part

        blkdiscard /dev/vda
        zeros 0 64
        host measure discarded

        fill
        blkdiscard -z -o 16M -l 16M /dev/vda
        zeros 16 16
        if zeros 0 16; then fail 'zeroing a part reached before it'; fi
        if zeros 32 32; then fail 'zeroing a part reached behind it'; fi
        blkdiscard -z /dev/vda
        zeros 0 64
        host measure zeroed
    ";
    let mut guest = Guest::start(&Machine::new(), ramblk.socket(), job);

    guest.wait_for_request("measure full");
    let full = ramblk.resident();
    assert!(
        full >= 64 * MIB,
        "a disk full of 64 MiB holds only {full} bytes of memory"
    );
    guest.answer("ok");

    // For each stage, the least memory of the full disk that must be free again.
    for (stage, freed) in [("part", 15), ("discarded", 60), ("zeroed", 60)] {
        guest.wait_for_request(&format!("measure {stage}"));
        let limit = full - freed * MIB;
        let now = ramblk.resident_settled(limit);
        eprintln!(
            "{stage}: {} MiB of memory, {} MiB when full",
            now / MIB,
            full / MIB
        );
        assert!(
            now <= limit,
            "{stage}: ramblk still holds {now} bytes, {full} when full"
        );
        guest.answer("ok");
    }
    guest.finish();
}
