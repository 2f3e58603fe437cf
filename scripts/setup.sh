#!/usr/bin/env bash
# Make .venv with this package in it, and install with apt what is missing: Nginx; for the tests a container engine and a
# browser.
# Usage: scripts/setup.sh REQUIREMENT   (what pip installs: ".", ".[dev]" or ".[bench]")
# Variables: PYTHON (python3), ENVIRONMENT (.venv), CONSTRAINTS (constraints.txt; empty: the newest versions)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
environment=${ENVIRONMENT:-.venv}
constraints=${CONSTRAINTS-constraints.txt}

say() { printf '==> %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Run a command; what it prints is shown only if it fails.
quietly() {
    local output status=0
    output=$("$@" 2>&1) || status=$?
    [ "$status" -eq 0 ] || printf '%s\n' "$output" >&2
    return "$status"
}

# Run apt as root, with sudo where that works.
apt_install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get) # RUNLEVEL=1: do not start them as the system's own services
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null && sudo -v || return 1
        apt=(sudo "${apt[@]}")
    fi
    command -v apt-get >/dev/null || return 1
    quietly "${apt[@]}" update -qq && quietly "${apt[@]}" install -y -qq --no-install-recommends "$@"
}

command -v "$python" >/dev/null || fail "$python is missing; install Python 3.11 or later"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; Python 3.11 or later is needed (PYTHON=... names another one)"

if [ ! -x "$environment/bin/pip" ]; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "installing python3-venv"
        apt_install python3-venv || fail "python3-venv is missing; as root: apt-get install python3-venv"
    fi
    say "making the virtual environment $environment"
    rm -rf "$environment"
    "$python" -m venv "$environment"
fi

pip=("$environment/bin/pip" install -qq)
if [ -n "$constraints" ]; then
    # The versions were tried with one Python; another one may need others.
    tried=$(sed -n 's/^# Python //p' "$constraints")
    if [ "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$tried" ]; then
        pip+=(--constraint "$constraints")
    else
        say "$constraints was made with Python $tried; taking the newest versions for $("$python" --version)"
    fi
fi
say "installing $1 (TensorFlow alone is some 600 MB; this takes a minute or two)"
"${pip[@]}" --editable "$1" || fail "pip could not install what setup.py names"

if ! PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx >/dev/null; then
    say "installing Nginx"
    apt_install nginx || say "Nginx is missing; as root: apt-get install nginx. Until then the workers serve clients themselves."
fi

# The tests start an engine of their own, which only root can. From Debian 13 on its client is a package of its own.
has_docker() { (PATH=$PATH:/usr/sbin:/usr/local/sbin; command -v dockerd && command -v docker) >/dev/null; }
if [ "$1" = ".[dev]" ] && [ "$(id -u)" -eq 0 ] && ! has_docker; then
    say "installing Docker, for the tests of the container back end"
    { apt_install docker.io && { has_docker || apt_install docker-cli; }; } ||
        say "Docker is missing; as root: apt-get install docker.io. Until then its tests are skipped."
fi

# A page of another origin calls the service in it. The headless shell is the small one: 64 MB and its libraries. What
# drives it comes with Playwright, and needs libatomic.
browser=chromium-headless-shell
if [ "$1" = ".[dev]" ] &&
    { ! command -v "$browser" chromium >/dev/null || ! compgen -G '/usr/lib/*/libatomic.so.1' >/dev/null; }; then
    say "installing a browser, for the tests of pages that call the service"
    apt_install "$browser" libatomic1 ||
        say "A browser is missing; as root: apt-get install $browser libatomic1. Until then its test is skipped."
fi

if [ "$1" = ".[dev]" ] && ! command -v curl >/dev/null; then
    say "installing curl, for the tests of the documents' commands"
    apt_install curl || say "curl is missing; as root: apt-get install curl. Until then these tests are skipped."
fi
