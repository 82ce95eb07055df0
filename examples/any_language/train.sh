#!/bin/sh
# Usage: train.sh LR SEED. Any program can append such lines; this one only counts.
for step in 1 2 3 4 5; do
  awk -v lr="$1" -v seed="$2" -v step="$step" 'BEGIN { srand(seed);
    printf "{\"step\": %d, \"loss\": %.6f}\n", step, exp(-lr * step) * (1 + rand() / 9) }' >> "$THERMOLION_LOG"
done
