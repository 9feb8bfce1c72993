#!/bin/sh
# The browser tests drive Debian's Chromium: install it where we may, say in one line what to do where we may not.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root=none; fi
    if [ "$as_root" != none ]; then
        echo "installing chromium ..."
        $as_root apt-get update -qq
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends chromium >/dev/null
        exit 0
    fi
fi
echo "The browser tests need Chromium: install it (Debian: apt-get install chromium) and run this again."
exit 1
