"""Write comparisons of usages as a table or as JSON lines."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from allennlp_elmo_plus.usages.comparison import WordComparison

COLUMNS = ("word", "found_a", "found_b", "used_a", "used_b", "apd", "prt", "jsd", "clusters")


def tsv_lines(comparisons: Iterable[WordComparison]) -> Iterator[str]:
    """Yield the lines of a table of `comparisons` with tabs between the columns; the first line names them.

    The measures of a word that is missing in a corpus are empty.
    """
    yield "\t".join(COLUMNS)
    for word, num_found, num_used, difference in comparisons:
        measures = ["", "", "", ""]
        if difference is not None:
            apd, prt, jsd, clusters = difference
            measures = [f"{apd:.4f}", f"{prt:.4f}", f"{jsd:.4f}", str(len(clusters))]
        yield "\t".join([word, *map(str, (*num_found, *num_used)), *measures])


def json_lines(comparisons: Iterable[WordComparison]) -> Iterator[str]:
    """Yield a JSON object for each of `comparisons`, with the columns of the table and the content of the clusters.

    The measures and the clusters of a word that is missing in a corpus are null.
    """
    for word, num_found, num_used, difference in comparisons:
        record: dict[str, Any] = dict.fromkeys(COLUMNS)
        record.update(zip(COLUMNS, (word, *num_found, *num_used)))
        if difference is not None:
            record.update(apd=difference.apd, prt=difference.prt, jsd=difference.jsd)
            record["clusters"] = [
                {
                    "count_a": counts[0],
                    "count_b": counts[1],
                    "substitutes": substitutes,
                    "examples_a": [token._asdict() for token in examples[0]],
                    "examples_b": [token._asdict() for token in examples[1]],
                }
                for counts, substitutes, examples in difference.clusters
            ]
        yield json.dumps(record, ensure_ascii=False)
