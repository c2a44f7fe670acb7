# Sourced by the scripts: finds Pythons, and makes virtual environments under .venvs/ that are used again until what
# they need has changed. Written for bash 3.2, which is what macOS has.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# What the caller's shell is set up for must not get into our environments.
unset PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONSTARTUP VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# fitness PYTHON: says "3.12" for a Python that can be used, else what is wrong with it; nothing for one that is too old.
fitness() {
    "$1" -c '
import sys
if sys.version_info >= (3, 11):
    try:
        import ensurepip, ssl, venv, zlib
    except ImportError as error:
        print("it has no %s" % error.name)
    else:
        final = sys.version_info[3] == "final"
        print("%d.%d" % sys.version_info[:2] if final else "it is a pre-release")
' </dev/null 2>/dev/null || echo "it does not run"
}

# candidates: the paths of all that may be a Python 3.11 or later, one a line.
candidates() {
    local name
    for name in python3 python3.11 python3.12 python3.13 python3.14 python3.15 python; do
        type -a -p "$name" || true
    done
    for name in "$HOME"/.pyenv/versions/*/bin/python; do
        if [ -x "$name" ]; then echo "$name"; fi
    done
}

# find_python: sets $python to the path of $PYTHON if that is set, else of the first Python that can be used.
find_python() {
    local path fit
    python=
    if [ -n "${PYTHON:-}" ]; then
        fit="$(fitness "$PYTHON")"
        case "$fit" in
            3.*) python="$PYTHON" ;;
            *) fail "PYTHON=$PYTHON cannot be used: ${fit:-it is older than 3.11}." ;;
        esac
    else
        while read -r path; do
            case "$(fitness "$path")" in
                3.*) python="$path" && break ;;
            esac
        done < <(candidates)
    fi
    if [ -z "$python" ]; then fail "There is no Python 3.11 or later with venv here; install one, or set PYTHON to its path."; fi
    # A shim looks at the current folder to choose the Python behind it, and the current folder will change.
    python="$("$python" -c 'import sys; print(sys.executable)')"
}

# environment NAME REQUIREMENT...: sets $venv to an environment of $python that has them, for pip run in the root.
environment() {
    local name="$1" key
    shift
    key="$("$python" - "$root/pyproject.toml" "$@" <<'END'
import hashlib
import sys

with open(sys.argv[1], "rb") as file:
    told = [sys.version.encode(), sys.base_prefix.encode(), file.read(), repr(sys.argv[2:]).encode()]
print(hashlib.sha256(b"\0".join(told)).hexdigest())
END
)"
    venv="$root/.venvs/$name-$(fitness "$python")"
    if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/made-for" 2>/dev/null)" = "$key" ]; then return; fi
    echo "Making ${venv#"$root"/} (this happens once, and when pyproject.toml has changed) ..." >&2
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "$python could not make a virtual environment."
    (cd "$root" && "$venv/bin/python" -m pip install -qq "$@") || fail "pip could not install $*."
    echo "$key" >"$venv/made-for"
}
