#!/bin/sh
# Makes a core module of a plugin: compiles its sources with the SDK's. `portcullis plugin componentize` makes a component of it.
#
#   sh build.sh SOURCE.c… --output MODULE
#
# Takes the compiler that WASM_CC names (a clang that has the wasm32 target and wasm-ld), else `clang`, else Zig's from
# PORTCULLIS_C_TOOLS or `.tools`, where it is put, from PyPI, if there is no other.
#
# Invariant: the module imports nothing but what the plugin uses of the contract.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
zig=0.17.1
output='' sources=''
while [ $# -gt 0 ]; do
    case $1 in
        --output) output=${2:-}; shift; [ $# -eq 0 ] || shift ;;
        *) sources="$sources $1"; shift ;;
    esac
done
if [ -z "$output" ] || [ -z "$sources" ]; then
    echo 'error: usage: sh build.sh SOURCE.c… --output MODULE' >&2
    exit 1
fi

tools=${PORTCULLIS_C_TOOLS:-.tools}
zig_works() { PYTHONPATH="$tools" python3 -m ziglang version >/dev/null 2>&1; }
if [ -n "${WASM_CC:-}" ]; then
    compiler="$WASM_CC --target=wasm32-unknown-unknown"
elif [ ! -d "$tools/ziglang" ] && clang --target=wasm32-unknown-unknown -nostdlib -Wl,--no-entry -x c /dev/null -o /dev/null 2>/dev/null; then
    compiler='clang --target=wasm32-unknown-unknown'
else
    if ! zig_works; then
        echo "fetching the C compiler ziglang $zig into $tools (once)" >&2
        python3 -m pip install --quiet --disable-pip-version-check --target "$tools" "ziglang==$zig" >&2 || true
    fi
    if ! zig_works; then
        echo 'error: there is no C compiler for WebAssembly' >&2
        echo 'hint: install clang and lld, or Python 3 with pip' >&2
        exit 1
    fi
    PYTHONPATH=$tools
    ZIG_GLOBAL_CACHE_DIR=$tools/cache ZIG_LOCAL_CACHE_DIR=$tools/cache
    export PYTHONPATH ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
    compiler='python3 -m ziglang cc -target wasm32-freestanding'
fi
# No feature that a sandbox may have switched off; and no call of `memcpy` made of the loop that is `memcpy`.
flags='-std=c11 -O2 -mcpu=mvp -mbulk-memory -ffreestanding -fno-builtin -nostdlib -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-variable'
link='-Wl,--no-entry -Wl,--gc-sections -Wl,--strip-all -Wl,-z,stack-size=65536'
# shellcheck disable=SC2086
$compiler $flags $link -I "$here/include" $sources \
    "$here/src/portcullis.c" "$here/src/json.c" "$here/src/calendar.c" "$here/src/zones.c" "$here/src/arena.c" "$here/bindings/plugin.c" -o "$output"
