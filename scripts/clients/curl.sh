#!/usr/bin/env bash
# Ask the service with curl: text, images, and any model's tensors.
# Usage: scripts/clients/curl.sh [ADDRESS]   (default: http://127.0.0.1:8080)
set -euo pipefail
address=${1:-http://127.0.0.1:8080}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
# The service is in one's own network, so that no proxy of the environment (http_proxy) is asked.
# An answer with an error status prints its body, too, and ends the script; 503 means "again in a moment".
ask() { curl --silent --show-error --fail-with-body --retry 3 --max-time 30 --noproxy '*' "$@"; }

echo '--- a text in the URL, as base64'
line=$(printf %s '我很喜欢中国银行的产品' | base64 | tr -d '\n')
ask --get --data-urlencode "line=$line" "$address/lstm/predict"

echo '--- several texts as JSON'
ask --json '{"lines": ["我很喜欢中国银行的产品", "非常讨厌"]}' "$address/lstm/predict"

# A picture of 4 x 4 pixels; yours: picture=photo.jpg, type image/jpeg.
picture=$folder/picture.png
base64 -d > "$picture" <<'END'
iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAAXNSR0IArs4c6QAAAARnQU1BAACx
jwv8YQUAAAAJcEhZcwAAFiUAABYlAUlSJPAAAAAeSURBVBhXYwCC////Q0kghoDDhw+jciAKgICB
gQEAfYYidT6KA44AAAAASUVORK5CYII=
END

echo '--- a picture as a file of a form; the answer has the mask as base64'
ask --form "img=@$picture" "$address/cv_sod/predict"

echo '--- the bare picture; the answer is the bare mask'
ask --header 'Content-Type: image/png' --header 'Accept: image/png' --data-binary "@$picture" \
    --output "$folder/mask.png" "$address/cv_sod/predict"
echo "$(wc -c < "$folder/mask.png") bytes of PNG"

echo '--- tensors, as TensorFlow Serving takes them; the request is gzipped'
printf %s '{"instances": [{"words": ["非常", "讨厌"], "nwords": 2}]}' | gzip |
    ask --header 'Content-Encoding: gzip' --data-binary @- "$address/v1/models/lstm:predict"
echo
ask "$address/v1/models/lstm"
