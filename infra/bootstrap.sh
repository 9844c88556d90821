# Sourced by ./infra/demo and ./infra/test: makes a fresh checkout runnable, and does nothing when it is already.
# Leaves the checkout as the working directory, ROOT set to it and everything installed in .venv.
# shellcheck shell=bash

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "$ROOT"

say() { printf '%s\n' "$*" >&2; }

# A Python 3.11 or 3.12 with venv: the versions that apache-flink 2.3 runs on.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, venv, ensurepip; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
            >/dev/null 2>&1; then
            printf '%s' "$candidate"
            return
        fi
    done
}

# The major version of the java that will be used, or 0.
java_version() {
    local java="java"
    [ -z "${JAVA_HOME:-}" ] || java="$JAVA_HOME/bin/java"
    "$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1 | grep . || printf 0
}

check_prerequisites() {
    local missing=0 java
    if [ -z "$1" ]; then
        say "missing: Python 3.11 or 3.12 with its venv module"
        say "    Debian/Ubuntu: sudo apt install python3.11 python3.11-venv     macOS: brew install python@3.11"
        say "    elsewhere: PYTHON=/path/to/python3.11 $0"
        missing=1
    fi
    java="$(java_version)"
    if [ "$java" -lt 17 ]; then
        [ "$java" -eq 0 ] && say "missing: a JDK, version 17 or later" || say "too old: java is version $java, and 17 is needed"
        say "    Debian/Ubuntu: sudo apt install openjdk-17-jdk-headless        macOS: brew install openjdk@17"
        say "    several installed: set JAVA_HOME to the right one"
        missing=1
    fi
    if ! command -v mvn >/dev/null; then
        say "missing: Maven (mvn), which downloads Kafka and the schema registry"
        say "    Debian/Ubuntu: sudo apt install maven                          macOS: brew install maven"
        missing=1
    fi
    [ "$missing" -eq 0 ] || exit 1
}

# Identifies what .venv should hold: the lock, the project file, and the place (a copied checkout starts anew).
fingerprint() {
    { printf '%s\n' "$ROOT" && cat infra/requirements.lock pyproject.toml; } | cksum
}

install_packages() {
    local python=".venv/bin/python"
    # An interrupted set-up leaves a folder without a working pip.
    if ! "$python" -c 'import pip' >/dev/null 2>&1; then
        say "setting up: creating .venv with $("$1" --version)"
        "$1" -m venv --clear .venv
    fi
    say "setting up: installing the Python packages of infra/requirements.lock (once; 15 s to a few minutes)"
    "$python" -m pip install --quiet --disable-pip-version-check uv
    # Of uv's report, everything but its line for each package.
    if "$python" -m uv pip install --python "$python" --require-hashes -r infra/requirements.lock 2>&1 |
        sed '/^ [-+~] /d' >&2; then
        "$python" -m uv pip install --python "$python" --quiet --no-deps -e .
    else
        # uv does not read pip's configuration, where a company's mirror may be named.
        say "setting up: uv could not install them (see above); trying pip, which takes minutes"
        "$python" -m pip install --disable-pip-version-check --require-hashes -r infra/requirements.lock
        "$python" -m pip install --disable-pip-version-check --quiet --no-deps -e .
    fi
}

bootstrap() {
    local python wanted stamp=".venv/.tradestream-installed"
    wanted="$(fingerprint)"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || [ ! -x .venv/bin/python ]; then
        python="$(find_python)"
        check_prerequisites "$python"
        rm -f "$stamp"
        install_packages "$python"
        printf '%s\n' "$wanted" >"$stamp"
    else
        # The packages are there; Java and Maven may have gone since.
        check_prerequisites .venv/bin/python
    fi
    if [ -f infra/compile.py ]; then
        # The same sources run interpreted, only slower; the tests insist on the compiled ones.
        .venv/bin/python -m infra.compile >&2 || say "setting up: the hot modules are not compiled (see above); going on without"
    fi
}

bootstrap
