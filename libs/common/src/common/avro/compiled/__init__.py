"""Compiled readers and writers of Avro records, composed from their schema. Needs the extra ``kernels``.

For the messages of which there are many. A reader takes what was written with the one schema that it was made for, and
says of everything else that it is not, so that the general codec can resolve it; it raises nothing. A writer makes the
very bytes that the general codec makes.
"""

from common.avro.compiled.reader import Chosen, Given, Number, Reader, Text, Verdict, reader
from common.avro.compiled.row_layouts import LayoutWriter, layout_writer
from common.avro.compiled.schema_tree import SchemaUnsupported
from common.avro.compiled.writer import Encoded, ValueUnfit, Writer, writer

__all__ = [
    "Chosen",
    "Encoded",
    "Given",
    "LayoutWriter",
    "Number",
    "Reader",
    "SchemaUnsupported",
    "Text",
    "ValueUnfit",
    "Verdict",
    "Writer",
    "layout_writer",
    "reader",
    "writer",
]
