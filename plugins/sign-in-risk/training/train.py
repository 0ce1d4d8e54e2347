"""Trains the built-in model of org.portcullis.sign-in-risk and writes it as an integer table.

The data are generated here, from a fixed seed: they show that the mechanism works, and say nothing
about anybody's sign-ins. To train on your own records, replace `generate` and keep the order of the
features, which is that of `Inputs::values` in `src/model.rs`.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py            # writes ../src/model.bin and ../tests/model-sample.csv

The sample holds 1,000 inputs and this script's own fixed-point sums, computed from the table's
bytes; its first line has the SHA-256 digest of the sums of 10,000 further inputs, which
`scattered` and the plugin's tests both make. The tests compare bit by bit. The script fails if the
sums differ from scikit-learn's own decision function by more than 0.001.
"""

import hashlib
import math
import struct
from pathlib import Path

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score

SEED = 20261130
PLACES = 20
FEATURES = ["likelihood", "new_device", "new_network", "new_country", "hour_density", "kmh",
            "failures", "denials", "sign_ins", "hours_away"]
HERE = Path(__file__).parent


def generate(rng, rows):
    """Inputs and whether each is hostile (one in ten)."""
    hostile = rng.random(rows) < 0.1
    kind = rng.integers(0, 3, rows)  # of the hostile: naive, same country, copies everything

    def chance(benign, naive, near, copied):
        p = np.where(hostile, np.choose(kind, [naive, near, copied]), benign)
        return (rng.random(rows) < p).astype(np.int64)

    device = chance(0.03, 0.97, 0.95, 0.10)
    network = chance(0.08, 0.98, 0.90, 0.30)
    country = np.where(network == 1, chance(0.10, 0.90, 0.02, 0.01), 0)
    mean = -0.8 + 1.6 * device + 0.7 * network + 1.3 * country
    likelihood = np.clip(256 * rng.normal(mean, 0.8), -4096, 4096).astype(np.int64)
    hour = np.clip(1000 * rng.beta(np.where(hostile, 0.7, 1.6), 3, rows), 0, 1000).astype(np.int64)
    hour[rng.random(rows) < 0.05] = -1
    fast = np.where(country == 1, rng.lognormal(7, 1.2, rows), rng.lognormal(2, 1.2, rows))
    kmh = np.clip(fast, 0, 20000).astype(np.int64)
    kmh[rng.random(rows) < 0.3] = -1
    failures = np.clip(rng.poisson(np.where(hostile, 2.5, 0.2)), 0, 1000)
    denials = np.minimum(rng.poisson(np.where(hostile, 0.8, 0.02)), 8)
    sign_ins = np.clip(rng.lognormal(4, 1, rows), 1, 1000).astype(np.int64)
    away = np.clip(rng.lognormal(2.5, 1.3, rows), 0, 2160).astype(np.int64)
    columns = [likelihood, device, network, country, hour, kmh, failures, denials, sign_ins, away]
    return np.stack(columns, axis=1).astype(np.int64), hostile.astype(np.int64)


def fixed(value):
    return int(round(value * (1 << PLACES)))


def encode_tree(tree, rate):
    """A tree's nodes in preorder: the left child is the next node."""
    nodes = []

    def visit(node):
        index = len(nodes)
        if tree.children_left[node] == -1:
            nodes.append(struct.pack(">Bq", 255, fixed(rate * float(tree.value[node][0][0]))))
            return
        nodes.append(b"")
        visit(tree.children_left[node])
        greater = len(nodes)
        visit(tree.children_right[node])
        # Inputs are whole numbers, so a threshold is as good as the whole number below it.
        threshold = math.floor(float(tree.threshold[node]))
        nodes[index] = struct.pack(">BiH", int(tree.feature[node]), threshold, greater)

    visit(0)
    return struct.pack(">H", len(nodes)) + b"".join(nodes)


def read(table):
    """The table as (bias, trees), from its bytes."""
    assert table[:5] == b"PGBT\x01" and table[5] == len(FEATURES)
    trees, bias = struct.unpack_from(">Hq", table, 6)
    at, read_trees = 16, []
    for _ in range(trees):
        (count,) = struct.unpack_from(">H", table, at)
        at, nodes = at + 2, []
        for _ in range(count):
            if table[at] == 255:
                nodes.append(struct.unpack_from(">Bq", table, at))
                at += 9
            else:
                nodes.append(struct.unpack_from(">BiH", table, at))
                at += 7
        read_trees.append(nodes)
    assert at == len(table)
    return bias, read_trees


def evaluate(model, row):
    bias, trees = model
    total = bias
    for nodes in trees:
        index = 0
        while nodes[index][0] != 255:
            feature, threshold, greater = nodes[index]
            index = index + 1 if row[feature] <= threshold else greater
        total += nodes[index][1]
    return total


def scattered(count):
    """Inputs all over the range of 16 bits, by a generator that fits into a line (Knuth's MMIX)."""
    state = SEED
    for _ in range(count):
        row = []
        for _ in FEATURES:
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            row.append((state >> 48) - (1 << 15))
        for flag in (1, 2, 3):
            row[flag] &= 1
        yield row


def main():
    rng = np.random.default_rng(SEED)
    x, y = generate(rng, 40000)
    test_x, test_y = generate(rng, 10000)
    rate = 0.1
    gbt = GradientBoostingClassifier(n_estimators=60, max_depth=3, learning_rate=rate,
                                     subsample=0.7, min_samples_leaf=50, random_state=SEED)
    gbt.fit(x, y)
    share = float(np.mean(y))
    table = b"PGBT\x01" + struct.pack(">BHq", len(FEATURES), len(gbt.estimators_),
                                      fixed(math.log(share / (1 - share))))
    for (tree,) in gbt.estimators_:
        table += encode_tree(tree.tree_, rate)
    model = read(table)
    sums = [evaluate(model, [int(v) for v in row]) for row in test_x]
    floats = gbt.decision_function(test_x)
    worst = max(abs(a / (1 << PLACES) - b) for a, b in zip(sums, floats))
    assert worst < 0.001, worst
    (HERE / "../src/model.bin").write_bytes(table)
    digest = hashlib.sha256()
    for row in scattered(10000):
        digest.update(struct.pack(">q", evaluate(model, row)))
    lines = ["# " + digest.hexdigest(), ",".join(FEATURES + ["log_odds"])]
    sample = list(zip(test_x, sums))[:1000]
    lines += [",".join(str(int(v)) for v in row) + f",{total}" for row, total in sample]
    (HERE / "../tests/model-sample.csv").write_text("\n".join(lines) + "\n")
    print(f"{len(table)} bytes, {len(gbt.estimators_)} trees, "
          f"worst difference {worst:.2e}, area under the curve on generated data "
          f"{roc_auc_score(test_y, sums):.4f} (floats {roc_auc_score(test_y, floats):.4f})")


if __name__ == "__main__":
    main()
