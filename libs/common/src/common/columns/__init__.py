"""Records in columns: made by kernels, laid out by a kernel, never an object each. Needs the extra ``kernels``."""

from common.columns.records import Column, OutputColumns, RecordColumns, rows_in_columns

__all__ = ["Column", "OutputColumns", "RecordColumns", "rows_in_columns"]
