"""Write the generated pages of the reference.

python -m tests.documentation                    # what needs no cluster
python -m tests.documentation GATEWAY PEER...    # metrics too, from running nodes: http://127.0.0.1:8888 ...
"""

from __future__ import annotations

import sys
from urllib.request import urlopen

from cluster.telemetry.metrics import Metrics
from cluster.telemetry.readings import access_readings
from tests.documentation.reference import PAGES, STATIC, metrics_page

PAGES.mkdir(exist_ok=True)
for name, page in STATIC.items():
    (PAGES / name).write_text(page())
if len(sys.argv) > 1:
    # whoever calls names them
    scraped = [urlopen(f"{url}/metrics").read().decode() for url in sys.argv[1:]]  # noqa: S310
    scraped.append(Metrics(lambda: access_readings(1, {("course", "taken"): 1})).exposition().decode())
    (PAGES / "metrics.md").write_text(metrics_page(scraped))
