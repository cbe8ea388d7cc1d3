"""Turns the samples of bench/compare and bench/vm into a Markdown table and a plot (SVG written by hand)."""

import statistics

COLOURS = {"portolan": "#0b6e99", "slirp4netns": "#c2773a", "pasta": "#7d8f3c", "kernel": "#b8bcc2",
           "stream": "#0b6e99", "bess": "#5b9dbb", "dgram": "#93c1d6", "vhost-user": "#08435e", "passt": "#7d8f3c", "QEMU user": "#c2773a"}


class Row:
    """One line of the table: samples per network, and whether more is better."""

    def __init__(self, key, title, unit, more_is_better=True, digits=2):
        self.key, self.title, self.unit, self.more_is_better, self.digits = key, title, unit, more_is_better, digits
        self.samples, self.notes = {}, {}

    def add(self, network, value):
        self.samples.setdefault(network, []).append(value)

    def median(self, network):
        values = self.samples.get(network)
        return statistics.median(values) if values else None

    def text(self, network):
        value = self.median(network)
        return "–" if value is None else f"{value:,.{self.digits}f}"

    def best_peer(self, peers=("slirp4netns", "pasta")):
        values = [self.median(n) for n in peers if self.median(n) is not None]
        return (max if self.more_is_better else min)(values) if values else None

    def ratio(self, other, name="portolan"):
        """How many times better Portolan (the column `name`) is than `other` (a value): above 1 is better, whichever way the row counts."""
        ours = self.median(name)
        if ours is None or other is None or ours <= 0 or other <= 0:
            return None
        return ours / other if self.more_is_better else other / ours

    def as_json(self):
        return {"key": self.key, "title": self.title, "unit": self.unit, "more_is_better": self.more_is_better,
                "samples": self.samples, "notes": self.notes}


def markdown(rows, names, about, missing, plot):
    lines = [f"# {about['title']}", ""] + [f"- {line}" for line in about["lines"]] + [""]
    lines += [f"![the table as bars]({plot})", "",
              "Medians. *x best peer*: how many times better Portolan is than the better of slirp4netns and pasta; *x kernel*: "
              "than the kernel alone over veth; above 1 is better, whichever way the row counts.", "",
              "| | unit | " + " | ".join(names) + " | x best peer | x kernel |", "|---|---|" + "---:|" * (len(names) + 2)]
    for row in rows:
        peer, kernel = row.ratio(row.best_peer()), row.ratio(row.median("kernel"))
        cells = [row.text(name) for name in names]
        cells += ["–" if r is None else f"{r:.2f}" for r in (peer, kernel)]
        lines.append(f"| {row.title} | {row.unit} | " + " | ".join(cells) + " |")
    behind = [row.title for row in rows if behind_both(row)]
    lines += ["", "Rows in which Portolan is behind both peers: " + ("; ".join(behind) if behind else "none") + "."]
    if missing:
        lines += ["", "Could not be measured:", ""] + [f"- {text}" for text in missing]
    return "\n".join(lines) + "\n"


def behind_both(row):
    ours = row.median("portolan")
    peers = [row.median(n) for n in ("slirp4netns", "pasta")]
    if ours is None or None in peers:
        return False
    return ours < min(peers) if row.more_is_better else ours > max(peers)


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def svg(rows, names, title):
    """Bars, a group per row; each row has its own scale, since the units differ."""
    width, label, bar, gap, top = 900, 330, 11, 12, 64
    room = width - label - 130
    body, y = [], top
    for row in rows:
        values = [(name, row.median(name)) for name in names if row.median(name) is not None]
        if not values:
            continue
        largest = max(value for _, value in values) or 1
        note = "" if row.more_is_better else " (less is better)"
        middle = y + len(values) * bar / 2
        body.append(f'<text x="{label - 10}" y="{middle:.0f}" text-anchor="end">{escape(row.title)}</text>')
        body.append(f'<text x="{label - 10}" y="{middle + 12:.0f}" text-anchor="end" class="unit">{escape(row.unit + note)}</text>')
        for name, value in values:
            size = max(1.0, room * value / largest)
            body.append(f'<rect x="{label}" y="{y}" width="{size:.1f}" height="{bar - 2}" fill="{COLOURS[name]}"/>')
            body.append(f'<text x="{label + size + 5:.1f}" y="{y + bar - 3}" class="value">{escape(row.text(name))}</text>')
            y += bar
        y += max(gap, 26 - len(values) * bar + gap)
    legend = "".join(f'<rect x="{label + i * 130}" y="36" width="12" height="12" fill="{COLOURS[n]}"/>'
                     f'<text x="{label + 17 + i * 130}" y="46">{n}</text>' for i, n in enumerate(names))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 10}" viewBox="0 0 {width} {y + 10}" '
            'font-family="sans-serif" font-size="11"><style>.unit{fill:#777;font-size:9px}.value{fill:#444;font-size:9px}</style>'
            f'<rect width="100%" height="100%" fill="white"/><text x="20" y="22" font-size="15">{escape(title)}</text>'
            f'{legend}{"".join(body)}</svg>\n')
