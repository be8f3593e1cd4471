# How scripts fetch Debian's packages to unpack them. The script that sources this has a function `say`.
# shellcheck shell=bash

# Without package lists (a fresh container) or with stale ones a download fails: fetches them then.
with_lists() {
    if ! "$@" 2>/dev/null; then
        say "fetching the package lists"
        if ((EUID == 0)); then apt-get -qq update; else sudo apt-get -qq update; fi
        "$@"
    fi
}

# download FOLDER PACKAGE...: fetches packages into a folder that has nothing else then.
download() {
    local folder=$1
    shift
    if (($# > 9)); then say "downloading $# packages"; else say "downloading $*"; fi
    rm -rf "$folder"
    mkdir -p "$folder"
    # As root apt wants to fetch as its own user, who may not write here: harmless, so say root.
    (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download "$@")
}
