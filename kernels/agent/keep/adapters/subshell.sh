# shellcheck shell=bash disable=SC2154
# What keep.sh does in a subshell, where nothing of the user's is in the way.

IFS=$' \t\n' LC_ALL=C PATH=$PATH:/usr/bin:/bin
FORMAT=1

# Names that bash gives itself, or the kernel: its prompts are how it knows that a command has ended.
OWN=" _ BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_COMMAND BASH_EXECUTION_STRING
 BASH_LINENO BASH_SOURCE BASH_SUBSHELL BASH_VERSINFO BASH_VERSION BASH_MONOSECONDS BASH_TRAPSIG COLUMNS COMP_WORDBREAKS DIRSTACK
 EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD HOSTTYPE LC_ALL IFS LINENO LINES MACHTYPE OSTYPE PATH PIPESTATUS
 PPID PROMPT_COMMAND PS0 PS1 PS2 PWD RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID FORMAT OWN "

# Others that are there without the user.
MADE=" BASH_REMATCH HISTCONTROL HISTFILE HISTFILESIZE HISTSIZE HOSTNAME IFS MAILCHECK OLDPWD OPTERR OPTIND PAGER PS4 TERM "

json() { # TEXT
  local text=$1 character out="" i
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  for ((i = 0; i < ${#text}; i++)); do
    character=${text:i:1}
    if [[ $character == [[:cntrl:]] ]]; then
      builtin printf -v character '\\u%04x' "'$character"
    fi
    out+=$character
  done
  builtin printf '"%s"' "$out"
}

frame() { # LETTER CONTENT
  local size=${#2} head="" i
  for ((i = 0; i < 8; i++)); do
    builtin printf -v head '%s\\x%02x' "$head" $((size & 255))
    size=$((size >> 8))
  done
  # shellcheck disable=SC2059 # the bytes are escapes
  builtin printf "$1$head"
  builtin printf '%s' "$2"
}

# processes sets found to documents of the user's child processes: a subshell does not know its
# shell's jobs.
processes() {
  local each line fields
  found=
  for each in /proc/[0-9]*/stat; do
    { builtin read -r line <"$each"; } 2>/dev/null || continue
    builtin read -r -a fields <<<"${line##*) }"
    [[ ${fields[1]} == "$$" && ${fields[0]} != Z && ${line%% *} != "$__eh_self" ]] || continue
    found+="${found:+,}{\"kind\":\"process\",\"name\":\"${line%% *}\"}"
  done
}

# descriptors sets found to documents of what exec has opened.
descriptors() {
  local each name target
  found=
  for each in "/proc/$$/fd/"*; do
    name=${each##*/}
    target=$(builtin type -P readlink >/dev/null && readlink "$each")
    [[ $name -gt 2 && $name -ne 255 && $target != /dev/ptmx && $target != /dev/pts/* ]] || continue
    found+="${found:+,}{\"name\":\"$name\",\"type\":\"descriptor\",\"why\":$(json "it is open in a process that is gone: $target")}"
  done
}

answer() { # DOCUMENT
  builtin printf '%s\n' "$1" >"${__elastichub[1]}"
}

# declaration_of sets declaration to what makes a variable again; it fails for one that is as the
# process was started with it.
declaration_of() { # NAME
  declaration=$(builtin declare -p "$1" 2>/dev/null) || return
  ! [[ -v started[$1] && $declaration == "declare -x $1="* && ${!1} == "${started[$1]}" ]]
}

# state sets script to what makes the shell again, count to the number of its variables and
# functions, and skipped.
state() {
  local -A started=()
  local entry name declaration value skip=" ${__elastichub_skip__[*]} "
  while IFS= builtin read -r -d '' entry; do
    started[${entry%%=*}]=${entry#*=}
  done </proc/$$/environ
  script="" count=0 skipped=""
  for name in $__eh_names; do
    [[ $OWN == *[[:space:]]${name}[[:space:]]* || $name == __elastichub || $name == __eh_* ]] && continue
    declaration_of "$name" || continue
    if [[ $skip == *" $name "* ]]; then
      skipped+="${skipped:+,}{\"name\":$(json "$name"),\"type\":\"variable\",\"why\":\"it was left out by __elastichub_skip__\"}"
      continue
    fi
    script+=$declaration$'\n'
    [[ $MADE == *[[:space:]]${name}[[:space:]]* ]] || count=$((count + 1))
  done
  for name in "${!started[@]}"; do
    [[ $OWN != *[[:space:]]${name}[[:space:]]* && $name == [a-zA-Z_]* && ! $name =~ [^a-zA-Z0-9_] ]] || continue
    builtin declare -p "$name" &>/dev/null || script+="builtin unset $name"$'\n'
  done
  [[ $__eh_path == "${started[PATH]}" ]] || script+=${__eh_PATH}$'\n'
  while IFS= builtin read -r name; do
    [[ -z $name || $name == "declare -f "* ]] || __eh_functions+=$'\n'$name
  done <<<"$__eh_attributes"
  builtin printf -v value '%s\n' "$__eh_IFS" "$__eh_LC_ALL" "$__eh_given" "$__eh_functions" "builtin cd ${PWD@Q}" "builtin dirs -c"
  for ((entry = ${#__eh_dirs[@]} - 1; entry > 0; entry--)); do
    name=${__eh_dirs[entry]}
    [[ $name == '~'* ]] && name=$HOME${name#'~'}
    value+="builtin pushd -n ${name@Q} >/dev/null"$'\n'
  done
  script+=$value
  builtin printf -v value '%s\n' "SECONDS=$__eh_seconds" "$__eh_umask" "$__eh_aliases" "$__eh_shopt" "${__eh_set//set [-+]o history$'\n'/}" "$__eh_traps"
  script+=$value
}

save() {
  local found report lost began=$EPOCHREALTIME limit=${__elastichub[3]:-0}
  state
  descriptors
  lost=$found
  processes
  report="\"variables\":$count,\"state_lost\":[$lost${lost:+${found:+,}}${found//\"kind\":\"process\"/\"type\":\"process\",\"why\":\"it is a child of a process that is gone\"}]"
  [[ -z $lost$found ]] && report+=,\"whole\":true || report+=,\"whole\":false
  report+=",\"skipped\":[$skipped],\"lost\":[],\"holes\":[],\"still_lost\":[],\"again\":[],\"background\":[$found]"
  if ((limit > 0 && ${#script} > limit)); then
    answer '{"outcome":"too large"}'
    return
  fi
  if {
    frame H "{\"format\":$FORMAT,\"language\":\"bash\",\"bash\":\"$BASH_VERSION\",\"variables\":$count,\"records\":1}" &&
      frame R '{"i":0,"k":"shell","n":"","t":"script"}' && frame P "$script" && frame E '' &&
      frame Z "{\"format\":$FORMAT,\"outcome\":\"saved\",$report}"
  } >"${__elastichub[2]}"; then
    answer "{\"format\":$FORMAT,\"outcome\":\"saved\",$report,\"bytes\":${#script}$(seconds)}"
  else
    answer '{"outcome":"failed","error":"nobody reads"}'
  fi
}

seconds() {
  local now=${EPOCHREALTIME/[^0-9]/} then=${began/[^0-9]/}
  builtin printf ',"seconds":%d.%03d' $(((now - then) / 1000000)) $(((now - then) / 1000 % 1000))
}

# head reads the head of a frame: it sets letter and size. Bytes that are 0 are read as none.
head() {
  local byte i
  IFS= builtin read -r -N 1 letter || return
  size=0
  for ((i = 0; i < 8; i++)); do
    IFS= builtin read -r -d '' -n 1 byte || return
    builtin printf -v byte %d "'$byte"
    size=$((size | (byte & 255) << (8 * i)))
  done
}

# content reads what follows a head.
content() {
  text=
  ((size == 0)) || { IFS= builtin read -r -d '' -N "$size" text && ((${#text} == size)); }
}

# unpack prints the script, after a line with how many variables there are, if the stream is whole.
unpack() {
  local letter size text count script=""
  while head && content; do
    case $letter in
    H)
      [[ $text == *"\"format\":$FORMAT,"*'"language":"bash"'* ]] || return
      count=${text##*\"variables\":}
      ;;
    P) script+=$text ;;
    Z)
      builtin printf '%s\n%s' "${count%%,*}" "$script"
      return
      ;;
    esac
  done <"${__elastichub[2]}"
}

case ${__elastichub[0]} in
begin) answer "{\"format\":$FORMAT,\"bash\":\"$BASH_VERSION\"}" ;;
busy)
  processes
  answer "{\"background\":[$found]}"
  ;;
save) save ;;
read) unpack ;;
loaded)
  if [[ -n ${__elastichub[3]} ]]; then
    answer "{\"outcome\":\"loaded\",\"variables\":${__elastichub[3]%%$'\n'*}}"
  else
    answer '{"outcome":"broken","error":"it is no whole snapshot of a bash in a format that is known"}'
  fi
  ;;
esac
