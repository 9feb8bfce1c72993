#!/bin/sh
# What the tests need from the system: a Chromium to drive, promtool to check /metrics with, an MQTT broker,
# Node for a client of others and for the tests of the page's modules, and a C compiler for what lets system calls fail.
# Install it where we may; say in one line what to do where we may not.
set -eu
missing=""
have() { for name in "$@"; do command -v "$name" >/dev/null 2>&1 && return 0; done; return 1; }
have chromium chromium-browser google-chrome || missing="$missing chromium"
have promtool || missing="$missing prometheus"
have mosquitto /usr/sbin/mosquitto || missing="$missing mosquitto"
have mosquitto_pub || missing="$missing mosquitto-clients"
have node || missing="$missing nodejs"
have npm || missing="$missing npm"
have cc gcc || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root=none; fi
    if [ "$as_root" != none ]; then
        echo "installing$missing ..."
        $as_root apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
        exit 0
    fi
fi
echo "The tests need$missing: install it (Debian: apt-get install$missing) and run this again."
exit 1
