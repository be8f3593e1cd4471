# What the parts of scripts/check-package and scripts/check-service do alike. Each sets `tests` to its name.

passed() { printf '%s: %s\n' "$tests" "$*"; }
die() { printf '%s: error: %s\n' "$tests" "$*" >&2; exit 1; }

# quietly COMMAND...: shows what it says only if it fails.
quietly() {
    local said
    said=$("$@" 2>&1 </dev/null) || { printf '%s\n' "$said" >&2; die "'$*' fails"; }
}

# fails REASON COMMAND...: it must fail, and say this.
fails() {
    local reason=$1 said
    shift
    if said=$("$@" 2>&1 </dev/null); then die "'$*' succeeds: $said"; fi
    grep -q -e "$reason" <<<"$said" || die "'$*' does not say '$reason': $said"
}

# other_layouts DEB OLDEST NEWEST TO: a package whose program would read only these layouts.
other_layouts() {
    local made=$folder/other
    rm -rf "$made"
    dpkg-deb -R "$1" "$made"
    sed -i -e "s/^OLDEST_LAYOUT=.*/OLDEST_LAYOUT=$2/" -e "s/^LAYOUT=.*/LAYOUT=$3/" "$made"/DEBIAN/p*inst
    sed -i 's/^Version: .*/Version: 9.9-1/' "$made/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone -b "$made" "$4" >/dev/null
}

# listed ROOT: all files in which a package could leave something, with what they are. "" is this system's root.
listed() {
    local root=$1
    find "$root/" -xdev ! -path "$root/var/lib/dpkg/*" ! -path "$root/var/log/*" ! -path "$root/pkg*" \
        ! -path "$root/var/cache/ldconfig/*" ! -path "$root/var/cache/apt/*" ! -path "$root/var/lib/apt/*" \
        ! -path "$root/tmp/*" ! -path "$root/var/tmp/*" ! -path "$root/check/*" ! -path "$root/etc/*-" -printf '%P %y %m %U %G %l\n' | sort
    cat "$root/etc/passwd" "$root/etc/shadow"
    # The group of virtual machines is the host's: it stays.
    grep -hv "^kvm:" "$root/etc/group" "$root/etc/gshadow"
    if [[ -n $root ]]; then find "$root/run" -printf 'run/%P\n' | sort; fi
}
