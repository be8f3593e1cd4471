#!/usr/bin/env bash
# The part of scripts/check-service that runs in the guest, as root, under its systemd.
#
#   service.sh usual             the whole life of the service, confined by all that the kernel has
#   service.sh without-modules   a kernel without AppArmor and Landlock
set -euo pipefail
cd "$(dirname "$0")"
stty -F /dev/ttyS1 raw -echo
tests=check-service
. ./common.sh

CONFIG=/etc/ramblk/ramblk.toml
DROP_INS=/etc/systemd/system/ramblk.service.d
IMAGE=http://images.example.com/content.raw
# The API's socket for reading.
READERS=/run/ramblk/api-ro.sock

# What went wrong may only be in the journal. The guest ends with the tests.
ended() {
    local status=$?
    if ((status)); then
        journalctl --no-pager -o cat -u ramblk.service | tail -n 40
        dmesg | grep -E 'audit|apparmor' | tail -n 20
        systemctl --no-pager --failed
    fi
    # So that the serial port has sent it all.
    sleep 1
    systemctl poweroff --force --force
}
trap ended EXIT

as() { runuser -u "$1" -- "${@:2}"; }
main_process() { systemctl show -p MainPID --value ramblk.service; }
version() { ramblk ping -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])'; }
# Everything that the daemon has logged since it started last.
logged() { journalctl --no-pager -o cat "_SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value ramblk)"; }
has_logged() { grep -q -e "$1" <<<"$(logged)"; }

# until_true COMMAND...: waits for it.
until_true() {
    local _
    for _ in {1..150}; do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    die "in vain: $*"
}

# set_option KEY VALUE: in the configuration file, where each key is a comment.
set_option() {
    sed -i "s|^#\?$1 = .*|$1 = $2|" $CONFIG
    grep -q "^$1 = " $CONFIG || die "$CONFIG has no key $1"
}
unset_option() { sed -i "s|^$1 = |#&|" $CONFIG; }

# drop_in NAME LINE...: as `systemctl edit` does; in force from the next start on.
drop_in() {
    mkdir -p $DROP_INS
    { echo '[Service]'; printf '%s\n' "${@:2}"; } >"$DROP_INS/$1.conf"
    systemctl daemon-reload
}
no_drop_ins() {
    rm -rf $DROP_INS
    systemctl daemon-reload
}

# Neither AppArmor nor a filter of system calls has refused anything of the service.
check_refusals() {
    local found
    found=$(dmesg | grep -E 'apparmor="(DENIED|ERROR)"|type=1326' || true)
    [[ -z $found ]] || die "refused $1: $found"
}

# check_confined NAME CAPABILITIES PROFILE: all processes of the service have no more than this.
check_confined() {
    local process words
    for process in $(cat "/sys/fs/cgroup/system.slice/ramblk.service/cgroup.procs"); do
        words=$(awk '/^(CapEff|NoNewPrivs|Seccomp):/ { printf "%s ", $2 }' "/proc/$process/status")
        [[ $words == "$1 1 2 " ]] || die "process $process has CapEff, NoNewPrivs, Seccomp: $words"
        # Without such a module it can't be read.
        words=$(cat "/proc/$process/attr/current" 2>/dev/null || true)
        [[ $words == "$2" ]] || die "process $process has the AppArmor profile '$words', not '$2'"
    done
}

# The daemon works, and its disk is as it was when `digest` was set.
check_disk() {
    until_true ramblk ping
    [[ $(ramblk digest one) == "$digest" ]] || die "the disk is lost: $1"
}

install_and_start() {
    ip link set lo up
    listed "" >/run/before
    quietly dpkg -i one.deb
    useradd --groups kvm member
    useradd stranger
    systemctl --quiet is-enabled ramblk.service ramblk.socket || die "the service is not enabled"
    quietly systemctl status ramblk.service ramblk.socket
    until_true has_logged 'sandbox="on"'
    if logged | grep -E ' (WARN|ERROR) '; then die "the start has a warning"; fi
    [[ $(pgrep -c -f 'ramblk --helper broker') == 1 ]] || die "there is no broker"
    quietly ramblk doctor
    quietly as ramblk env RUNTIME_DIRECTORY=/run/ramblk ramblk serve --check --config $CONFIG --socket-group kvm
    passed "the package installs, and its service is active"
}

# The package has the socket for reading, not enabled. It can't start while the service runs.
enable_reading() {
    if systemctl --quiet is-enabled ramblk-ro.socket; then die "the socket for reading is enabled"; fi
    quietly systemctl stop ramblk.socket ramblk.service
    quietly systemctl enable --now ramblk-ro.socket
    systemctl start ramblk
    quietly as member ramblk list --api-socket $READERS
    fails 'api.sock' as member ramblk create six --size 1M --api-socket $READERS
    passed "the socket for reading serves once it is enabled"
}

use_disks() {
    quietly ramblk create one --size 64M
    quietly as member ramblk create two --size 64M
    # As in a session, where the user has a place for a daemon of its own.
    install -d -o member -m 700 /run/user/7
    grep -qx two <<<"$(as member env XDG_RUNTIME_DIR=/run/user/7 ramblk list -o name)" || die "a member finds no daemon"
    fails 'Permission denied' as stranger ramblk list
    quietly ramblk bench /run/ramblk/one/vhost.sock --op write --verify --requests 2000 --driver sleep
    quietly as member ramblk bench /run/ramblk/two/vhost.sock --op write --verify --requests 2000 --driver sleep
    fails 'Permission denied' as stranger ramblk bench /run/ramblk/two/vhost.sock --requests 1
    insmod ./nbd.ko
    ramblk nbd one --rw --socket /run/nbd.sock >/dev/null &
    local server=$!
    until_true test -S /run/nbd.sock
    quietly nbd-client -unix /run/nbd.sock /dev/nbd0
    quietly mkfs.ext4 -q /dev/nbd0
    mount /dev/nbd0 /mnt
    cp one.deb /mnt/
    umount /mnt
    mount -o ro /dev/nbd0 /mnt
    cmp one.deb /mnt/one.deb
    umount /mnt
    quietly nbd-client -d /dev/nbd0
    kill $server
    wait $server || true
    quietly ramblk snapshot one before
    digest=$(ramblk digest one)
    passed "root and members of the group use disks, and nobody else does"
}

end_and_return() {
    local before
    before=$(main_process)
    kill -KILL "$before"
    until_true sh -c "[ \"\$(systemctl show -p MainPID --value ramblk)\" -gt 0 ] && ramblk ping"
    [[ $(main_process) != "$before" ]] || die "the daemon was not killed"
    check_disk "after SIGKILL"
    systemctl restart ramblk
    check_disk "after a restart"
    printf '[[disk]]\nname = "three"\nsize = "16M"\n' >>$CONFIG
    systemctl reload ramblk
    ramblk show three >/dev/null || die "a reload makes no disk"
    cp $CONFIG /run/good.toml
    echo 'from_the_future = 1' >>$CONFIG
    fails 'Job for ramblk.service failed' systemctl reload ramblk
    cp /run/good.toml $CONFIG
    kill -HUP "$(main_process)"
    until_true sh -c 'ramblk events --since 5m --no-follow | grep -q reloaded'
    # By the broker: the daemon itself may not.
    rm -r /run/ramblk/two
    until_true test -S /run/ramblk/two/vhost.sock
    systemctl --quiet is-active ramblk.service || die "the service is not active"
    passed "disks outlive SIGKILL and restarts, a reload applies the file, and removed sockets come back"
}

fetch_images() {
    head -c 5M /dev/urandom >content
    python3 answers.py servers content &
    servers=$!
    for _ in {1..100}; do [[ -e content.served ]] && break; sleep 0.1; done
    echo 'nameserver 127.0.0.1' >/etc/resolv.conf
    quietly ramblk image pull $IMAGE --name golden
    quietly ramblk create four --image image://golden
    quietly as member ramblk create five --image $IMAGE
    ramblk export four /run/four.raw >/dev/null
    ramblk export five /run/five.raw >/dev/null
    cmp /run/four.raw content
    cmp /run/five.raw content
    rm /run/four.raw /run/five.raw
    quietly ramblk destroy five
    check_refusals "until images were fetched"
    passed "images come from another host, and nothing was refused so far"
}

# What the pages offer by drop-ins.
use_drop_ins() {
    local said
    fails 'CAP_CHOWN' ramblk set one --socket-owner stranger
    drop_in owner CapabilityBoundingSet=CAP_CHOWN AmbientCapabilities=CAP_CHOWN
    systemctl restart ramblk
    quietly ramblk set one --socket-owner stranger
    systemctl restart ramblk
    [[ $(stat -c %U /run/ramblk/one/vhost.sock) == stranger ]] || die "the socket has another owner"
    quietly as stranger ramblk bench /run/ramblk/one/vhost.sock --requests 1000 --driver sleep
    quietly ramblk set one --socket-owner none
    check_confined 0000000000000001 "$1"
    no_drop_ins
    drop_in net PrivateNetwork=no "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6" \
        Environment=RAMBLK_LOG_FORMAT=journald
    set_option metrics_listen '"127.0.0.1:9111"'
    systemctl restart ramblk
    said=$(python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:9111/metrics").read().decode())')
    grep -q '^ramblk_' <<<"$said" || die "there are no metrics"
    until_true sh -c 'journalctl --no-pager -t ramblk -o json | grep "\"DISKS\""'
    unset_option metrics_listen
    no_drop_ins
    systemctl restart ramblk
    check_disk "after drop-ins"
    check_refusals "with drop-ins"
    passed "owners of sockets, metrics over TCP and messages for the journal work by drop-ins"
}

# Disks in locked memory, which systemd keeps in its store.
keep_in_systemd() {
    set_option lock_memory true
    systemctl restart ramblk
    check_confined 0000000000000000 "$1"
    check_disk "in locked memory"
    quietly ramblk export one /run/one.raw
    systemctl stop ramblk.socket ramblk.service
    rm /run/ramblk/arena
    set_option state_dir '"systemd"'
    systemctl start ramblk
    quietly ramblk create one --image /run/one.raw
    check_disk "after an export"
    systemctl restart ramblk
    check_disk "after a restart with systemd's store"
    kill -KILL "$(main_process)"
    until_true ramblk ping
    check_disk "after SIGKILL with systemd's store"
    passed "disks outlive the daemon in systemd's store, in locked memory"
}

# upgrade DEB: the daemon is of another version afterwards, with the same disk.
upgrade() {
    local before
    before=$(version)
    dpkg --force-confold -i "$1" >/run/dpkg.log 2>&1 </dev/null || die "dpkg fails: $(cat /run/dpkg.log)"
    until_true ramblk ping
    [[ $(version) != "$before" && $(version) == "$(ramblk --version | cut -d ' ' -f 2)" ]] ||
        die "$1 leaves the daemon of version $(version): $(cat /run/dpkg.log)"
    check_disk "by the upgrade to $1"
    systemctl --quiet is-active ramblk.service || die "the service is not active"
}

# A package that can't read the disks leaves the daemon as it is.
refuse_other_layouts() {
    local before
    before=$(main_process)
    fails 'this version reads layouts 98 to 99' dpkg --force-confold -i newer.deb
    [[ $(main_process) == "$before" ]] || die "the service restarts after an upgrade that was refused"
    check_disk "by an upgrade that was refused"
    passed "an upgrade that is refused leaves the daemon alone: $1"
}

upgrade_with_a_mistake() {
    local said
    cp $CONFIG /run/good.toml
    echo 'from_the_future = 1' >>$CONFIG
    said=$(dpkg --force-confold -i two.deb 2>&1 </dev/null)
    grep -q 'was not restarted' <<<"$said" || die "dpkg does not say that the daemon goes on: $said"
    check_disk "by an upgrade with a configuration that can't be read"
    cp /run/good.toml $CONFIG
    passed "upgrades keep the disk, and do not restart into a configuration that can't be read"
}

# Without a purge between, all that was enabled is active again.
remove_and_install() {
    quietly apt-get -qq remove -y ramblk
    if systemctl --quiet is-active ramblk.service; then die "the service outlives its package"; fi
    quietly dpkg --force-confold -i two.deb
    systemctl --quiet is-active ramblk.service || die "installing it again does not start the service"
    systemctl --quiet is-active ramblk-ro.socket || die "installing it again does not start the socket for reading"
    check_disk "by removing the package and installing it again"
    passed "a package that was removed and installed again serves the same disks"
}

purge() {
    check_refusals "until the package was removed"
    kill "$servers"
    quietly apt-get -qq purge -y ramblk
    userdel member
    userdel stranger
    listed "" >/run/after
    diff /run/before /run/after || die "the purge leaves something"
    [[ ! -e /run/ramblk ]] || die "the purge leaves /run/ramblk"
    if pgrep -a ramblk; then die "the purge leaves processes"; fi
    if systemctl list-units --all --no-legend | grep ramblk; then die "the purge leaves units"; fi
    if grep ramblk /sys/kernel/security/apparmor/profiles; then die "the purge leaves a profile"; fi
    passed "a purge leaves nothing"
}

# What the kernel lacks is said, and it is for the mode of the sandbox to decide what that means.
without_modules() {
    quietly dpkg -i one.deb
    systemctl --quiet is-active ramblk.service || die "the service is not active"
    until_true has_logged 'WARN.*the sandbox is incomplete.*landlock'
    check_confined 0000000000000000 ""
    quietly ramblk create one --size 8M
    quietly ramblk bench /run/ramblk/one/vhost.sock --op write --verify --requests 1000 --driver sleep
    grep -q 'note  *landlock  *the kernel runs without' <<<"$(ramblk doctor)" || die "doctor says nothing of Landlock"
    passed "without AppArmor and Landlock the service warns, and confines itself by the rest"
    set_option sandbox '"strict"'
    fails 'Job for ramblk.service failed' systemctl restart ramblk
    until_true sh -c 'journalctl --no-pager -o cat -u ramblk | grep "^error.*landlock, 5.13 or newer"'
    passed "a strict sandbox refuses to start there"
    set_option sandbox '"off"'
    systemctl stop ramblk
    systemctl reset-failed ramblk
    systemctl start ramblk
    ramblk show one >/dev/null || die "the disk is lost"
    passed "its disks are there for the next start that succeeds"
}

case $1 in
    usual)
        install_and_start
        check_confined 0000000000000000 "ramblk-serve (enforce)"
        use_disks
        end_and_return
        fetch_images
        enable_reading
        use_drop_ins "ramblk-serve (enforce)"
        upgrade two.deb
        upgrade_with_a_mistake
        refuse_other_layouts "disks in /run/ramblk"
        remove_and_install
        keep_in_systemd "ramblk-serve (enforce)"
        refuse_other_layouts "disks in systemd's store"
        upgrade one.deb
        purge
        ;;
    without-modules) without_modules ;;
esac
# The host looks for this line.
echo "all passed"
