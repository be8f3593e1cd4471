# What the scripts of the .deb and of the .rpm do alike. scripts/package puts it into each of them, with
# the layouts of disks in memory that the packaged program reads.
OLDEST_LAYOUT=@OLDEST_LAYOUT@
LAYOUT=@LAYOUT@

systemd_runs() { [ -d /run/systemd/system ]; }

say() { printf 'ramblk: %s\n' "$*" >&2; }

# The state directory that the configuration names: a path, "systemd", "none", or nothing.
state_dir() {
    sed -n "s/^[[:space:]]*state_dir[[:space:]]*=[[:space:]]*[\"']\([^\"']*\).*/\1/p" \
        /etc/ramblk/ramblk.toml 2>/dev/null || true
}

# held PROCESS: its descriptors of files that may hold disks, by their names. Their first bytes tell for sure.
# The daemon that has made a file of disks made it without a name, and the kernel goes on calling it so.
held() {
    for fd in "$1"/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in
            "/memfd:ramblk (deleted)" | */arena | */"#"[0-9]*" (deleted)") if [ -f "$fd" ]; then echo "$fd"; fi ;;
        esac
    done
}

# The places where the disks of a running daemon, or of one that comes back, may lie.
arenas() {
    for file in /run/ramblk/arena "$(state_dir)/arena"; do
        if [ -f "$file" ]; then echo "$file"; fi
    done
    # While no daemon runs, only systemd's store has them.
    held /proc/1
    for process in /proc/[0-9]*; do
        # Of an upgrade that was broken off, the running program may be a removed file.
        case $(readlink "$process/exe" 2>/dev/null) in
            /usr/bin/ramblk | "/usr/bin/ramblk (deleted)" | /usr/bin/ramblk.dpkg-*) ;;
            *) continue ;;
        esac
        # That of a container is another program, which this package doesn't replace.
        if [ "$process/root" -ef / ]; then held "$process"; fi
    done
}

# Refuse if this program can't read the disks that are in memory. Nothing was stopped or replaced yet.
check_layout() {
    arenas | while IFS= read -r arena; do
        # The superblock begins with 'ramblk', a zero, 'A', and the number of the layout.
        magic=$(od -An -tx1 -N8 "$arena" 2>/dev/null | tr -d ' \n')
        [ "$magic" = 72616d626c6b0041 ] || continue
        layout=$(od -An -tu8 -j8 -N8 "$arena" | tr -d ' \n')
        if [ "$layout" -le "$LAYOUT" ] && [ "$layout" -ge "$OLDEST_LAYOUT" ]; then continue; fi
        case $arena in
            /proc/*) place=$(readlink "$arena") ;;
            *) place=$arena ;;
        esac
        case $place in
            */"#"*) place=${place%/*}/arena drop="remove ${place%/*}/arena" ;;
            /memfd:*) drop="have systemd drop them if it keeps them ('systemctl clean --what=fdstore ramblk')" ;;
            *) drop="remove $place" ;;
        esac
        say "the disks in memory ($place) have layout $layout, and this version reads layouts" \
            "$OLDEST_LAYOUT to $LAYOUT. Nothing was changed: the daemon and its disks go on. Install a" \
            "version that reads it; or export the disks ('ramblk export'), stop the daemon, $drop, and" \
            "install again."
        exit 1
    done || exit 1
}

# The user of the daemon, and the host's group for virtual machines.
make_user() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers ramblk.conf
        return
    fi
    getent group kvm >/dev/null || groupadd --system kvm
    getent group ramblk >/dev/null || groupadd --system ramblk
    getent passwd ramblk >/dev/null ||
        useradd --system --gid ramblk --home-dir / --no-create-home --shell /usr/sbin/nologin \
            --comment "RAM disks for virtual machines" ramblk
    usermod --append --groups kvm ramblk
}

load_profile() {
    if command -v aa-enabled >/dev/null && aa-enabled --quiet 2>/dev/null; then
        apparmor_parser --replace --write-cache /etc/apparmor.d/ramblk-serve ||
            say "the AppArmor profile was not loaded; the service runs without it"
    fi
}

# What load_profile has done, with the compiled profile.
unload_profile() {
    rm -f /var/cache/apparmor/*/ramblk-serve
    if command -v aa-enabled >/dev/null && aa-enabled --quiet 2>/dev/null; then
        apparmor_parser --remove /etc/apparmor.d/ramblk-serve 2>/dev/null || true
    fi
}

# What systemd has told the running daemon about its store (FDSTORE=N, from systemd 254 on). The default place of
# disks depends on it.
store_of_systemd() {
    process=$(systemctl show --property MainPID --value ramblk.service 2>/dev/null) || true
    { tr '\0' '\n' <"/proc/$process/environ" | grep -x 'FDSTORE=[0-9]*'; } 2>/dev/null || true
}

# Whether the new program could take over with its configuration and the disks that are there: else the
# running one stays. Places are those of the daemon's user, and limits those of the unit: a shell has less memory
# to lock, and fewer descriptors.
new_program_starts() {
    prlimit --pid $$ --memlock=unlimited --nofile=1048576 2>/dev/null || true
    # shellcheck disable=SC2046
    said=$(setpriv --reuid ramblk --regid ramblk --init-groups \
        env RUNTIME_DIRECTORY=/run/ramblk $(store_of_systemd) \
        /usr/bin/ramblk serve --check --config /etc/ramblk/ramblk.toml --socket-group kvm 2>&1) && return 0
    printf '%s\n' "$said" | grep -E '^(problem|error)' >&2
    return 1
}

say_how_to_start() {
    install -d -o ramblk -g ramblk -m 0755 /run/ramblk
    say "systemd does not run here, so nothing was started or restarted. To start the daemon:"
    say "  setpriv --reuid ramblk --regid ramblk --init-groups \\"
    say "    ramblk serve --config /etc/ramblk/ramblk.toml --run-dir /run/ramblk --socket-group kvm"
    say "To upgrade a running one, send it SIGTERM and start it again: its disks stay."
}

# The user, and what the daemon may have left in memory: its disks.
remove_traces() {
    rm -rf /run/ramblk
    if getent passwd ramblk >/dev/null; then
        userdel ramblk || say "the user ramblk stays, because it is in use"
    fi
    if getent group ramblk >/dev/null; then groupdel ramblk || true; fi
}
