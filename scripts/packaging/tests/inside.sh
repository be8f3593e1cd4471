#!/usr/bin/env bash
# The part of scripts/check-package that runs in namespaces of its own.
#
#   scripts/packaging/tests/inside.sh PACKAGES FOLDER
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
packages=$1 folder=$2
# The layout of disks in memory.
LAYOUT=$(sed -n 's/^pub(crate) const LAYOUT: u64 = \([0-9]*\);/\1/p' "$here/../../../src/store/base/limits.rs")
root=$folder/debian
tests=check-package
. "$here/common.sh"

inside() { chroot "$root" "$@"; }

# mounts TREE: what each system has. /run is a tmpfs, as it is everywhere.
mounts() {
    mkdir -p "$1/proc" "$1/run" "$1/dev" "$1/tmp"
    mount -t proc proc "$1/proc"
    mount -t tmpfs -o mode=755 run "$1/run"
    mount -t tmpfs -o mode=755 dev "$1/dev"
    local device
    for device in null zero full random urandom tty; do
        touch "$1/dev/$device"
        mount --bind "/dev/$device" "$1/dev/$device"
    done
}

# The value of a key of the service.
unit() { sed -n "s/^$1=//p" "$root/usr/lib/systemd/system/ramblk.service" | tail -n 1; }

# start [OPTION...]: starts the daemon as systemd would: its command line, user, groups, directory and limits.
# `told` is what else systemd puts into its environment.
told=()
start() {
    local command user groups directory
    command=$(unit ExecStart) user=$(unit User) directory=$(unit RuntimeDirectory)
    groups=$(unit Group),$(unit SupplementaryGroups)
    inside install -d -o "$user" -g "$user" -m "$(unit RuntimeDirectoryMode)" "/run/$directory"
    # A container may not raise it.
    prlimit --nofile="$(unit LimitNOFILE)" --pid $$ 2>/dev/null || true
    # shellcheck disable=SC2086
    env -i PATH=/usr/bin:/usr/sbin RUNTIME_DIRECTORY="/run/$directory" "${told[@]}" \
        chroot --userspec="$user:$(unit Group)" --groups="$groups" "$root" \
        $command "$@" >"$folder/daemon.log" 2>&1 &
    daemon=$!
    await "$root/run/ramblk/api.sock"
}

await() {
    local _
    for _ in {1..100}; do
        [[ -S $1 ]] && inside ramblk ping --api-socket "${1#"$root"}" >/dev/null 2>&1 && return
        kill -0 $daemon 2>/dev/null || break
        sleep 0.1
    done
    cat "$folder/daemon.log" >&2
    die "the daemon does not answer"
}

stop() {
    kill $daemon
    wait $daemon || die "the daemon ended with $?"
}

# A service manager that does nothing, and keeps what it was asked for.
fake_systemd() {
    mkdir -p "$root/run/systemd/system"
    cat >"$root/usr/bin/systemctl" <<'END'
#!/bin/sh
echo "$*" >>/run/asked
case "$*" in
    *is-enabled*ramblk-ro.socket*) echo disabled; exit 1 ;;
    *is-enabled*) echo enabled ;;
    *MainPID*) cat /run/main-process ;;
esac
END
    chmod 755 "$root/usr/bin/systemctl"
    : >"$root/run/asked"
}

no_systemd() { rm -rf "$root"/run/{systemd,asked,main-process} "$root/usr/bin/systemctl"; }

# asked WORDS: whether the service manager was asked for this since the last time.
asked() {
    local found=0
    grep -q -e "$1" "$root/run/asked" || found=1
    : >"$root/run/asked"
    return $found
}

version() { inside ramblk ping -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])'; }

# refused DEB REASON: dpkg must fail for this reason, and the daemon and its disk must be as before.
refused() {
    local before
    before=$(version)
    if inside dpkg -i "$1" >"$folder/dpkg.log" 2>&1; then die "dpkg installs $1"; fi
    grep -q "$2" "$folder/dpkg.log" || { cat "$folder/dpkg.log" >&2; die "dpkg does not say: $2"; }
    kill -0 $daemon || die "the daemon was stopped"
    [[ $(version) == "$before" && $(inside ramblk digest one) == "$digest" ]] || die "the disk changed"
    inside dpkg -s ramblk | grep -q '^Status: install ok installed' || die "the old package is not whole"
}

# upgrade_tells [WORDS]: an upgrade to the second package must restart the service; or with words, must say these
# and leave it as it is. There is a fake systemd.
upgrade_tells() {
    echo $daemon >"$root/run/main-process"
    : >"$root/run/asked"
    inside dpkg -i "/pkg/$two" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; die "dpkg fails"; }
    if (($#)); then
        if asked ' restart'; then die "the service restarts in spite of: $*"; fi
        grep 'was not restarted' "$folder/dpkg.log" >/dev/null && grep -q -e "$*" "$folder/dpkg.log" ||
            { cat "$folder/dpkg.log" >&2; die "dpkg does not say: $*"; }
    else
        asked ' restart ramblk.service' || { cat "$folder/dpkg.log" >&2; die "the service is not restarted"; }
    fi
}

# Upgrades look at disks wherever the daemon keeps them: not only in /run/ramblk, nor only while it runs.
check_places() {
    local config=$root/etc/ramblk/ramblk.toml place=/dev/shm/disks digest held
    mv "$root/run/ramblk/arena" "$root/run/arena"
    cp "$config" "$folder/config"
    inside install -d -o ramblk -g ramblk $place
    start --state-dir $place
    inside ramblk create one --size 8M >/dev/null
    digest=$(inside ramblk digest one)
    refused /pkg/newer.deb "($place/arena) have layout $LAYOUT, and this version reads layouts 98 to 99"
    stop
    # The daemon that finds the file has it under another name than the one that has made it.
    start --state-dir $place
    refused /pkg/newer.deb "($place/arena) have layout $LAYOUT, and this version reads layouts 98 to 99"
    stop
    sed -i "s|^#state_dir = .*|state_dir = \"$place\"|" "$config"
    fails "($place/arena) have layout $LAYOUT" inside dpkg -i /pkg/newer.deb
    start
    upgrade_tells
    sed -i 's|^state_dir = .*|state_dir = "/var"|' "$config"
    upgrade_tells '/var.* is on a file system'
    stop
    cp "$folder/config" "$config"
    rm -r "${root:?}$place"
    # With systemd's store, as from systemd 254 on, a file that an older one has left does not count.
    told=(FDSTORE=64)
    start
    told=()
    echo "no disks" >"$root/run/ramblk/arena"
    upgrade_tells
    rm "$root/run/ramblk/arena"
    # Once the daemon has ended, PID 1 alone has the memory, which is this script here.
    held=$(find "$root/proc/$daemon/fd" -lname '/memfd:ramblk (deleted)' | head -n 1)
    exec 9<"$held"
    stop
    fails "(/memfd:ramblk (deleted)) have layout $LAYOUT" inside dpkg -i /pkg/newer.deb
    exec 9<&-
    mv "$root/run/arena" "$root/run/ramblk/arena"
    passed "upgrades look at disks in any directory, by option or by the file, and in systemd's store"
}

check_deb() {
    local one two first second
    one=$(basename "$packages"/one/ramblk_*.deb) two=$(basename "$packages"/two/ramblk_*.deb)
    first=${one#ramblk_} first=${first%%-*} second=${two#ramblk_} second=${second%%-*}
    mkdir "$root"
    tar -C "$root" --exclude='./dev/*' -xf "$packages/debian-bookworm.tar"
    mounts "$root"
    listed "$root" >"$folder/before"
    mkdir "$root/pkg"
    cp "$packages/one/$one" "$packages/two/$two" "$root/pkg/"

    inside dpkg -i "/pkg/$one" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; die "dpkg fails"; }
    grep -q 'systemd does not run here' "$folder/dpkg.log" || die "a host without systemd is not told"
    [[ $(inside ramblk --version) == "ramblk $first" ]] || die "another version"
    inside ldd /usr/bin/ramblk 2>&1 | grep -qE 'statically linked|not a dynamic' || die "not static"
    inside /usr/libexec/vhost-user-ramblk --print-capabilities | grep -q '"block"' || die "no back end for QEMU"
    [[ $(inside id -nG ramblk) == "ramblk kvm" ]] || die "the user's groups are $(inside id -nG ramblk)"
    passed "the .deb installs without systemd, and says how to start"

    start
    [[ $(inside stat -c '%U:%G %a' /run/ramblk/api.sock) == "ramblk:kvm 660" ]] || die "the socket's owner"
    inside ramblk create one --size 64M >/dev/null
    head -c 5000000 /dev/urandom >"$folder/content"
    inside ramblk write one 1M <"$folder/content" >/dev/null
    inside ramblk snapshot one before >/dev/null
    digest=$(inside ramblk digest one)
    passed "its daemon runs by the unit's command line as ramblk, and has a disk"

    other_layouts "$root/pkg/$two" 0 0 "$root/pkg/older.deb"
    other_layouts "$root/pkg/$two" 98 99 "$root/pkg/newer.deb"
    refused /pkg/older.deb "have layout $LAYOUT, and this version reads layouts 0 to 0"
    refused /pkg/newer.deb "have layout $LAYOUT, and this version reads layouts 98 to 99"
    passed "a version that can't read the disks is refused before anything is stopped"

    inside dpkg -i "/pkg/$two" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; die "dpkg fails"; }
    kill -0 $daemon || die "the upgrade stopped the daemon"
    [[ $(version) == "$first" && $(inside ramblk --version) == "ramblk $second" ]] || die "no upgrade"
    stop
    start
    [[ $(version) == "$second" ]] || die "the new daemon is $(version)"
    [[ $(inside ramblk digest one) == "$digest" ]] || die "the upgrade lost the disk"
    inside ramblk show one | grep -q before || die "the upgrade lost the snapshot"
    passed "an upgrade from $first to $second keeps the disk"

    # Where systemd runs, the service restarts if the new program can take over, and else stays as it is.
    fake_systemd
    inside dpkg -i "/pkg/$two" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; die "dpkg fails"; }
    asked ' restart ramblk.service' || { cat "$folder/dpkg.log" >&2; die "the service is not restarted"; }
    # dpkg then runs the old package's script, which leaves the daemon alone.
    : >"$root/run/asked"
    refused /pkg/newer.deb 'this version reads layouts 98 to 99'
    if asked ' restart'; then die "the service restarts after an upgrade that was refused"; fi
    echo 'from_the_future = 1' >>"$root/etc/ramblk/ramblk.toml"
    inside dpkg -i "/pkg/$two" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; die "dpkg fails"; }
    if asked 'restart'; then die "the service restarts with a configuration that it can't read"; fi
    grep -q 'was not restarted' "$folder/dpkg.log" && grep -q 'from_the_future' "$folder/dpkg.log" ||
        { cat "$folder/dpkg.log" >&2; die "dpkg does not say why the service goes on"; }
    [[ $(inside ramblk digest one) == "$digest" ]] || die "the daemon does not go on"
    passed "with systemd an upgrade restarts the service, but not into a configuration that it can't read"

    stop
    if inside ramblk serve --config /etc/ramblk/ramblk.toml --run-dir /run/else >"$folder/said" 2>&1; then
        die "a configuration of a newer version is taken"
    fi
    grep -q 'from_the_future' "$folder/said" || die "not said: $(cat "$folder/said")"
    passed "a configuration of a newer version is refused by the name of its key"
    sed -i '/^from_the_future/d' "$root/etc/ramblk/ramblk.toml"
    check_places

    inside dpkg -r ramblk >/dev/null 2>&1
    asked 'stop ramblk.socket ramblk-ro.socket ramblk.service' || die "removing does not stop the service"
    inside dpkg -i "/pkg/$two" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; die "dpkg fails"; }
    asked ' start ramblk.socket ramblk.service' || die "installing it again does not start the service"
    inside dpkg -r ramblk >/dev/null 2>&1
    no_systemd
    [[ -e $root/etc/ramblk/ramblk.toml && -e $root/run/ramblk/arena ]] || die "removing took too much"
    inside dpkg --purge ramblk >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; die "no purge"; }
    rm -r "$root/pkg"
    listed "$root" >"$folder/after"
    diff "$folder/before" "$folder/after" || die "the purge leaves something"
    [[ -z $(inside dpkg-query -W ramblk 2>/dev/null) ]] || die "dpkg still knows it"
    passed "a purge leaves nothing"
}

# In a copy of the same tree: its database is of its own, and what it requires has other names.
check_rpm() {
    local words=(--root "$root" --dbpath /var/lib/rpm --nodeps) one two
    one=$(echo "$packages"/one/ramblk-*.rpm) two=$(echo "$packages"/two/ramblk-*.rpm)
    rpm "${words[@]}" -i "$one" >"$folder/rpm.log" 2>&1 || { cat "$folder/rpm.log" >&2; die "rpm fails"; }
    grep -q 'systemd does not run here' "$folder/rpm.log" || { cat "$folder/rpm.log"; die "rpm: not told"; }
    [[ $(inside id -nG ramblk) == "ramblk kvm" ]] || die "rpm: no user"
    start
    inside ramblk create two --size 8M >/dev/null
    local before
    before=$(version)
    if rpm "${words[@]}" -U "$packages/newer.rpm" >"$folder/rpm.log" 2>&1; then die "rpm installs $packages/newer.rpm"; fi
    grep -q "layout $LAYOUT, and this version reads layouts 98 to 99" "$folder/rpm.log" ||
        { cat "$folder/rpm.log" >&2; die "rpm does not say why it refuses"; }
    [[ $(version) == "$before" && $(rpm "${words[@]:0:4}" -q ramblk) == "$(basename "$one" .rpm)" ]] ||
        die "the old rpm is not whole"
    fake_systemd
    rpm "${words[@]}" -U "$two" >"$folder/rpm.log" 2>&1 || { cat "$folder/rpm.log" >&2; die "rpm fails"; }
    asked 'restart ramblk.service' || { cat "$folder/rpm.log" >&2; die "rpm: the service is not restarted"; }
    no_systemd
    stop
    start
    inside ramblk show two >/dev/null || die "rpm: the upgrade lost the disk"
    # Owners and modes too: nothing may differ from what the package says.
    rpm "${words[@]}" -V ramblk || die "rpm: files differ"
    stop
    fake_systemd
    rpm "${words[@]}" -e ramblk >"$folder/rpm.log" 2>&1 || { cat "$folder/rpm.log" >&2; die "rpm: not erased"; }
    asked 'disable --now ramblk.socket ramblk-ro.socket ramblk.service' || die "rpm: erasing does not stop the service"
    no_systemd
    [[ ! -e $root/usr/bin/ramblk && ! -e $root/etc/ramblk ]] || die "rpm leaves files"
    [[ ! -e $root/usr/share/doc/ramblk && ! -e $root/usr/share/licenses/ramblk ]] ||
        die "rpm leaves $(find "$root"/usr/share/{doc,licenses}/ramblk 2>/dev/null)"
    passed "the .rpm installs, refuses disks that it can't read, upgrades with the disk kept, and is erased"
}

check_tarball() {
    local bare=$folder/bare
    mkdir "$bare"
    tar -C "$bare" --strip-components=1 -xf "$(echo "$packages"/one/ramblk-*-linux.tar.xz)"
    mounts "$bare"
    chroot "$bare" /usr/bin/ramblk run --size 1M --socket-path /run/s >/dev/null 2>"$folder/said" &
    daemon=$!
    local _
    for _ in {1..100}; do [[ -S $bare/run/s ]] && break; sleep 0.1; done
    chroot "$bare" /usr/bin/ramblk bench /run/s --op read --seconds 1 >"$folder/bench" || die "the tarball's program"
    stop
    passed "the tarball's program serves a disk where no other file is"
}

check_image() {
    local bundle=$folder/bundle layout=$folder/layout
    mkdir "$layout"
    tar -C "$layout" -xf "$(echo "$packages"/one/ramblk-*-oci.tar)"
    umoci unpack --image "$layout:$(python3 "$here/answers.py" tag "$layout")" "$bundle" >/dev/null 2>&1 ||
        die "umoci does not unpack the image"
    root=$bundle/rootfs
    [[ $(find "$root" -xdev -type f | wc -l) == 3 ]] || die "the image has more than its program and user"
    mounts "$root"
    # As the image says: its user, entry point and environment, and a tmpfs for disks.
    mkdir "$root/run/ramblk"
    mount -t tmpfs -o mode=755,uid=65532,gid=65532 ramblk "$root/run/ramblk"
    mapfile -t words < <(python3 "$here/answers.py" process "$bundle/config.json")
    [[ ${words[0]} == 65532:65532 ]] || die "the image runs as ${words[0]}"
    env -i PATH=/usr/sbin XDG_RUNTIME_DIR=/run chroot --userspec="${words[0]}" "$root" "${words[@]:1}" >"$folder/daemon.log" 2>&1 &
    daemon=$!
    in_image() { env -i PATH=/usr/sbin XDG_RUNTIME_DIR=/run chroot --userspec=65532:65532 "$root" /usr/bin/ramblk "$@"; }
    local _
    for _ in {1..100}; do in_image ping >/dev/null 2>&1 && break; sleep 0.1; done
    in_image create three --size 8M >/dev/null || { cat "$folder/daemon.log" >&2; die "the image serves no disk"; }
    stop
    passed "the OCI image unpacks, and its entry point serves a disk as an unprivileged user"

    # A server of names and a server of images, which only this network has.
    ip link set lo up
    python3 "$here/answers.py" servers "$folder/content" &
    local servers=$!
    for _ in {1..100}; do [[ -e $folder/content.served ]] && break; sleep 0.1; done
    # Any network needs certificates, which a host mounts into the container.
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
    in_image image inspect http://images.example.com/content.raw >"$folder/said" 2>&1 ||
        { cat "$folder/said" >&2; die "an image by a host's name is not read"; }
    if in_image image inspect http://other.example.com/content.raw >"$folder/said" 2>&1; then
        die "a name that there is not has an address"
    fi
    grep -q 'other.example.com' "$folder/said" || die "not said: $(cat "$folder/said")"
    echo '127.0.0.1 by-hand' >"$root/etc/hosts"
    in_image image inspect http://by-hand/content.raw >/dev/null || die "/etc/hosts is not read"
    kill $servers
    passed "host names work where there is no C library: by a server, and by /etc/hosts"
}

check_deb
check_rpm
check_tarball
check_image
