#!/usr/bin/env bash
# Prints the folder of every module of the workspace.
set -euo pipefail
cd "$(dirname "$0")/.."
go work edit -json | sed -n 's/.*"DiskPath": "\(.*\)".*/\1/p'
