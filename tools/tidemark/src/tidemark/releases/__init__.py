"""Releases of single services: what each reads and writes, whether it fits to what runs beside it, and making one."""
