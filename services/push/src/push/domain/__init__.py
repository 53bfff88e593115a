"""The decisions of push, without I/O: values in, values out."""
