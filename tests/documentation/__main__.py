"""Write the generated pages of the reference, and the figures of the comparison.

python -m tests.documentation                    # what needs no cluster
python -m tests.documentation GATEWAY PEER...    # metrics too, from running nodes: http://127.0.0.1:8888 ...
"""

from __future__ import annotations

import sys
from urllib.request import urlopen

from cluster.telemetry.metrics import Metrics
from cluster.telemetry.readings import access_readings
from tests.documentation.figures import COMPARISON, with_figures
from tests.documentation.reference import DOCS, PAGES, STATIC, metrics_page

PAGES.mkdir(exist_ok=True)
for name, page in STATIC.items():
    (PAGES / name).write_text(page())
(DOCS / COMPARISON).write_text(with_figures(DOCS), encoding="utf-8")
if len(sys.argv) > 1:
    # whoever calls names them
    scraped = [urlopen(f"{url}/metrics").read().decode() for url in sys.argv[1:]]  # noqa: S310
    scraped.append(Metrics(lambda: access_readings(1, {("course", "taken"): 1})).exposition().decode())
    (PAGES / "metrics.md").write_text(metrics_page(scraped))
