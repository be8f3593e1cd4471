# Completions of ramblk for bash. The daemon is asked for names; without one there are none.
_ramblk() {
    local line=${COMP_LINE:0:COMP_POINT} words=() found=() current before
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    current=${words[${#words[@]} - 1]}
    local IFS=$'\n'
    found=($("$1" __complete -- "${words[@]}" 2>/dev/null))
    found=("${found[@]%%$'\t'*}")
    # bash replaces only what comes after the last of these characters, such as @ and =.
    before=${current%"${current##*[$COMP_WORDBREAKS]}"}
    COMPREPLY=("${found[@]#"$before"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=@/] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -o nosort -F _ramblk ramblk 2>/dev/null || complete -o default -F _ramblk ramblk
