#!/usr/bin/env bash
# with_clang.sh CLANG... -- COMPILER ARGUMENTS...: a compiler launcher that runs CLANG instead.
clang=()
while [ "$1" != -- ]; do
  clang+=("$1")
  shift
done
exec "${clang[@]}" "${@:3}"
