"""What push decides, without I/O: values in, values out."""
