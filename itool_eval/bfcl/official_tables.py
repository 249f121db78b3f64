"""The accuracy columns of the official CSV files, to the printed digit (docs/bfcl.md §7).

Left out: the columns that are no accuracy (rank, cost, latency, licence).
"""

from collections.abc import Mapping

from itool_eval.bfcl.aggregate import NOT_RUN, sizes_of
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.format_sensitivity import official_spread
from itool_eval.bfcl.formulas import FORMULAS, Formula
from itool_eval.bfcl.prompt_form import FORMS, PromptForm
from itool_eval.scores import Tally


def official_tables(
    tallies: Mapping[str, Tally], version: Version, forms: Mapping[PromptForm, Tally] | None = None
) -> dict[str, dict[str, str]]:
    """Fill the official tables: by file name without ending, each column's text.

    What was not run counts as 0 in them, as officially.

    Args:
        tallies: the counts of the categories that were run.
        version: whose tables to fill.
        forms: the counts of v4's forms of the prompt, if they were run.
    """
    formulas = {formula.name: formula for formula in FORMULAS[version]}
    sizes = sizes_of(tallies, version)

    def printed(name: str) -> str:
        formula = formulas.get(name) or Formula(name, (name,))
        lacking = any(not tallies.get(category, NOT_RUN).n for category in formula.categories)
        if lacking and formula.shows_gaps:
            return "N/A"
        shares = {category: tallies.get(category, NOT_RUN).share for category in formula.categories}
        return f"{formula.value(shares, sizes) * 100:.2f}%"

    columns = _COLUMNS_V3 if version is Version.V3 else _COLUMNS_V4
    tables = {table: {column: printed(name) for column, name in names.items()} for table, names in columns.items()}
    if version is Version.V4:
        spread = _spread(forms or {})
        tables["data_overall"] |= spread
        shares = {form.official: f"{tally.share * 100:.2f}%" for form, tally in (forms or {}).items()}
        names = {f"Config {form.official}": shares.get(form.official, "N/A") for form in FORMS}
        tables["data_format_sensitivity"] = spread | names
    return tables


def _spread(forms: Mapping[PromptForm, Tally]) -> dict[str, str]:
    found = official_spread(forms) if forms else {}
    return {
        "Format Sensitivity Max Delta": str(found.get("accuracy_max_delta", "N/A")),
        "Format Sensitivity Standard Deviation": str(found.get("accuracy_std", "N/A")),
    }


_COLUMNS_V3 = {
    "data_overall": {
        "Overall Acc": "overall",
        "Non-Live AST Acc": "non_live_ast",
        "Non-Live Simple AST": "simple_ast",
        "Non-Live Multiple AST": "multiple",
        "Non-Live Parallel AST": "parallel",
        "Non-Live Parallel Multiple AST": "parallel_multiple",
        "Live Acc": "live",
        "Live Simple AST": "live_simple",
        "Live Multiple AST": "live_multiple",
        "Live Parallel AST": "live_parallel",
        "Live Parallel Multiple AST": "live_parallel_multiple",
        "Multi Turn Acc": "multi_turn",
        "Multi Turn Base": "multi_turn_base",
        "Multi Turn Miss Func": "multi_turn_miss_func",
        "Multi Turn Miss Param": "multi_turn_miss_param",
        "Multi Turn Long Context": "multi_turn_long_context",
        "Relevance Detection": "relevance",
        "Irrelevance Detection": "irrelevance_mean",
    },
    "data_live": {
        "Live Overall Acc": "live",
        "AST Summary": "live_ast",
        "Python Simple AST": "live_simple",
        "Python Multiple AST": "live_multiple",
        "Python Parallel AST": "live_parallel",
        "Python Parallel Multiple AST": "live_parallel_multiple",
        "Irrelevance Detection": "live_irrelevance",
        "Relevance Detection": "live_relevance",
    },
    "data_non_live": {
        "Non_Live Overall Acc": "non_live",
        "AST Summary": "non_live_ast",
        "Simple AST": "simple_ast",
        "Python Simple AST": "simple",
        "Java Simple AST": "java",
        "JavaScript Simple AST": "javascript",
        "Multiple AST": "multiple",
        "Parallel AST": "parallel",
        "Parallel Multiple AST": "parallel_multiple",
        "Irrelevance Detection": "irrelevance",
    },
    "data_multi_turn": {
        "Multi Turn Overall Acc": "multi_turn",
        "Base": "multi_turn_base",
        "Miss Func": "multi_turn_miss_func",
        "Miss Param": "multi_turn_miss_param",
        "Long Context": "multi_turn_long_context",
    },
}
_NON_LIVE_V4 = {
    "Non-Live Overall Acc": "non_live",
    **{column: name for column, name in _COLUMNS_V3["data_non_live"].items() if column != "Non_Live Overall Acc"},
    "Python Simple AST": "simple_python",
    "Java Simple AST": "simple_java",
    "JavaScript Simple AST": "simple_javascript",
}
_AGENTIC_V4 = {
    "Agentic Overall Acc": "agentic",
    "Web Search Summary": "web_search",
    "Web Search Base": "web_search_base",
    "Web Search No Snippet": "web_search_no_snippet",
    "Memory Summary": "memory",
    "Memory KV": "memory_kv",
    "Memory Vector": "memory_vector",
    "Memory Recursive Summarization": "memory_rec_sum",
}
_OVERALL_V4 = _COLUMNS_V3["data_overall"] | {
    column.replace("Summary", "Acc"): name for column, name in _AGENTIC_V4.items() if name != "agentic"
}
_COLUMNS_V4 = _COLUMNS_V3 | {
    "data_overall": _OVERALL_V4,
    "data_non_live": _NON_LIVE_V4,
    "data_agentic": _AGENTIC_V4,
}
