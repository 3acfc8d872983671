#!/bin/bash
# Shows Linnet at work: starts registry, worker and gateway, imports a model, streams an answer through the gateway, and
# prints what the registry knows.
#   demo.sh MODEL.gguf FOLDER_OF_PROGRAMS
set -euo pipefail

model_file=${1:?usage: demo.sh MODEL.gguf FOLDER_OF_PROGRAMS}
linnet=${2:?usage: demo.sh MODEL.gguf FOLDER_OF_PROGRAMS}/linnet
prompt=${LINNET_DEMO_PROMPT:-"What is the capital of France, and what is it known for? Answer in two sentences."}
# A home of its own, kept, so that the next demo finds the model there.
export LINNET_HOME=${LINNET_DEMO_HOME:-${LINNET_CACHE:-$HOME/.cache/linnet}/demo}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}
# field JSON EXPRESSION: one value of a JSON text, as Python says it.
field() { python3 -c 'import json, sys; d = json.loads(sys.argv[1]); print(eval(sys.argv[2]))' "$1" "$2"; }

up_pid=
stop() {
  [[ -n $up_pid ]] || return 0
  kill -TERM "$up_pid" 2>/dev/null || true
  wait "$up_pid" || die "linnet up did not stop cleanly"
  up_pid=
}
trap stop EXIT

say "Starting registry, worker and gateway"
mkdir -p "$LINNET_HOME"
"$linnet" up --free-ports --quiet </dev/null &
up_pid=$!
for ((i = 0; i < 600; i++)); do
  [[ -e $LINNET_HOME/run/endpoints.json ]] && break
  kill -0 "$up_pid" 2>/dev/null || { up_pid=; die "linnet up ended: see above, and $LINNET_HOME/logs"; }
  sleep 0.1
done
[[ -e $LINNET_HOME/run/endpoints.json ]] || die "the servers were not ready within a minute; see $LINNET_HOME/logs"

say "Importing $(basename "$model_file")"
imported=$("$linnet" model import "$model_file" --replace --quiet -o json)
model=$(field "$imported" 'd["model"]["name"].split("/")[1]')
variant=$(field "$imported" 'd["variant"]["name"]')
for ((i = 0; i < 600; i++)); do
  workers=$("$linnet" worker ls --quiet -o json)
  ready=$(field "$workers" "any('$variant' in w['ready_variants'] for w in d['workers'])")
  [[ $ready == True ]] && break
  sleep 0.1
done
[[ $ready == True ]] || die "no worker serves $variant after a minute; see $LINNET_HOME/logs/worker.log"

say "linnet run $model \"$prompt\""
# The gateway may hear of the worker a moment after the registry has.
for ((i = 0; i < 20; i++)); do
  code=0
  "$linnet" run "$model" "$prompt" --temperature 0 --max-tokens 96 --stats || code=$?
  [[ $code == 5 && $i -lt 19 ]] || break
  sleep 0.2
done
[[ $code == 0 ]] || die "the model did not answer (exit code $code)"

say "linnet model show $model"
"$linnet" model show "$model"
say "linnet worker ls"
"$linnet" worker ls
say "linnet profile detect --register"
profile=$("$linnet" profile detect --register --quiet -o json)
profile=$(field "$profile" 'd["name"].split("/")[-1]')
"$linnet" profile show "$profile"
say "linnet resolve $model --profile $profile"
"$linnet" resolve "$model" --profile "$profile"

say "Stopping"
stop

say "To go on from here, start it again and leave it running (it finds the model that this demo imported):"
cat <<TRY
  LINNET_HOME=$LINNET_HOME tools/dev up

then in another terminal:
  LINNET_HOME=$LINNET_HOME tools/dev linnet run $model               # a conversation; gRPC, 127.0.0.1:8081
  LINNET_HOME=$LINNET_HOME tools/dev linnet model ls -o yaml         # the registry, 127.0.0.1:8082
  curl -N http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "$model", "stream": true, "messages": [{"role": "user", "content": "Name three fish."}]}'
  curl http://127.0.0.1:8080/v1/models
  curl http://127.0.0.1:9466/metrics                             # the worker; gateway 9464, registry 9465
TRY
