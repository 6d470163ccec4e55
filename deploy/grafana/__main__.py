"""`python -m deploy.grafana`: write the dashboard anew after a change of `dashboard.py`."""

from pathlib import Path

from deploy.grafana.dashboard import FILE, text

if __name__ == "__main__":
    Path(FILE).write_text(text(), encoding="utf-8")
