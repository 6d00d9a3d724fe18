"""Write the table of priors in docs/priors.md anew from the registry: python docs/make_priors.py"""

from __future__ import annotations

from pathlib import Path

from models.registry import WEIGHTS, PriorFacts, list_known, list_priors

PAGE = Path(__file__).parent / "priors.md"
BEGIN, END = "<!-- table: made by docs/make_priors.py -->", "<!-- end of table -->"

COMMERCIAL = {"yes": "yes", "no": "**no**", "unclear": "unclear: ask a lawyer"}


def row(facts: PriorFacts) -> str:
    """One prior as a row."""
    licence = facts.licence
    commercial = licence.get("commercial") or ("yes" if licence["weights"] == "Apache-2.0" else "unclear")
    hashed = sum(bool(entry["sha256"]) for entry in facts.files.values())
    known = "yes" if hashed == len(facts.files) else "of the weights" if facts.digest else "at the first pull"
    size = f"{facts.native_size} px, tiled" if facts.native_size else "any"
    cells = (
        f"`{facts.name}`", ", ".join(facts.tasks), f"{facts.parameters / 1e6:,.0f} M", size, licence["code"],
        licence["weights"], COMMERCIAL[commercial], known,
        f"enlarging {facts.scale} times" if facts.scale else "every task",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """All priors that are shipped or can be pulled."""
    head = (
        "prior", "for", "parameters", "size", "licence of the code", "licence of the weights", "commercial use",
        "sha256 known", "use",
    )  # fmt: skip
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    shipped = [facts for facts in list_priors(WEIGHTS) if (WEIGHTS / f"{facts.name}.json").is_file()]
    return "\n".join([*rows, *map(row, shipped), *map(row, list_known())])


def page(text: str) -> str:
    """The page with its table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
