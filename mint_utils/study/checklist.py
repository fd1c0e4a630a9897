"""What a regulator should ask of a MINT figure: a short list, each line with what it made here.

In: the controls and detectors of a study. Out: Markdown whose numbers are computed.
"""

from mint_utils.mint import readings
from mint_utils.study.controls import OTHER, THIS, Controls
from mint_utils.study.detectors import Detectors
from mint_utils.study.results import estimate

ROW = "All Conv Layers"


def checklist(controls: Controls, detectors: Detectors) -> str:
    """Return the questions to a figure such as "87% are detected", each with what it made here."""
    cells = controls.nulls.cells.set_index(["column", "protocol", "row"]).sort_index()
    paper, held = (cells.loc[(THIS, protocol, ROW)] for protocol in ("paper", "held_out"))
    other = cells.loc[(OTHER, "paper", ROW)]
    blind = controls.blind.cells.set_index(["protocol", "row"]).loc["paper", controls.blind_row]
    turned = controls.turned.cells.query("row == @ROW")["accuracy"]
    compared = detectors.compared().set_index("detector")
    centres = compared.loc[f"MINT, {readings.CENTRES}"]
    vanilla = compared.loc[f"Vanilla MINT, {ROW}"]
    asked = {
        "Where do the non-members come from?": f"From other databases the figure is {estimate(paper)}, from "
        f"the same database {estimate(held)}.",
        "What does a network give that never saw these images?": f"{estimate(other)}.",
        "What does the image alone give, without any network?": f"{estimate(blind)} from "
        f"{controls.blind_row}.",
        "Does the figure hold for another database of non-members?": f"It goes from {turned.min():.2f} to "
        f"{turned.max():.2f} over {len(turned)} of them.",
        "Over what is the interval?": f"Here over people, on {int(paper['n']):,} images, with "
        f"{len(controls.models)} training{'s' * (len(controls.models) > 1)} of the network; a single one "
        "says nothing about the next.",
        "How many members are found at an acceptable rate of false alarms?": f"At 1% of false alarms "
        f"the better test here finds {centres['tpr_at_1pct_fpr']:.1%} of the members.",
        "What does the test read?": f"From activations the AUC is {vanilla['auc']:.2f}, from the class "
        f"centres {centres['auc']:.2f}: an audit should ask for the head, not only for the network.",
    }
    return "\n".join(
        f"{i}. **{question}** {told}" for i, (question, told) in enumerate(asked.items(), 1)
    )
