# Sourced by the tools: makes .venv and installs the project when pyproject.toml has changed since.

make_venv() { # make_venv EXTRA: "" or the name of an optional dependency group
    local extra="$1" python="${PYTHON:-python3}" stamp wanted
    stamp=".venv/.installed-${extra:-main}"
    wanted="$(sha256sum pyproject.toml | cut -d' ' -f1)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "mobilesplit needs Python 3.11 or newer; set PYTHON=/path/to/python3." >&2
        return 1
    fi
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    echo "Installing into .venv (about 2 GB, once) ..." >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --editable ".${extra:+[$extra]}"
    echo "$wanted" >"$stamp"
}
