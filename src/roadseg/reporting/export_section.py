"""The section of the model card about the files that `make export` wrote, and its chart."""

from pathlib import Path

from roadseg.evaluation.metric_files import ExportReport
from roadseg.reporting.charts import save_bars
from roadseg.reporting.model_card import escape

CHART = "export.png"


def export_section(report: ExportReport | None, sha256: str, figures: str) -> str:
    """Format the report as Markdown; empty if there is none.

    Args:
        sha256: of the model file; the report of another model is not shown.
        figures: folder of CHART, relative to the card.
    """
    if report is None:
        return ""
    if report.model_sha256 != sha256:
        return "## Files for devices\n\nThe report is of another model; run `make export` again."
    rows = [
        f"| {entry.name} | {entry.miou:.4f} | {entry.agreement:.3%} | {entry.megabytes:.1f} "
        f"| {entry.latency_ms:.1f} | {entry.latency_p95_ms:.1f} |"
        for entry in report.formats
    ]
    return f"""## Files for devices

`make export` wrote the model as ONNX in three precisions; torch is the model itself, in float32 and
without TTA. Measured on {report.images} validation images, one at a time, most of them \
{escape(report.image_size)}, on
{escape(report.processor)}, threads: {report.threads}.

| format | mIoU | pixels with the class of torch | MB | latency, ms | 95th percentile |
|---|---|---|---|---|---|
{chr(10).join(rows)}

![mIoU, size and latency by format]({figures}/{CHART})"""


def save_export_chart(path: Path, report: ExportReport) -> None:
    """Plot mIoU, size and latency of each format as bars."""
    formats = report.formats
    panels = {
        "mIoU": ([f.miou for f in formats], "{:.4f}"),
        "Size, MB": ([f.megabytes for f in formats], "{:.1f}"),
        "Latency per image, ms, median": ([f.latency_ms for f in formats], "{:.0f}"),
    }
    save_bars(path, [f.name for f in formats], panels)
