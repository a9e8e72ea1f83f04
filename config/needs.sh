#!/usr/bin/env bash
# Makes sure that the named things are there: what is missing is installed where we may (apt, as root or by a
# sudo that asks nothing), else said. `venv` and `git` are needed; without `tmux` the tests that drive it are skipped.
set -u

apt_install() {
    command -v apt-get >/dev/null || return 1
    local become=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        become=(sudo -n)
    fi
    echo "installing $* with apt-get" >&2
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null 2>&1 && return 0
    "${become[@]}" apt-get update -q >/dev/null 2>&1
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >/dev/null
}

while [ $# -gt 0 ]; do
    case "$1" in
    venv)
        shift
        python=$1
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
            apt_install "$package" || {
                echo "$python cannot make virtual environments; install the package $package" >&2
                exit 1
            }
        fi
        ;;
    git)
        command -v git >/dev/null || apt_install git || {
            echo "git is missing; install it" >&2
            exit 1
        }
        ;;
    bwrap)
        command -v bwrap >/dev/null || apt_install bubblewrap ||
            echo "bubblewrap is missing and cannot be installed here: the tests of the sandbox are skipped" >&2
        ;;
    *)
        command -v "$1" >/dev/null || apt_install "$1" ||
            echo "$1 is missing and cannot be installed here: the tests that need it are skipped" >&2
        ;;
    esac
    shift
done
