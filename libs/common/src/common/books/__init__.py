"""Order-by-order (level 3) books of a partition's instruments, from ticks. Needs the extra ``kernels``."""

from common.books.books import Books

__all__ = ["Books"]
