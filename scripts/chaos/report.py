"""The table of faults: on a terminal, and in the documents of both languages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.publish import NoSection
from bench.results import machine
from bench.tables import Row, aligned, markdown, number
from chaos.session import Result

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
PAGES = {"en": "docs/reliability.md", "zh": "docs/zh/reliability.md"}
HEADS = {
    "en": ("fault", "requests", "failed", "may fail", "longest gap, s", "good after, s", ""),
    "zh": ("故障", "请求", "失败", "允许失败", "最长间隔（秒）", "恢复（秒）", ""),
}
SAID = {
    "en": {True: "kept", False: "**missed**", None: "not promised"},
    "zh": {True: "做到", False: "**未做到**", None: "不保证"},
}
NOT_RUN = {"en": "not run: {reason}", "zh": "未运行：{reason}"}
REASONS_ZH = {"no C compiler": "没有 C 编译器", "only root may mount a small disk": "需要 root"}
MEASURED = {
    "en": "Measured in one run at {rate:.0f} texts a second, half of them on connections that are kept, half on new "
    "ones, each answer compared with the right one: {machine}.",
    "zh": "一次运行中测得：每秒 {rate:.0f} 条文本，一半使用保持的连接，一半使用新连接，"
    "每个应答都与正确结果比较：{machine}。",
}


def terminal_report(results: Sequence[Result]) -> str:
    """The table, and a sample of what went wrong with each promise that was not kept."""
    lines = [aligned(HEADS["en"], [_row(result, "en") for result in results])]
    for result in results:
        if result.seen is not None and result.seen.sample:
            lines.append(f"{result.fault.name}: {dict(result.seen.errors)}, the first: {result.seen.sample}")
    return "\n".join(lines)


def publish(results: Sequence[Result], rate: float, repository: Path) -> list[Path]:
    """Write the tables into the documents; the files. Raises `NoSection` before anything is written."""
    texts = {}
    for language, name in PAGES.items():
        path = repository / name
        texts[path] = _replaced(path.read_text(encoding="utf-8"), _section(results, rate, language))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _section(results: Sequence[Result], rate: float, language: str) -> str:
    described = machine()
    place = f"{described['cores']} cores, {described['cpu']}, Python {described['python']}"
    return "\n\n".join(
        (
            MEASURED[language].format(rate=rate, machine=place),
            markdown(HEADS[language], [_row(result, language) for result in results]),
        )
    )


def _replaced(text: str, content: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoSection(f"{BEGIN} and {END} must stand in it once, in this order")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def _row(result: Result, language: str) -> Row:
    fault, seen = result.fault, result.seen
    name = fault.name if language == "en" else fault.name_zh
    limit = "-" if fault.limit is None else number(fault.limit)
    if seen is None:
        reason = result.not_run if language == "en" else REASONS_ZH.get(result.not_run, result.not_run)
        return (name, "-", "-", limit, "-", "-", NOT_RUN[language].format(reason=reason))
    errors = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.errors.items())) or "0"
    return (
        name,
        number(seen.requests),
        errors,
        limit,
        number(seen.max_gap, 2),
        number(seen.seconds_to_good, 2) if seen.errors else "-",
        SAID[language][result.is_kept],
    )
