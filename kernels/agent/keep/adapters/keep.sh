# shellcheck shell=bash disable=SC2034
# The state of a bash as one stream, and back: docs/parking-format.md has the frames.
#
# It is sourced by a silent request: save, busy and begin in a subshell, which has all that
# the shell has and leaves nothing in it; load in the shell itself. The array __elastichub has
# what is asked for, the path to which the answer is written, a JSON document in a line, and
# the path of the stream. For save seconds and max_bytes follow. One record has everything: a
# script that makes it again.
#
# Not kept are descriptors that were opened by exec, coprocesses and jobs. Variables that the
# process was started with are those of the new process, unless they were changed.

case ${__elastichub[0]} in
load)
  __elastichub[3]=$(__elastichub[0]="read"; builtin . "${BASH_SOURCE[0]}")
  builtin eval "${__elastichub[3]#*$'\n'}" 2>/dev/null
  (__elastichub[0]=loaded; builtin . "${BASH_SOURCE[0]}")
  builtin unset __elastichub
  ;;
*)
  # From here on in a subshell.
  __eh_aliases=$(builtin alias -p) __eh_traps=$(builtin trap -p) __eh_functions=$(builtin declare -f)
  __eh_shopt=$(builtin shopt -p) __eh_set=$(builtin set +o) __eh_umask=$(builtin umask -p)
  __eh_self=$BASHPID __eh_dirs=("${DIRSTACK[@]}") __eh_seconds=$SECONDS
  __eh_names=$(builtin compgen -v) __eh_given="builtin set --${1+$(builtin printf ' %q' "$@")}"
  __eh_IFS=$(builtin declare -p IFS) __eh_PATH=$(builtin declare -p PATH) __eh_path=$PATH
  __eh_LC_ALL=$(builtin declare -p LC_ALL 2>/dev/null) __eh_attributes=$(builtin declare -F)
  # Nothing of the user's is in the way.
  builtin unalias -a
  builtin set +eufxvC
  builtin shopt -u extdebug nullglob failglob
  builtin trap - DEBUG ERR RETURN EXIT
  # shellcheck disable=SC2046 # names of functions
  builtin unset -f $(builtin compgen -A function)
  builtin . "${BASH_SOURCE%/*}/subshell.sh"
  ;;
esac
