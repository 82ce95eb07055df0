#!/usr/bin/env bash
# Train and score a forest on digits: run.sh [TREES] [SEED]. Scores are kept in exp/.
set -euo pipefail

trees=${1:-20}
seed=${2:-0}
dir=exp/trees${trees}_seed${seed}

mkdir -p "$dir"
echo "stage 1: data"
python - "$seed" "$dir" <<'EOF'
import sys

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
order = np.random.default_rng(int(sys.argv[1])).permutation(len(digits.data))
np.savez(f"{sys.argv[2]}/data.npz", x=digits.data[order], y=digits.target[order])
EOF

echo "stage 2: train"
for depth in 4 8 12; do
  python - "$trees" "$seed" "$dir" "$depth" <<'EOF' | tee -a "$dir/train.log"
import sys

import numpy as np
from sklearn.ensemble import RandomForestClassifier

trees, seed, folder, depth = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
data = np.load(f"{folder}/data.npz")
forest = RandomForestClassifier(trees, max_depth=depth, random_state=seed)
forest.fit(data["x"][:1400], data["y"][:1400])
print(f"depth {depth}: accuracy {forest.score(data['x'][1400:], data['y'][1400:]):.4f}")
EOF
done

echo "stage 3: score"
echo "best $(sed -n 's/.*accuracy //p' "$dir/train.log" | sort -n | tail -1)"
