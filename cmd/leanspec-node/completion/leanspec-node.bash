# Completions of leanspec-node for bash. The program itself makes them.
_leanspec_node() {
  local line current=${COMP_WORDS[COMP_CWORD]} IFS=$'\n'
  COMPREPLY=()
  [ "$current" != = ] || current=
  while read -r line; do
    case $line in
      :files) compopt -o filenames; COMPREPLY+=($(compgen -f -- "$current")) ;;
      :dirs) compopt -o filenames; COMPREPLY+=($(compgen -d -- "$current")) ;;
      *) COMPREPLY+=("${line%%$'\t'*}") ;;
    esac
  done < <("${COMP_WORDS[0]/#\~/$HOME}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _leanspec_node leanspec-node
