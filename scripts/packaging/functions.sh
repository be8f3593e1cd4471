# What the scripts of the .deb and of the .rpm do alike. scripts/package puts it into each of them, with
# the layouts of disks in memory that the packaged program reads.
OLDEST_LAYOUT=@OLDEST_LAYOUT@
LAYOUT=@LAYOUT@

systemd_runs() { [ -d /run/systemd/system ]; }

say() { printf 'ramblk: %s\n' "$*" >&2; }

# The places where the disks of a running daemon, or of one that comes back, may lie.
arenas() {
    if [ -f /run/ramblk/arena ]; then echo /run/ramblk/arena; fi
    for exe in /proc/[0-9]*/exe; do
        # Of an upgrade that was broken off, the running program may be a removed file.
        case $(readlink "$exe" 2>/dev/null) in
            /usr/bin/ramblk | "/usr/bin/ramblk (deleted)" | /usr/bin/ramblk.dpkg-*) ;;
            *) continue ;;
        esac
        for fd in "${exe%/exe}"/fd/*; do
            case $(readlink "$fd" 2>/dev/null) in
                "/memfd:ramblk (deleted)") echo "$fd" ;;
            esac
        done
    done
}

# Refuse if this program can't read the disks that are in memory. Nothing was stopped or replaced yet.
check_layout() {
    for arena in $(arenas); do
        # The superblock begins with 'ramblk', a zero, 'A', and the number of the layout.
        magic=$(od -An -tx1 -N8 "$arena" 2>/dev/null | tr -d ' \n')
        [ "$magic" = 72616d626c6b0041 ] || continue
        layout=$(od -An -tu8 -j8 -N8 "$arena" | tr -d ' \n')
        if [ "$layout" -gt "$LAYOUT" ] || [ "$layout" -lt "$OLDEST_LAYOUT" ]; then
            say "the disks in memory ($arena) have layout $layout, and this version reads layouts" \
                "$OLDEST_LAYOUT to $LAYOUT. Nothing was changed: the daemon and its disks go on. Install a" \
                "version that reads it; or export the disks ('ramblk export'), stop the daemon, remove" \
                "$arena, and install again."
            exit 1
        fi
    done
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

# Whether the new program could take over with its configuration and the disks that are there: else the
# running one stays. Places are those of the daemon's user, and limits those of the unit: a shell has less memory to
# lock, and fewer descriptors.
new_program_starts() {
    prlimit --pid $$ --memlock=unlimited --nofile=1048576 2>/dev/null || true
    set -- --config /etc/ramblk/ramblk.toml --socket-group kvm
    # Without a file of disks in its directory, systemd keeps them.
    if systemd_runs && [ ! -e /run/ramblk/arena ]; then set -- "$@" --state-dir systemd; fi
    said=$(setpriv --reuid ramblk --regid ramblk --init-groups env RUNTIME_DIRECTORY=/run/ramblk \
        /usr/bin/ramblk serve --check "$@" 2>&1) && return 0
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
