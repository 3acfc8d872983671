#!/bin/bash
# Runs the integration tests with a Python that has their client libraries: the environment that tools/dev makes
# ($LINNET_VENV). Arguments go to pytest; LINNET_INTEGRATION_TESTS names one
# file instead of all.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${LINNET_VENV:+$LINNET_VENV/bin/}python3
"$python" -c 'import grpc, grpc_reflection, openai, pytest' || {
  echo "integration tests: $python lacks their libraries; run them through tools/dev test, or set LINNET_VENV to an environment with tests/integration/requirements.txt" >&2
  exit 1
}
exec "$python" -B -m pytest -q --durations=8 -p no:cacheprovider \
  -o tmp_path_retention_policy=failed -o tmp_path_retention_count=1 "${LINNET_INTEGRATION_TESTS:+$here/}${LINNET_INTEGRATION_TESTS:-$here}" "$@"
