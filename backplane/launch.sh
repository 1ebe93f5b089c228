#!/bin/sh
# Finds Python 3.11 or newer (a bare Debian has none: installed here when root) and hands over to backplane/bootstrap.py.
# Called by the commands in bin/: launch.sh COMMAND [ARGUMENT...]
set -eu
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)

find_python() {
    for candidate in "$root/.venv/bin/python" python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            return 0
        fi
    done
    return 1
}

if ! find_python; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Python: apt-get install python3 python3-venv python3-dev"
        export DEBIAN_FRONTEND=noninteractive
        output=$(apt-get -qq update 2>&1 && apt-get -qq install -y --no-install-recommends \
            python3 python3-venv python3-dev </dev/null 2>&1) || echo "$output" >&2
    fi
    if ! find_python; then
        echo "Wadud needs Python 3.11 or newer. On Debian 12 and later, install it with:" >&2
        echo "    sudo apt-get update && sudo apt-get install -y python3 python3-venv python3-dev" >&2
        exit 1
    fi
fi
exec "$python" -P -c 'import sys
sys.path.insert(0, sys.argv.pop(1))
from backplane.bootstrap import main
sys.exit(main(sys.argv[1:]))' "$root" "$@"
