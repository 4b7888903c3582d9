#!/usr/bin/env bash
# What the action does: its inputs, as variables, become options of the command-line client.
set -euo pipefail

client=$ACTION_PATH/../../api/pingpulse.sh
options=()

text() { # OPTION VALUE
    if [ -n "$2" ]; then options+=("$1" "$2"); fi
}

flag() { # OPTION VALUE
    case $2 in
        true) options+=("$1") ;;
        false | '') ;;
        *) printf '::error::PingPulse: %s is true or false\n' "${1#--}" && exit 2 ;;
    esac
}

escaped() { # What a command of the runner may hold: line breaks would begin another one.
    local said=${1//'%'/%25}
    said=${said//$'\r'/%0D}
    printf %s "${said//$'\n'/%0A}"
}

text --workflow "$INPUT_WORKFLOW"
text --stage "$INPUT_STAGE"
text --pulse "$INPUT_PULSE"
text --process "$INPUT_PROCESS"
text --instance "$INPUT_INSTANCE"
text --name "$INPUT_NAME"
text --agent "$INPUT_AGENT"
text --period "$INPUT_PERIOD"
text --grace "$INPUT_GRACE"
flag --start "$INPUT_START"
flag --final "$INPUT_FINAL"
flag --static "$INPUT_STATIC"
flag --create "$INPUT_CREATE"
if [ -n "${GITHUB_REPOSITORY:-}" ]; then
    text --field "repository=$GITHUB_REPOSITORY"
    text --field "commit=${GITHUB_SHA:-}"
    text --field "ref=${GITHUB_REF:-}"
    text --field "job=${GITHUB_JOB:-}"
    text --field "url=${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY/actions/runs/${GITHUB_RUN_ID:-}"
fi
while IFS= read -r line; do
    line=${line%$'\r'}
    if [ -n "${line//[[:space:]]/}" ]; then options+=(--field "$line"); fi
done <<<"$INPUT_FIELDS"

if [ -n "$INPUT_RUN" ]; then
    case $INPUT_OUTPUT in false) options+=(--no-output) ;; esac
    # As the runner itself runs a step with `shell: bash`.
    exec sh "$client" exec ${options[@]+"${options[@]}"} -- bash --noprofile --norc -eo pipefail -c "$INPUT_RUN"
fi

text --status "$INPUT_STATUS"
text --message "$INPUT_MESSAGE"
text --run "$INPUT_RUN_ID"
code=0
answer=$(sh "$client" ping ${options[@]+"${options[@]}"} --print all 2>&1) || code=$?
if [ "$code" != 0 ]; then
    kind=warning
    if [ "$INPUT_FAIL_ON_ERROR" = true ] || [ "$code" = 2 ]; then kind=error; fi
    printf '::%s::%s\n' "$kind" "$(escaped "$answer")"
    if [ "$kind" = error ]; then exit "$code"; fi
    exit 0
fi
for field in instance_id run_id workflow_status; do
    value=$(printf %s "$answer" | sed -nE 's/^.*[{,]"'"$field"'":"([A-Za-z0-9_.-]*)"[,}].*$/\1/p')
    printf '%s=%s\n' "${field//_/-}" "$value" >>"$GITHUB_OUTPUT"
done
