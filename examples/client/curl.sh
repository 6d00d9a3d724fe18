#!/usr/bin/env bash
# A server without any client: curl.sh noisy.png OUTPUT-FOLDER
set -euo pipefail
server=${PELLUCID_SERVER:-http://localhost:8000}
image=$1 out=$2
mkdir -p "$out"
curl=(curl --silent --show-error --fail-with-body)
# A server that wants a key finds it here.
if [[ -n ${PELLUCID_API_KEY:-} ]]; then
    curl+=(--header "Authorization: Bearer $PELLUCID_API_KEY")
fi

echo "1. a form; the restored picture comes back in the format of the given one"
"${curl[@]}" --form image=@"$image" --form task=denoise --output "$out/denoised.png" "$server/restore"

echo "2. the picture as the body, parameters in the query; another format by content negotiation"
"${curl[@]}" --data-binary @"$image" --header 'Content-Type: image/png' --header 'Accept: image/webp' \
    --dump-header "$out/headers" --output "$out/enlarged.webp" "$server/v1/super-resolve?scale=2&seed=7"
grep -i '^pellucid-' "$out/headers"

echo "3. JSON in, JSON out: the job, and where its picture lies"
printf '{"task": "denoise", "image": {"b64": "%s"}}' "$(base64 <"$image" | tr -d '\n')" >"$out/request.json"
"${curl[@]}" --json @"$out/request.json" --output "$out/job.json" "$server/v1/restore"

echo "4. a job: 202 at once, its events as they happen, its picture in the end"
# The key makes it safe to send this again when no answer came.
location=$("${curl[@]}" --form image=@"$image" --header 'Prefer: respond-async' --output "$out/accepted.json" \
    --header "Idempotency-Key: example-$RANDOM-$$" --write-out '%header{location}' "$server/restore")
"${curl[@]}" --no-buffer "$server$location/events" | grep '^event:'
"${curl[@]}" --output "$out/restored.png" "$server$location/result"
"${curl[@]}" --output "$out/report.json" "$server$location/report"

echo "5. an error: application/problem+json with a stable code"
curl --silent ${PELLUCID_API_KEY:+--header "Authorization: Bearer $PELLUCID_API_KEY"} \
    --form image=@"$image" --form steps=0 "$server/restore"
echo
