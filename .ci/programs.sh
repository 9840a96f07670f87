#!/usr/bin/env bash
# Installs the Debian packages that the project needs from the machine, when whoever runs it may.
#
#   programs.sh venv PYTHON   what makes a virtual environment; fails when it cannot be had
#   programs.sh tests         PostgreSQL, Chromium, faketime, openssl, pdftotext; the tests name what stays missing
set -uo pipefail

has() { compgen -G "$1" >/dev/null; }

install() {
    local as=()
    if [ "$(id -u)" -ne 0 ]; then as=(sudo -n); fi
    if ! command -v apt-get >/dev/null || ! "${as[@]}" true 2>/dev/null; then
        echo "Missing: $*. To install: sudo apt-get install $*" >&2
        return 1
    fi
    echo "Installing $*" >&2
    "${as[@]}" apt-get update -qq >&2
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >&2 </dev/null && return
    echo "Could not install $*: see apt-get's words above." >&2
    return 1
}

case "${1:-}" in
venv)
    python=${2:-}
    if [ -z "$python" ]; then
        echo "Python 3.11 or newer is needed (or say where it is: make PYTHON=/path/to/python3.11)." >&2
        exit 1
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null && exit
    install "$("$python" -c 'import sys; print("python{}.{}-venv".format(*sys.version_info))')"
    ;;
tests)
    # One installation each: what one repository lacks must not keep the others out.
    has '/usr/lib/postgresql/*/bin/initdb' || install postgresql
    command -v faketime >/dev/null || install faketime
    command -v openssl >/dev/null || install openssl
    command -v pdftotext >/dev/null || install poppler-utils
    # Ubuntu's chromium package only points to a snap, which a test cannot drive.
    if command -v chromium >/dev/null || has "$HOME/.cache/ms-playwright/chromium-*/"; then
        exit 0
    elif grep -qs '^ID=ubuntu' /etc/os-release; then
        .venv/bin/playwright install --with-deps chromium </dev/null >&2 || echo "Could not install Chromium." >&2
    else
        install chromium fonts-liberation
    fi
    exit 0
    ;;
*)
    echo "usage: programs.sh venv PYTHON | tests" >&2
    exit 2
    ;;
esac
