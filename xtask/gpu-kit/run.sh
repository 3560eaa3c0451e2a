#!/bin/bash
# Checks, times and trains on a borrowed GPU, within a stated time, and prints a table last.
#
#   ./run.sh SECONDS [RECIPE]
#
# RECIPE is one of recipes/, without .toml; its checkpoints are left in results/checkpoint, in files of at most
# 16 MB, of which each later call goes on. Needs the GPU's driver and the CUDA toolkit's NVRTC, a shell and tar.
# Set by the environment:
#   DEVICE      what to compute on                         cuda
#   NETWORKS    Wide-ResNets that are timed                16-2,16-4,28-10
#   BATCH       images of a batch that is timed            256
#   PRECISIONS  that are timed                             f32 bf16
#   CHECKED     the small network whose losses are checked 10-1
#   CHECKS      iterations of that                         20
#   SETTINGS    of the training, such as "iterations=5000 batch_size=256"
set -u
cd "$(dirname "$0")"
seconds=${1:?usage: ./run.sh SECONDS [RECIPE]}
recipe=${2:-dsm-wrn-16-2-cifar10}
device=${DEVICE:-cuda}
networks=${NETWORKS:-16-2,16-4,28-10}
batch=${BATCH:-256}
precisions=${PRECISIONS:-f32 bf16}
checked=${CHECKED:-10-1}
checks=${CHECKS:-20}
end=$(($(date +%s) + seconds))
# Seconds that are left, but for those of the table.
left() { echo $((end - 5 - $(date +%s))); }
# A share of all seconds, or what is left of them if that is less; never none.
share() {
    local part=$((seconds * $1 / 100)) rest
    rest=$(left)
    [ "$part" -gt "$rest" ] && part=$rest
    [ "$part" -lt 1 ] && part=1
    echo "$part"
}
say() { echo "$(date +%T) $*"; }

say "unpacking"
sha256sum --check --quiet SHA256SUMS || { echo "a file of the kit is not whole"; exit 1; }
[ -x basin ] || { gunzip --keep --stdout basin.gz > basin && chmod +x basin; }
[ -d data ] || { mkdir data && cat data.tar.part-* | tar --extract --directory data; }
mkdir -p results
rm -f results/*.json results/*.log results/peer.txt

say "losses of $checks iterations of each method against the processor's, at most $(share 25) s"
for path in recipes/*-cifar10.toml; do
    name=$(basename "$path" .toml)
    [ "$(left)" -lt $((seconds * 75 / 100)) ] && { say "no time for the methods from $name on"; break; }
    timeout "$(share 25)" ./basin --device "$device" benchmark "$path" --losses "$checks" \
        --networks "$checked" --set batch_size=8 > "results/losses-$name.json" 2> "results/losses-$name.log" ||
        say "$name: $(tail -n 1 "results/losses-$name.log")"
done

say "times, at most $(share 35) s"
until=$(($(left) - seconds * 35 / 100))
for network in ${networks//,/ }; do
    for precision in $precisions; do
        for name in standard-cifar10 prejeat-cifar10 dsm-wrn-16-2-cifar10; do
            of=$name-$network-$precision
            [ "$(left)" -lt "$until" ] && { say "no time for $of"; continue; }
            timeout "$(share 15)" ./basin --device "$device" benchmark "recipes/$name.toml" --networks "$network" \
                --set "batch_size=$batch" --set "precision=$precision" --seconds 3 \
                > "results/time-$of.json" 2> "results/time-$of.log" || say "$of: $(tail -n 1 "results/time-$of.log")"
        done
    done
    if [ -f bench.py ] && python3 -c 'import torch' 2> /dev/null && [ "$(left)" -ge "$until" ]; then
        timeout "$(share 10)" python3 bench.py --device "${device%%:*}" --variants cl,bf16+cl \
            --configs "$network-$batch" >> results/peer.txt 2> results/peer.log
    fi
done

settings=()
for setting in ${SETTINGS:-}; do settings+=(--set "$setting"); done
rest=$(($(left) - 5))
if [ "$rest" -ge 5 ]; then
    say "training $recipe for $rest s"
    resume=()
    if [ -d results/checkpoint ] && [ ! -d results/run ]; then
        ./basin --device cpu checkpoint unpack results/checkpoint --run results/run && resume=(--resume)
    elif [ -d results/run ]; then
        resume=(--resume)
    fi
    # Interrupted, it writes a checkpoint and ends.
    timeout --signal=INT --kill-after=30 "$rest" ./basin --device "$device" train "recipes/$recipe.toml" \
        --data-dir data --run results/run "${settings[@]}" "${resume[@]}" > results/train.log 2>&1
    tail -n 2 results/train.log
    rm -rf results/checkpoint.new
    ./basin --device cpu checkpoint pack results/run --output results/checkpoint.new --part-size 16 &&
        rm -rf results/checkpoint && mv results/checkpoint.new results/checkpoint
else
    say "no time to train"
fi

# The value of a key of a pretty JSON file, its first.
value() { sed -n "s/^ *\"$2\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" "$1" | head -n 1; }
echo
printf '%-24s %s\n' "method's losses" "largest difference, of $checks iterations"
for file in results/losses-*.json; do
    [ -s "$file" ] && printf '%-24s %s\n' "$(value "$file" recipe)" "$(value "$file" largest_difference)"
done
echo
printf '%-24s %-10s %-9s %10s %12s %8s %14s\n' method network precision ms images/s kernels "first, s"
for network in ${networks//,/ }; do
    for precision in $precisions; do
        for name in standard-cifar10 prejeat-cifar10 dsm-wrn-16-2-cifar10; do
            file=results/time-$name-$network-$precision.json
            [ -s "$file" ] || continue
            printf '%-24s %-10s %-9s %10.2f %12.0f %8s %14.1f\n' "$name" "$network" "$precision" \
                "$(value "$file" milliseconds)" "$(value "$file" images_per_second)" "$(value "$file" kernels)" \
                "$(value "$file" seconds_to_the_end_of_the_first_iteration)"
        done
    done
done
[ -s results/peer.txt ] && { echo; echo "PyTorch:"; cat results/peer.txt; }
echo
tail -n 1 results/run/metrics.jsonl 2> /dev/null
du -sh results/checkpoint 2> /dev/null
exit 0
