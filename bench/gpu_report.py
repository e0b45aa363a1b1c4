#!/usr/bin/env python3
"""Makes report.json and report.md of what bench/gpu.sh left in a folder."""

import datetime
import json
import sys
from pathlib import Path

# Table of ../decant/ops/flash_attn_vec/README.md: the most that a call may take, as a multiple of
# the time that only reading the same bytes takes, on an H100 80GB.
TARGETS = {
    "256,4,1,512": 2.3, "256,8,4,512": 1.85, "256,16,8,512": 1.75, "256,4,1,4096": 2.0,
    "256,16,8,4096": 1.3, "256,4,1,32768": 1.3, "256,16,2,32768": 1.2, "256,4,1,131072": 1.1,
    "128,32,8,32768": 1.1, "256,16,8,32768": 1.06, "256,16,8,131072": 1.02,
}  # fmt: skip


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else None


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def attention(rows):
    def cells(row):
        ratio = row["us"] / row["roofline_us"]
        target = TARGETS.get(row["shape"])
        met = "" if target is None else "yes" if ratio <= target else "NO"
        return [row["shape"], f"{row['us']:.2f}", f"{row['roofline_us']:.2f}", f"{ratio:.3f}",
                target or "", met, f"{row['gbps']:.0f}"]  # fmt: skip

    header = ["D, q heads, kv heads, keys", "us", "only reading, us", "ratio", "target", "met", "GB/s"]
    return table(header, map(cells, rows))


def model(rows):
    """Every number that `decant bench` gives for a test, under its own name."""
    plain = [{k: v for k, v in row.items() if not isinstance(v, (list, dict))} for row in rows]
    names = list(plain[0])
    text = lambda v: f"{v:.1f}" if isinstance(v, float) else v
    return table(names, [[text(row[name]) for name in names] for row in plain])


def main():
    out = Path(sys.argv[1])
    steps = [line.split("\t") for line in (out / "steps.tsv").read_text().splitlines()]
    steps = [dict(zip(("step", "status", "seconds", "note"), step)) for step in steps]
    report = {
        "date": datetime.date.today().isoformat(),
        "devices": read_json(out / "devices.json"),
        "steps": steps,
        "attention": read_json(out / "attention.json"),
        "model": read_json(out / "model.json"),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")

    gpus = [d for d in report["devices"] if d["device"].startswith("cuda")]
    text = [f"# bench/gpu.sh, {report['date']}\n"]
    text += [", ".join(f"{key} {value}" for key, value in gpu.items()) + "\n" for gpu in gpus]
    for name, title, show in (
        ("attention", "flash_attn_vec, a call in a graph over rotating buffers", attention),
        ("model", "Prompt and generation", model),
    ):
        if report[name]:
            command = (out / f"{name}.json.command").read_text().strip()
            text += [f"## {title}\n", show(report[name]) + "\n", f"Command: `{command}`\n"]
    counts = {s: sum(step["status"] == s for step in steps) for s in ("passed", "FAILED", "skipped")}
    text += [
        "## Steps\n",
        ", ".join(f"{n} {status}" for status, n in counts.items()) + "\n",
        table(["step", "status", "s", "note"], [list(step.values()) for step in steps]),
    ]
    (out / "report.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
