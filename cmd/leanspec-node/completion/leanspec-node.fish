# Completions of leanspec-node for fish. The program itself makes them.
function __leanspec_node_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l flag (string match -r -- '^--[^=]*=' "$current")
    set -l value (string replace -r -- '^--[^=]*=' '' "$current")
    for line in ($words[1] complete -- $words[2..] "$current" 2>/dev/null)
        switch $line
            case :files
                printf "$flag%s\n" (__fish_complete_path "$value")
            case :dirs
                printf "$flag%s\n" (__fish_complete_directories "$value")
            case '*'
                echo $line
        end
    end
end
complete -c leanspec-node -f -a '(__leanspec_node_complete)'
