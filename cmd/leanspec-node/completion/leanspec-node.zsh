#compdef leanspec-node
# Completions of leanspec-node for zsh. The program itself makes them.
_leanspec_node() {
  local line
  local -a found
  for line in "${(@f)$("${words[1]/#\~/$HOME}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      :files) compset -P '*='; _files ;;
      :dirs) compset -P '*='; _files -/ ;;
      ?*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
    esac
  done
  (( ! $#found )) || _describe 'leanspec-node' found
}
if [ "$funcstack[1]" = _leanspec-node ]; then
  _leanspec_node "$@"
else
  compdef _leanspec_node leanspec-node
fi
