"""Rendering: records and comparisons as JSON, as a terminal table, as Markdown. Values come in, text goes out."""
