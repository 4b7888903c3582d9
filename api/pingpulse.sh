#!/bin/sh
# pingpulse: tells a PingPulse gateway how jobs went, and waits for approvals, on hosts that have nothing but a shell
# and curl. `pingpulse --help` says how. Any POSIX shell will do, with the small tools that every system has.
set -u

CONNECT_SECONDS=3
REQUEST_SECONDS=5
KEPT_BYTES=10000
DRAIN_ROUNDS=20
SIGNALS='HUP INT QUIT TERM USR1 USR2'
NEWLINE='
'

usage_main() {
    cat <<'EOF'
Usage: pingpulse exec [options] -- COMMAND [ARGUMENT…]   run a job and tell how it went
       pingpulse ping [options] [PULSE]                  send one ping
       pingpulse approve-wait [options] [APPROVAL]       wait until people have decided

PINGPULSE_URL is the address of the gateway, PINGPULSE_API_KEY the key; one with the scope `ping` is enough.
`pingpulse exec --help` and so on say more.
EOF
}

usage_exec() {
    cat <<'EOF'
Usage: pingpulse exec [options] -- COMMAND [ARGUMENT…]

Runs the command and tells its start, its end, exit code, duration and the last 10 kB of its output. The command runs
whether or not the gateway can be reached, and its exit code is the exit code: 128 + n if signal n ended it. HUP, INT,
QUIT, TERM, USR1 and USR2 are passed on to it.

What it is a run of, one of:
  --pulse NAME           a pulse, by id or slug
  --process NAME         a process hook, by id or slug
  --workflow ID --stage PATH   a stage of a workflow
Of a pulse:
  --create               bring it into being if it does not exist
  --period SECONDS       between its runs (with --create)
  --grace SECONDS        how late it may be, and how long a run may take (with --create)
Of a stage:
  --start, --final       it opens a run of the workflow, it completes it
  --instance ID          the run, if not the current one
  --name TEXT            a label
  --static               the workflow is a static one
For all:
  --agent NAME           who reports
  --field NAME=VALUE     goes along with the end; may be given more than once
  --no-output            leave the output alone and send none of it

The end is tried again for PINGPULSE_RETRY_SECONDS, 30 unless set.
EOF
}

usage_ping() {
    cat <<'EOF'
Usage: pingpulse ping [options] PULSE
       pingpulse ping --process NAME --start | --finish | --fail [options]
       pingpulse ping --workflow ID --stage PATH [options]

  --status WORD          how it went: an exit code or a word, such as ok or failed
  --message TEXT         a note; of a failure, the reason
  --start, --fail, --log   of a pulse: a run begins, it failed, just a note
  --finish               of a process hook: a run ends well unless --status says otherwise
  --run ID               of a process hook the run that ends; of a pulse any text that tells runs apart
  --create, --period SECONDS, --grace SECONDS   bring the pulse into being if it does not exist
  --start, --final       of a stage: it opens a run, it completes it
  --fail                 of a stage: it failed
  --instance ID, --name TEXT, --static   the run of the workflow; a label; the workflow is a static one
  --agent NAME           who reports
  --field NAME=VALUE     goes along; may be given more than once
  --json FILE            goes along instead, from a file, or with - from standard input
  --print FIELD          print that field of the answer, such as instance_id or run_id; `all` prints the answer

Exit code: 0 if the ping was taken, 1 if it was refused, 2 for wrong usage, 4 if the gateway could not be reached for
PINGPULSE_RETRY_SECONDS, 30 unless set.
EOF
}

usage_approve_wait() {
    cat <<'EOF'
Usage: pingpulse approve-wait [--timeout SECONDS] [--print FIELD] APPROVAL
       pingpulse approve-wait --title TEXT [--context TEXT] [--approver EMAIL]… [options]

Waits until people have decided. With --title or --context it asks first.

  --timeout SECONDS      wait no longer than this; what is asked then expires by that time
  --approver EMAIL       who is asked, the account's owners if left out; may be given more than once
  --otherwise DECISION   approve or deny: what happens if nobody decides in time; deny if left out
  --quorum NUMBER        how many must agree
  --workflow ID, --stage PATH, --instance ID   what it is about
  --print FIELD          print approval_id, status, decided_by, or `all` of the approval, on standard output

Exit code: 0 approved, 1 denied or cancelled, 2 wrong usage, 3 nobody decided in time, 4 if the gateway could not be
reached for PINGPULSE_RETRY_SECONDS, 30 unless set.
EOF
}

warn() {
    printf 'pingpulse: %s\n' "$1" >&2
}

fail() { # CODE MESSAGE
    warn "$2"
    exit "$1"
}

wrong() {
    case $1 in *\?) fail 2 "$1 See: pingpulse $command --help" ;; esac
    fail 2 "$1. See: pingpulse $command --help"
}

# What is said and asked

url='' key='' dir='' cannot='' hurry='' members='' stop_file=''
pulse='' process='' workflow='' stage='' agent='' instance='' label='' run='' status='' message=''
create='' period='' grace='' is_start='' is_final='' is_fail='' is_finish='' is_log='' is_static=''
json='' print='' no_output='' timeout='' title='' context='' approvers='' otherwise='' quorum='' approval='' about=''

# Sets variables by the options at the front; `taken` is how many arguments those are.
read_options() {
    taken=0
    while [ $# -gt 0 ]; do
        option=$1 value='' width=1 has_value=''
        case $1 in
            --) taken=$((taken + 1)) && return ;;
            -h | --help) "usage_$(printf %s "$command" | tr - _)" && exit 0 ;;
            --create | --start | --final | --fail | --finish | --log | --static | --no-output) ;;
            --?*=*) option=${1%%=*} value=${1#*=} has_value=yes ;;
            -?*)
                [ $# -lt 2 ] || value=$2 has_value=yes
                width=2
                ;;
            *)
                [ "$command" != exec ] || return
                option=argument value=$1 has_value=yes
                ;;
        esac
        apply_option
        [ $# -ge "$width" ] || wrong "$option needs a value"
        shift "$width"
        taken=$((taken + width))
    done
}

# As read_options, and all that follows -- is an argument.
read_arguments() {
    read_options "$@"
    shift "$taken"
    option=argument
    for value; do apply_option; done
}

apply_option() {
    case $command:$option in
        exec:--pulse | ping:--pulse) pulse=$value ;;
        ping:argument) [ -z "$pulse" ] || wrong "one pulse at a time, and $value is another" && pulse=$value ;;
        exec:--process | ping:--process) process=$value ;;
        *:--workflow) workflow=$value ;;
        *:--stage) stage=$value ;;
        *:--instance) instance=$value ;;
        exec:--agent | ping:--agent) agent=$value ;;
        exec:--name | ping:--name) label=$value ;;
        exec:--period | ping:--period) period=$value ;;
        exec:--grace | ping:--grace) grace=$value ;;
        exec:--field | ping:--field) add_field "$value" ;;
        exec:--create | ping:--create) flag && create=yes ;;
        exec:--start | ping:--start) flag && is_start=yes ;;
        exec:--final | ping:--final) flag && is_final=yes ;;
        exec:--static | ping:--static) flag && is_static=yes ;;
        exec:--no-output) flag && no_output=yes ;;
        ping:--fail) flag && is_fail=yes ;;
        ping:--finish) flag && is_finish=yes ;;
        ping:--log) flag && is_log=yes ;;
        ping:--status) status=$value ;;
        ping:--message) message=$value ;;
        ping:--run) run=$value ;;
        ping:--json) json=$value ;;
        ping:--print | approve-wait:--print) print=$value ;;
        approve-wait:--timeout) timeout=$value ;;
        approve-wait:--title) title=$value ;;
        approve-wait:--context) context=$value ;;
        approve-wait:--approver) approvers="$approvers${approvers:+,}$(quoted "$value")" ;;
        approve-wait:--otherwise) otherwise=$value ;;
        approve-wait:--quorum) quorum=$value ;;
        approve-wait:argument) [ -z "$approval" ] || wrong "one approval at a time" && approval=$value ;;
        *:argument) wrong "$value is one argument too many" ;;
        *) wrong "there is no option $option" ;;
    esac
}

flag() {
    [ -z "$has_value" ] || wrong "$option takes no value"
}

add_field() { # NAME=VALUE
    case $1 in
        key=*) wrong "--field key=… cannot be sent: PingPulse would take it for the API key" ;;
        ?*=*) add_member "${1%%=*}" "$(literal "${1#*=}")" ;;
        *) wrong "--field takes NAME=VALUE, not $1" ;;
    esac
}

add_member() { # NAME JSON
    members="$members${members:+,}$(quoted "$1"):$2"
}

add_text() { # NAME TEXT, unless that is empty
    [ -z "$2" ] || add_member "$1" "$(quoted "$2")"
}

# Numbers, true and false stay what they are; all else is text.
literal() {
    if [ "$1" = true ] || [ "$1" = false ] || printf '%s\n' "$1" | grep -Eqx -e '-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?'
    then printf %s "$1"
    else quoted "$1"
    fi
}

quoted() {
    printf %s "$1" | json_text
}

# Standard input, whatever bytes it has, as a JSON string in ASCII. What is no UTF-8, and NUL, becomes U+FFFD; the rest
# of a character that was cut off at the front is left out.
json_text() {
    od -An -v -tu1 | LC_ALL=C awk '
        { for (i = 1; i <= NF; i++) bytes[n++] = $i + 0 }
        function unicode(c) {
            if (c > 65535) {
                printf("\\u%04x", 55296 + int((c - 65536) / 1024))
                c = 56320 + (c - 65536) % 1024
            }
            printf("\\u%04x", c)
        }
        function ascii(c) {
            if (c == 34) printf("\\\"")
            else if (c == 92) printf("\\\\")
            else if (c == 10) printf("\\n")
            else if (c == 9) printf("\\t")
            else if (c == 13) printf("\\r")
            else if (c == 0) unicode(65533)
            else if (c < 32 || c == 127) unicode(c)
            else printf("%c", c)
        }
        END {
            printf("\"")
            for (i = 0; i < 3 && i < n && bytes[i] >= 128 && bytes[i] < 192; i++);
            while (i < n) {
                c = bytes[i]
                if (c < 128) { ascii(c); i++; continue }
                more = 0
                if (c >= 194 && c < 224) { more = 1; c -= 192 }
                else if (c >= 224 && c < 240) { more = 2; c -= 224 }
                else if (c >= 240 && c < 245) { more = 3; c -= 240 }
                good = more && i + more < n
                for (k = 1; good && k <= more; k++) {
                    good = bytes[i + k] >= 128 && bytes[i + k] < 192
                    c = c * 64 + bytes[i + k] - 128
                }
                if (more == 2 && (c < 2048 || (c >= 55296 && c < 57344))) good = 0
                if (more == 3 && (c < 65536 || c > 1114111)) good = 0
                unicode(good ? c : 65533)
                i += good ? more + 1 : 1
            }
            printf("\"")
        }'
}

# Text as a part of an address: everything but letters, digits and _ - . ~ is encoded.
encoded() (
    LC_ALL=C
    case $1 in
        *[!A-Za-z0-9_.~-]*) printf %s "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g' ;;
        *) printf %s "$1" ;;
    esac
)

add_parameter() { # NAME VALUE, unless that is empty; to `query`
    [ -z "$2" ] || query="$query${query:+&}$1=$(encoded "$2")"
}

# Time in milliseconds since whenever. The system's uptime, because nobody sets that.
clock() {
    if { read -r up _ </proc/uptime; } 2>/dev/null && case $up in *.??) ;; *) false ;; esac; then
        up=${up%.*}${up#*.}0
        printf %s "${up#"${up%%[!0]*}"}"
    else
        now=$(date +%s%N 2>/dev/null)
        case $now in
            *[!0-9]* | '') printf %s000 "$(date +%s)" ;;
            *) printf %s "${now%??????}" ;;
        esac
    fi
}

random_id() {
    if { id=$(od -An -N8 -tx1 </dev/urandom | tr -d ' \n'); } 2>/dev/null && [ -n "$id" ]
    then printf %s "$id"
    else printf %s "$$-$(date +%s)"
    fi
}

# Requests

# Sets url, key and retry_ms; returns 1, with the reason in `cannot`, if nothing can be sent.
find_gateway() {
    url=${PINGPULSE_URL:-} key=${PINGPULSE_API_KEY:-} retry_ms=${PINGPULSE_RETRY_SECONDS:-30}
    while [ "$url" != "${url%/}" ]; do url=${url%/}; done
    case $retry_ms in *[!0-9]* | ??????*) retry_ms=30 ;; esac
    retry_ms=$((${retry_ms:-30} * 1000))
    if [ -z "$url" ]; then
        cannot='PINGPULSE_URL is not set; it is the address of the gateway, such as https://pingpulse.example.com'
    elif [ -z "$key" ]; then
        cannot='PINGPULSE_API_KEY is not set; "pingpulse keys create" makes one on the host of the gateway'
    elif ! is_plain "$url" || case $url in http://?* | https://?*) false ;; esac; then
        cannot="PINGPULSE_URL is no address that begins with http:// or https://"
    elif ! is_plain "$key"; then
        cannot='PINGPULSE_API_KEY has characters that no key has; is there a line break in it?'
    else
        for tool in curl od awk sed tr wc mktemp date; do
            command -v "$tool" >/dev/null 2>&1 || { cannot="$tool is not installed" && break; }
        done
    fi
    [ -z "$cannot" ]
}

# Whether text can stand between quotes in a configuration of curl: printable ASCII without quotes and backslashes.
is_plain() (
    LC_ALL=C
    case $1 in *[!!-~]* | *\"* | *\\*) exit 1 ;; esac
)

make_dir() {
    case ${TMPDIR:-} in *\"* | *\\* | *"$NEWLINE"*) TMPDIR=/tmp ;; esac
    dir=$(mktemp -d 2>/dev/null) || dir=''
    trap clean_up EXIT
    [ -n "$dir" ]
}

clean_up() {
    [ -z "$dir" ] || rm -rf "$dir"
}

# One request. Sets http, 000 if there was no answer, and answer, then the words of curl. The key goes through curl's
# standard input: arguments are for everybody to see.
request() { # METHOD PATH SECONDS [IDEMPOTENCY-KEY [FILE]]
    more=''
    [ -z "${4:-}" ] || more="header = \"Idempotency-Key: $4\"$NEWLINE"
    [ -z "${5:-}" ] || more="${more}header = \"Content-Type: application/json\"${NEWLINE}data-binary = \"@$5\"$NEWLINE"
    answer=$(
        curl -q -sS --globoff --path-as-is --proto '=http,https' --connect-timeout "$CONNECT_SECONDS" --max-time "$3" \
            --write-out '\n%{http_code}' --config - 2>&1 <<EOF
request = "$1"
url = "$url$2"
header = "X-API-Key: $key"
header = "Expect:"
user-agent = "pingpulse-sh/1"
$more
EOF
    )
    http=${answer##*"$NEWLINE"} answer=${answer%"$NEWLINE"*}
    case $http in [0-9][0-9][0-9]) ;; *) http=000 ;; esac
}

# As request, and a signal that is caught meanwhile takes effect at once.
request_apart() {
    rm -f "$dir/answer"
    (
        trap - EXIT HUP INT TERM
        request "$@"
        printf '%s\n%s\n' "$http" "$answer" >"$dir/answer"
    ) </dev/null >/dev/null 2>&1 &
    wait "$!"
    read_answer "$dir/answer"
}

read_answer() { # FILE
    http=000 answer=''
    [ ! -s "$1" ] || { http=$(head -n 1 "$1") && answer=$(sed 1d "$1"); }
}

# Posts until there is an answer, at longest for so many milliseconds. Returns 0 if it was taken, 1 if it was refused, 4
# if nobody could be reached.
deliver() { # PATH IDEMPOTENCY-KEY FILE MILLISECONDS LONGEST-PAUSE
    give_up=$(($(clock) + $4)) pause=1
    while :; do
        request POST "$1" "$REQUEST_SECONDS" "$2" "$3"
        case $http in
            2??) return 0 ;;
            000 | 408 | 425 | 429 | 5??) ;;
            *) return 1 ;;
        esac
        [ -z "$hurry" ] && [ "$(clock)" -lt "$give_up" ] || return 4
        [ -z "$stop_file" ] || [ ! -e "$stop_file" ] || return 4
        sleep "$pause"
        pause=$((pause * 2))
        [ "$pause" -le "$5" ] || pause=$5
    done
}

# What the last answer says is wrong, in one line.
problem() {
    if [ "$http" = 000 ]; then
        printf %s "$answer" | tr '\n' ' '
        return
    fi
    detail=$(printf %s "$answer" | sed -nE 's/^.*"detail": ?"(([^"\\]|\\.)*)".*$/\1/p' | sed 's/\\\(["\\]\)/\1/g')
    case $http in 3??) detail='the address leads elsewhere; is PINGPULSE_URL right?' ;; esac
    printf %s "$http${detail:+: $detail}"
}

# A field of an answer to a ping, which is flat and whose texts are ids and words.
answer_field() { # NAME, of letters and _
    printf %s "$answer" | sed -nE 's/^.*[{,] ?"'"$1"'": ?"?([^",}]*)"?[,}].*$/\1/p'
}

print_answer() {
    case $print in
        '') ;;
        all) printf '%s\n' "$answer" ;;
        *) printf '%s\n' "$(answer_field "$print")" ;;
    esac
}

check_print() {
    case $print in *[!a-z_]*) wrong "--print takes the name of a field, or all" ;; esac
}

# Pings

# The address of a ping in `path`, without what differs between start and end.
find_target() {
    query='' path=''
    [ -z "$pulse" ] || { path="/hbk/$(encoded "$pulse")" && about=$pulse; }
    [ -z "$process" ] || { [ -z "$path" ] && path="/phk/$(encoded "$process")" && about=$process; } || too_many
    if [ -n "$workflow" ]; then
        [ -z "$path" ] || too_many
        [ -n "$stage" ] || wrong "--workflow needs a --stage"
        prefix=dhk
        [ -z "$is_static" ] || prefix=shk
        path="/$prefix/$(encoded "$workflow")" about="$workflow, stage $stage"
        add_parameter stagePath "$stage"
        add_parameter stagename "$label"
    elif [ -n "$stage$instance$label$is_final$is_static" ]; then
        wrong "--stage, --instance, --name, --final and --static are for a --workflow"
    fi
    [ -n "$path" ] || wrong "say what it is about: a pulse, --process, or --workflow and --stage"
    if [ -n "$create$period$grace" ]; then
        [ -n "$pulse" ] || wrong "--create, --period and --grace are for a pulse"
        add_parameter create "$create"
        add_parameter period "$period"
        add_parameter grace "$grace"
    fi
    add_parameter agent "$agent"
}

too_many() {
    wrong "only one of a pulse, --process and --workflow"
}

ping_main() {
    read_arguments "$@"
    check_print
    find_target
    event=''
    if [ -n "$process" ]; then
        event=/finish
        [ -z "$is_start" ] || event=/start
        [ -z "$is_fail" ] || event=/fail
        [ -z "$is_log" ] || wrong "--log is for a pulse"
        add_parameter run_id "$run"
    elif [ -n "$pulse" ]; then
        [ -z "$is_start" ] || event=/start
        [ -z "$is_fail" ] || event=/fail
        [ -z "$is_log" ] || event=/log
        [ -z "$is_finish" ] || wrong "--finish is for a --process"
        add_parameter rid "$run"
    else
        [ -z "$is_log$is_finish$run" ] || wrong "--log, --finish and --run are not for a stage"
        [ -z "$is_fail" ] || status=${status:-failed}
        add_parameter start "$is_start"
        add_parameter final "$is_final"
        add_parameter instance_id "$instance"
    fi
    add_parameter status "$status"
    find_gateway || fail 2 "$cannot"
    make_dir || fail 4 "no directory could be made below ${TMPDIR:-/tmp}"
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    write_ping_body
    deliver "$path$event?$query" "$(random_id)" "$body" "$retry_ms" 5
    result=$?
    [ "$result" = 0 ] || fail "$result" "$about: $(problem)"
    print_answer
}

write_ping_body() {
    body=$dir/body
    if [ -n "$json" ]; then
        [ -z "$members$message" ] || wrong "--json has it all: no --message and no --field beside it"
        if [ "$json" = - ]; then
            { cat >"$body"; } 2>/dev/null || no_room
        else
            [ ! -d "$json" ] && { true <"$json"; } 2>/dev/null || fail 2 "$json cannot be read"
            { cat <"$json" >"$body"; } 2>/dev/null || no_room
            [ ! -f "$json" ] || [ "$(wc -c <"$json")" -eq "$(wc -c <"$body")" ] || no_room
        fi
        return
    fi
    note=message
    case $is_fail:$status in
        :0 | :) ;;
        yes:* | *:[0-9-]* | *:[Ff]ail* | *:[Ee]rr* | *:[Cc]rash* | *:down | *:killed | *:abort* | *:timeout) note=error ;;
    esac
    add_text "$note" "$message"
    if [ -z "$members" ]; then body=''; else keep_body "{$members}" || no_room; fi
}

# Returns 1 if the body did not get into its file as a whole. What is cut would be refused, or misunderstood.
keep_body() { # JSON, in ASCII
    { printf %s "$1" >"$dir/body"; } 2>/dev/null && [ "$(wc -c <"$dir/body")" -eq "${#1}" ]
}

no_room() {
    fail 4 "what is to be sent could not be written below ${TMPDIR:-/tmp}; is there no room?"
}

# Runs

exec_main() {
    read_options "$@"
    shift "$taken"
    [ $# -gt 0 ] || wrong "which command?"
    find_target
    child='' pending='' interrupted='' ended='' starter='' started=4 is_copied='' can_interrupt=''
    # One that is closed would be taken by the next file that is opened. (Not by `:`, whose failure would end the shell.)
    true >&2 || exec 2<>/dev/null
    { true >&0; } 2>/dev/null || exec </dev/null
    { true >&1; } 2>/dev/null || exec >/dev/null
    find_gateway || warn "$cannot. The command runs, and nobody is told of it."
    make_dir || warn "no directory could be made below ${TMPDIR:-/tmp}; the output is not sent."
    for signal in $SIGNALS; do
        # shellcheck disable=SC2064
        trap "forward $signal" "$signal"
    done
    began=$(clock)
    run=$(random_id)
    [ -n "$cannot" ] || start_telling
    run_command "$@"
    took=$(($(clock) - began)) ended=yes
    [ ! -d "$dir" ] || { true >"$dir/ended"; } 2>/dev/null
    [ -z "$is_copied" ] || finish_copying
    [ -n "$cannot" ] || tell_end
    exit "$code"
}

forward() { # SIGNAL
    interrupted=yes
    signal=$1
    if [ -n "$ended" ]; then
        hurry=yes
    elif [ -z "$child" ]; then
        pending="$pending $signal"
    else
        if [ "$signal" = INT ] || [ "$signal" = QUIT ]; then
            if [ -z "$can_interrupt" ]; then
                signal=TERM
            elif [ -t 0 ]; then
                # The terminal has sent it to the command too, and twice may mean something else.
                return
            fi
        fi
        kill -s "$signal" "$child" 2>/dev/null
    fi
}

# Waits for a child, through signals that are caught meanwhile; `code` is its exit code.
settle() { # PID
    interrupted=''
    # Of a child that a signal has ended, some shells tell on standard error.
    wait "$1" 2>/dev/null
    code=$?
    while [ -n "$interrupted" ]; do
        interrupted=''
        # What `wait` said may have been about the signal.
        if kill -0 "$1" 2>/dev/null; then
            wait "$1" 2>/dev/null
            code=$?
        else
            wait "$1" 2>/dev/null
            again=$?
            [ "$again" = 127 ] || code=$again
        fi
    done
}

start_telling() {
    case $path in
        /hbk/*) start_path="$path/start?rid=$run${query:+&$query}" ;;
        /phk/*) start_path="$path/start?$query" ;;
        *)
            start_path="$path?$query&status=running"
            [ -z "$is_start" ] || start_path="$start_path&start=yes"
            [ -z "$instance" ] || start_path="$start_path&instance_id=$(encoded "$instance")"
            ;;
    esac
    (
        # shellcheck disable=SC2086
        trap '' $SIGNALS
        trap - EXIT
        [ -z "$dir" ] || stop_file=$dir/ended
        deliver "$start_path" "$run-start" '' "$retry_ms" 1
        result=$?
        [ -z "$dir" ] || printf '%s\n%s\n' "$http" "$answer" >"$dir/start"
        exit "$result"
    ) </dev/null >/dev/null 2>&1 &
    starter=$!
}

run_command() {
    exec 3<&0
    if [ -z "$no_output" ] && [ -n "$dir" ] && [ -z "$cannot" ]; then copy_output; else exec 8>&1 7>&2; fi
    # A shell makes its background commands ignore INT and QUIT, and most shells cannot take that back by themselves.
    reset=''
    if ! ignores_interrupts; then
        if env --default-signal=INT,QUIT true 2>/dev/null; then
            reset='env --default-signal=INT,QUIT' can_interrupt=yes
        elif [ -n "${BASH_VERSION:-}" ]; then
            can_interrupt=yes
        fi
    fi
    (
        trap - INT QUIT
        # shellcheck disable=SC2086,SC2016
        exec $reset sh -c 'exec "$@"' sh "$@"
    ) <&3 3<&- >&8 8>&- 2>&7 7>&- 9>&- &
    child=$!
    exec 3<&- 8>&- 7>&-
    for signal in $pending; do forward "$signal"; done
    settle "$child"
}

# Whether this shell was itself begun with INT ignored, as `nohup` and scripts do with their background commands.
ignores_interrupts() {
    while read -r line mask; do
        case $line:$mask in SigIgn:*[2367abefABEF]) return 0 ;; esac
    done 2>/dev/null <"/proc/$$/status"
    return 1
}

# The command writes to 8 and 7. What it writes goes to our own output, unchanged, and through the pipe `copy` to a tail.
# All that takes part ignores signals: those that a whole group gets must not cost the command its output. Where both
# outputs are one and the same, so are the pipes, and lines stay in order.
copy_output() {
    for tool in tail tee cat mkfifo; do command -v "$tool" >/dev/null 2>&1 || no_output=yes; done
    if [ -n "$no_output" ] || ! mkfifo "$dir/out" "$dir/err" "$dir/copy" "$dir/tail" 2>/dev/null; then
        exec 8>&1 7>&2
        return
    fi
    is_copied=yes
    # shellcheck disable=SC2086
    {
        (trap '' $SIGNALS && exec tail -c "$KEPT_BYTES" <"$dir/tail" >"$dir/last" 2>/dev/null) 3<&- &
        tailer=$!
        (trap '' $SIGNALS && exec cat <"$dir/copy" >"$dir/tail" 2>/dev/null) 3<&- &
        copier=$!
        # For reading, too, so that it opens at once, and `copy` has no end while we have not said so.
        exec 9<>"$dir/copy"
        (trap '' $SIGNALS && tee "$dir/copy" <"$dir/out"; true >"$dir/out.done") 2>/dev/null 3<&- 9>&- &
        exec 8>"$dir/out"
        exec 7>&2
        # shellcheck disable=SC3013
        if [ /dev/fd/1 -ef /dev/fd/7 ] 2>/dev/null; then
            exec 7>&8
            true >"$dir/err.done"
        else
            (trap '' $SIGNALS && tee "$dir/copy" <"$dir/err"; true >"$dir/err.done") >&2 2>/dev/null 3<&- 7>&- 8>&- 9>&- &
            exec 7>"$dir/err"
        fi
    }
}

# What the command has written is in "$dir/last" then. Something that it left running may go on writing: that is passed
# on, and not waited for.
finish_copying() {
    round=0
    while [ ! -e "$dir/out.done" ] || [ ! -e "$dir/err.done" ]; do
        round=$((round + 1))
        if [ "$round" -gt "$DRAIN_ROUNDS" ]; then
            # Somebody must read `copy` to the end, or the writers would be stopped.
            # shellcheck disable=SC2086
            (trap '' $SIGNALS && exec cat <"$dir/copy" >/dev/null) 2>/dev/null 9>&- &
            kill -s KILL "$copier" 2>/dev/null
            break
        fi
        sleep 0.1 2>/dev/null || sleep 1
    done
    exec 9>&-
    saved=$code
    settle "$tailer"
    # What could not be written as a whole lacks the end, which matters most.
    [ "$code" = 0 ] || lose_output
    code=$saved
}

lose_output() {
    rm -f "$dir/last"
    warn "$about: there is no room below ${TMPDIR:-/tmp}; the output is not sent."
}

tell_end() {
    write_end_body
    saved=$code
    settle "$starter"
    started=$code code=$saved
    read_answer "$dir/start"
    [ "$started" != 1 ] || warn "$about: the start was refused: $(problem)"
    case $path in
        /hbk/*) end_path="$path?rid=$run${query:+&$query}" ;;
        /phk/*)
            # Without its start a run has no id, and its end would be taken for that of another.
            [ "$started" != 1 ] || return
            start_key=$run-start run=''
            [ "$started" != 0 ] || run=$(answer_field run_id)
            # Not taken, or the answer could not be kept: of a start that was taken, it is the same again.
            if [ -z "$run" ]; then
                deliver "$start_path" "$start_key" '' "$retry_ms" 5 || { not_told && return; }
                run=$(answer_field run_id)
            fi
            end_path="$path/finish?run_id=$(encoded "$run")${query:+&$query}"
            ;;
        *)
            end_path="$path?$query"
            [ -n "$instance" ] || [ "$started" != 0 ] || instance=$(answer_field instance_id)
            [ "$instance" != null ] || instance=''
            [ -z "$instance" ] || end_path="$end_path&instance_id=$(encoded "$instance")"
            [ -n "$instance" ] || [ -z "$is_start" ] || end_path="$end_path&start=yes"
            [ -z "$is_final" ] || end_path="$end_path&final=yes"
            ;;
    esac
    end_path="$end_path&status=$code"
    deliver "$end_path" "$run-end" "$body" "$retry_ms" 5 || tell_less || not_told
}

# The end once more with less, if it may have been refused for what went along. Returns 1 if there is no hope in that.
tell_less() {
    [ -n "$body" ] && [ "$started" != 1 ] || return 1
    left_out=''
    [ -z "$members" ] || left_out='the fields'
    case $http in
        400)
            # Other codes are about the ping itself, such as a stage that is not due.
            case $answer in *'"code":"invalid_request"'* | *'"code": "invalid_request"'*) ;; *'"code":'*) return 1 ;; esac
            ;;
        401) [ -n "$members" ] || return 1 ;;
        413) ;;
        *) return 1 ;;
    esac
    if [ -s "$dir/last" ] && { [ -z "$members" ] || [ "$http" = 413 ]; }; then
        left_out="${left_out}${left_out:+ and }the output"
        rm -f "$dir/last"
    fi
    [ -n "$left_out" ] || return 1
    reason=$(problem)
    members=''
    write_end_body
    deliver "$end_path" "$run-less" "$body" "$retry_ms" 5 || return 1
    warn "$about: left out, because it was refused: $left_out: $reason"
}

not_told() {
    warn "$about: how it went could not be told: $(problem)"
}

# To a file, whose name is in `body`, empty if there is none. What is too much for the disk goes without the output.
write_end_body() {
    body=''
    if [ -d "$dir" ]; then
        keep_body "$(end_body)" && body=$dir/body && return
        if [ -s "$dir/last" ]; then
            lose_output
            keep_body "$(end_body)" && body=$dir/body && return
        fi
    fi
    [ -z "$members" ] || warn "$about: nothing could be kept below ${TMPDIR:-/tmp}; the fields are not sent."
}

end_body() {
    printf '{"exit_code":%s,"duration_ms":%s,"host":%s' "$code" "$took" "$(uname -n | tr -d '\n' | json_text)"
    [ "$code" = 0 ] || printf ',"error":%s' "$(exit_words | json_text)"
    [ ! -s "$dir/last" ] || printf ',"output":%s' "$(json_text <"$dir/last")"
    printf '%s}' "${members:+,$members}"
}

# The reason as people are told of it: the exit code, and the last line that the command wrote.
exit_words() {
    printf 'exit code %s' "$code"
    signal=''
    [ "$code" -le 128 ] || signal=$(kill -l "$code" 2>/dev/null)
    case $signal in [A-Z]*) printf ' (%s)' "$signal" ;; esac
    [ -s "$dir/last" ] || return
    line=$(LC_ALL=C tail -n 5 "$dir/last" | tr -d '\000\r' | LC_ALL=C sed '/^[[:space:]]*$/d' | tail -n 1 | cut -c 1-300)
    [ -z "$line" ] || printf ': %s' "$line"
}

# Approvals

approve_wait_main() {
    read_arguments "$@"
    check_print
    case $timeout in *[!0-9]* | ??????????*) wrong "--timeout takes seconds" ;; esac
    case $otherwise in '' | approve | deny) ;; *) wrong "--otherwise takes approve or deny" ;; esac
    asks=$title$context
    if [ -n "$approval" ]; then
        [ -z "$asks$approvers$otherwise$quorum$workflow$stage$instance" ] || wrong "$approval was asked for already"
    elif [ -z "$asks" ]; then
        wrong "which approval? Give its id, or a --title to ask for one"
    fi
    find_gateway || fail 2 "$cannot"
    make_dir || fail 4 "no directory could be made below ${TMPDIR:-/tmp}"
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    began=$(clock)
    [ -n "$approval" ] || ask
    wait_for_decision
}

ask() {
    add_text context "${context:-$title}"
    add_text title "$title"
    [ -z "$timeout" ] || add_member timeout_seconds "$timeout"
    add_text timeout_action "$otherwise"
    [ -z "$approvers" ] || add_member approvers "[$approvers]"
    [ -z "$quorum" ] || add_member quorum "$(literal "$quorum")"
    add_text workflow_id "$workflow"
    add_text stage_path "$stage"
    add_text instance_id "$instance"
    keep_body "{$members}" || no_room
    deliver /api/approvals "$(random_id)" "$dir/body" "$retry_ms" 5
    case $? in 1) fail 2 "$(problem)" ;; 4) fail 4 "$(problem)" ;; esac
    approval=$(printf %s "$answer" | sed -nE 's/^\{"approval_id": ?"([^"]*)".*$/\1/p')
    [ -n "$approval" ] || fail 4 "the answer is not one of PingPulse: is PINGPULSE_URL right?"
    warn "$approval waits for a decision."
    # Its own deadline decides, and that began a moment later than we did.
    [ -z "$timeout" ] || timeout=$((timeout + 10))
}

wait_for_decision() {
    reached=$(clock) pause=1
    while :; do
        wait=30
        if [ -n "$timeout" ]; then
            left=$((timeout * 1000 - $(clock) + began))
            [ "$left" -ge 0 ] || left=0
            [ "$left" -ge 30000 ] || wait=$(((left + 999) / 1000))
        fi
        request_apart GET "/api/approvals/$(encoded "$approval")?wait=$wait" $((wait + REQUEST_SECONDS))
        case $http in
            200)
                reached=$(clock) pause=1
                look_at_decision
                ;;
            000 | 408 | 425 | 429 | 5??)
                [ $(($(clock) - reached)) -lt "$retry_ms" ] || fail 4 "$approval: $(problem)"
                sleep "$pause"
                [ "$pause" -ge 5 ] || pause=$((pause + 1))
                ;;
            *) fail 2 "$approval: $(problem)" ;;
        esac
        if [ -n "$timeout" ] && [ $(($(clock) - began)) -ge $((timeout * 1000)) ]; then
            [ "$http" = 200 ] || fail 4 "$approval: $(problem)"
            print_approval pending ''
            fail 3 "$approval: nobody has decided in $timeout seconds"
        fi
    done
}

# Ends with the decision, if there is one. Read from the beginning of the answer only: what follows may hold any text.
look_at_decision() {
    head=$(printf %s "$answer" | sed -nE 's/^\{"approval_id":"[^"]*","status":"([a-z]*)","result":(null|0|1),.*$/\1 \2/p')
    by=$(printf %s "$answer" |
        sed -nE 's/^\{"approval_id":"[^"]*","status":"[a-z]*","result":[01],"notes":(null|"([^"\\]|\\.)*"),"decided_by":"([^"]*)".*$/\3/p')
    case $head in
        *' null') return ;;
        'approved 1') result=0 ;;
        'denied 0' | 'cancelled 0') result=1 ;;
        *) fail 4 "the answer is not one of PingPulse: is PINGPULSE_URL right?" ;;
    esac
    [ "$result:$by" != 1:timeout ] || result=3
    print_approval "${head% *}" "$by"
    fail "$result" "$approval is ${head% *}, by ${by:-somebody}."
}

print_approval() { # STATUS DECIDED-BY
    case $print in
        '') ;;
        all) printf '%s\n' "$answer" ;;
        approval_id) printf '%s\n' "$approval" ;;
        status) printf '%s\n' "$1" ;;
        decided_by) printf '%s\n' "$2" ;;
        *) warn "--print takes approval_id, status, decided_by or all" ;;
    esac
}

command=${1:-}
case $command in
    exec) shift && exec_main "$@" ;;
    ping) shift && ping_main "$@" ;;
    approve-wait) shift && approve_wait_main "$@" ;;
    -h | --help | help) usage_main ;;
    '') usage_main >&2 && exit 2 ;;
    *) warn "there is no command $command" && usage_main >&2 && exit 2 ;;
esac
