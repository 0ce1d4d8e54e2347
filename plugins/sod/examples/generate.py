"""Writes `matrix.xlsx` from `matrix.csv`, with the standard library alone: a workbook with two
sheets, of which the second, `Matrix`, has the cells."""

import csv
import pathlib
import zipfile
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).parent
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def sheet(rows):
    """The XML of a sheet with these rows of texts."""
    lines = []
    for number, cells in enumerate(rows, 1):
        texts = "".join(
            f'<c r="{chr(65 + at)}{number}" t="inlineStr"><is><t>{escape(text)}</t></is></c>'
            for at, text in enumerate(cells)
            if text
        )
        lines.append(f'<row r="{number}">{texts}</row>')
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def workbook(sheets):
    """The parts of a workbook with these sheets by name."""
    numbered = list(enumerate(sheets, 1))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{TYPE}.sheet.main+xml"/>'
        + "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{TYPE}.worksheet+xml"/>'
            for n, _ in numbered
        )
        + "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{RELATION}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATION}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in numbered)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + "".join(
            f'<Relationship Id="rId{n}" Type="{RELATION}/worksheet" '
            f'Target="worksheets/sheet{n}.xml"/>'
            for n, _ in numbered
        )
        + "</Relationships>",
    }
    for number, name in numbered:
        parts[f"xl/worksheets/sheet{number}.xml"] = sheet(sheets[name])
    return parts


def main():
    """Writes the workbook; the same bytes each time."""
    rows = list(csv.reader((HERE / "matrix.csv").open(newline="")))
    sheets = {"Notes": [["This workbook is an example."]], "Matrix": rows}
    with zipfile.ZipFile(HERE / "matrix.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in workbook(sheets).items():
            information = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            information.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(information, f'<?xml version="1.0" encoding="UTF-8"?>{text}')


main()
