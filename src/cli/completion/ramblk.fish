# Completions of ramblk for fish. The daemon is asked for names; without one there are none.
function __ramblk_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    $words[1] __complete -- $words "$current" 2>/dev/null
end
complete --command ramblk --keep-order --no-files --arguments '(__ramblk_complete)'
