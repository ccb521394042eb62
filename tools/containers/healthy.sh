#!/usr/bin/env bash
# Whether a gateway answers PATH with 200: `healthy [PATH] [PORT]`, by default /healthz at port 8081 of
# this machine. For images without any client; exit code 0 if it does.
set -euo pipefail
path=${1:-/healthz}
port=${2:-8081}
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$path" >&3
read -r -t 2 _ status _ <&3
[[ $status == 200 ]]
