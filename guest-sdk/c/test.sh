#!/bin/sh
# Builds a plugin's sources and its tests with this machine's C compiler, and runs them.
#
#   sh test.sh SOURCE.c… TEST.c
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=$(mktemp)
trap 'rm -f "$program"' EXIT
# The machine's own library; undefined behaviour and memory errors end a test.
"${CC:-cc}" -std=c11 -g -Wall -Wextra -Wno-unused-parameter -fsanitize=address,undefined -fno-sanitize-recover -I "$here/native" \
    "$@" "$here/src/portcullis.c" "$here/src/json.c" "$here/src/calendar.c" "$here/src/zones.c" -o "$program"
ASAN_OPTIONS=detect_leaks=0 "$program"
