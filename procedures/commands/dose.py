"""`gainbench dose`: what every spot of every sample has had, over all runs of this data folder."""

from __future__ import annotations

from typing import Annotated

import typer

from procedures.commands.terminal import BenchOption, JsonOption, put


def dose(
    bench: BenchOption = None,
    sample: Annotated[str, typer.Option("--sample", help="Only this sample.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show shots and J/cm2 on each sample spot over all runs, and what is left of the budget."""
    from instruments.config import default, load
    from procedures.running.ledger import Ledger

    config = load(bench) if bench is not None else default()
    ledger = Ledger(config.data_dir)
    allowed = config.limits.dose_max_J_cm2
    spots = [one for one in ledger.spots() if sample in ("", one.sample)]
    if as_json:
        put(
            {
                "ledger": str(ledger.path),
                "allowed_J_cm2": allowed,
                "spots": [one.to_json() for one in spots],
            }
        )
        return
    print(f"{'sample':24}{'spot':12}{'shots':>12}{'J/cm2':>12}{'left':>12}{'runs':>6}")
    for one in spots:
        left = f"{max(allowed - one.dose_J_cm2, 0.0):.4g}" if allowed is not None else "-"
        print(
            f"{one.sample or '-':24}{one.spot or '-':12}{one.shots:>12.4g}"
            f"{one.dose_J_cm2:>12.4g}{left:>12}{one.runs:>6}"
        )
