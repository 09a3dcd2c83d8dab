#!/usr/bin/env bash
# Take pictures of the pages that `elmo-plus report` and `elmo-plus explore` show about a run. `make docs` calls this for the run of
# `make train`, and the pages of the site show the pictures that exist:
#   docs/screenshots.sh runs/bilm data/heldout.txt docs/screenshots
set -euo pipefail
run=$1 text=$2 folder=$3
skip() { echo "no pictures of report and explore: $1"; exit 0; }
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || skip "Chromium is not installed"
[ -e "$run/model.tar.gz" ] || skip "$run/model.tar.gz is missing; \`make train\` writes it"
mkdir -p "$folder"
# A picture of the page at the address $2, $3 pixels high.
picture() {
    "$browser" --headless --no-sandbox --disable-gpu --disable-background-networking --hide-scrollbars \
        --window-size=1100,"$3" --screenshot="$folder/$1.png" "$2" 2> "$folder/browser.log"
}
page=$(realpath "$folder")/report.html
elmo-plus report "$run" --output "$page" > "$folder/report.log"
picture report "file://$page" 1200
elmo-plus explore "$run/model.tar.gz" --text "$text" --port 8799 > "$folder/explore.log" &
server=$!
trap 'kill "$server"; rm -f "$page" "$folder"/*.log' EXIT
until grep -qs "open http" "$folder/explore.log"; do kill -0 "$server"; sleep 1; done
picture explore "http://127.0.0.1:8799/?first=The+file+is+closed+.&second=Return+the+list+of+items+.&word=0.1" 1500
