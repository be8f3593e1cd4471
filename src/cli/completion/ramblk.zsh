#compdef ramblk
# Completions of ramblk for zsh. The daemon is asked for names; without one there are none.
_ramblk() {
    local -a values texts
    local line value
    for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        value=${line%%$'\t'*}
        values+=("$value")
        [[ $line == *$'\t'* ]] && texts+=("$value  -- ${line#*$'\t'}") || texts+=("$value")
    done
    (( ${#values} )) || { _default; return }
    compadd -l -d texts -a values
}
if [[ $funcstack[1] == _ramblk ]]; then
    _ramblk "$@"
else
    compdef _ramblk ramblk
fi
