#!/usr/bin/env bash
# Train and sample with the ordering and the condition of this plugin, through the command line.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$(dirname "$0")"

pytest -q -p no:cacheprovider test_anions_first.py
matgen plugins show ordering anions_first
matgen train --dataset textbook --preset tiny --ordering anions_first --cond volume_per_site \
    --max-steps 30 --out "$out/run"
matgen sample --model "$out/run" --cond volume_per_site=20 -n 4 --out "$out/crystals.extxyz"
test -s "$out/crystals.extxyz"

# A wrong value is one line and exit code 2.
if matgen sample --model "$out/run" --cond volume_per_site=-1 2>"$out/error"; then exit 1; fi
grep -q "volume_per_site=-1 is outside" "$out/error"
