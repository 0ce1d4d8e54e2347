"""Writes the binary samples: a workbook, a database and a MaxMind DB.

The program needs openpyxl and mmdb_writer.
"""

import datetime
import os
import sqlite3

import mmdb_writer
import netaddr
import openpyxl

HERE = os.path.dirname(os.path.abspath(__file__))


def workbook(path):
    book = openpyxl.Workbook()
    notes = book.active
    notes.title = "Notes"
    notes["A1"] = "This sheet is not read."
    sheet = book.create_sheet("Roster")
    sheet["A1"] = "Roster with next shift"
    sheet["A2"] = "Run on"
    sheet["B2"] = datetime.datetime(2026, 10, 31, 18, 0)
    at = datetime.datetime
    rows = [
        ["Employee Number", "Name", "Employment Status", "Unit", "Shift Start", "Shift End"],
        # A night with 25 hours: clocks go back on 1 November 2026 in New York.
        ["00100", "A. Adams", "Active", "ICU", at(2026, 10, 31, 19, 0), at(2026, 11, 1, 7, 30)],
        [101, "B. Strasse", "Active", "ER", "11/02/2026 07:00 AM", "11/02/2026 07:30 PM"],
        [101, "B. Strasse", "Active", "OR", None, None],
        ["00102", "C. Ruiz", "Terminated", None, None, None],
    ]
    for offset, row in enumerate(rows):
        for column, value in enumerate(row):
            sheet.cell(row=4 + offset, column=1 + column, value=value)
    sheet.cell(row=12, column=2).font = openpyxl.styles.Font(bold=True)
    book.save(path)


def database(path):
    if os.path.exists(path):
        os.remove(path)
    base = sqlite3.connect(path)
    base.execute("PRAGMA page_size = 1024")
    base.execute(
        "CREATE TABLE contracts (contract INTEGER PRIMARY KEY, person_id TEXT NOT NULL, company TEXT,"
        " sponsor TEXT, contract_end TEXT, training_expiry TEXT, baa_signed INTEGER)"
    )
    base.executemany(
        "INSERT INTO contracts VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (1, "C-0007", "Nordic Imaging", "00100", "2026-12-31", "2027-02-01", 1),
            (2, "C-0007", "Nordic Imaging", "00101", "2027-06-30", None, 1),
            (3, "C-0008", "Bed Repair Ltd", "00103", "2026-11-30", "2026-11-15", 0),
        ],
    )
    base.commit()
    base.execute("VACUUM")
    base.close()


def networks(path):
    writer = mmdb_writer.MMDBWriter(
        ip_version=6, ipv4_compatible=True, database_type="Portcullis-Sites", languages=["en"],
        description="Networks of sites, invented", int_type="u32",
    )
    writer.insert_network(
        netaddr.IPSet(["192.0.2.0/25"]),
        {"country": {"iso_code": "US"}, "site": {"names": {"en": "Main"}}, "autonomous_system_number": 64496},
    )
    writer.insert_network(
        netaddr.IPSet(["198.51.100.0/24"]),
        {"country": {"iso_code": "CA"}, "site": {"names": {"en": "North"}}},
    )
    writer.insert_network(
        netaddr.IPSet(["2001:db8:40::/44"]),
        {"country": {"iso_code": "US"}, "autonomous_system_number": 64511},
    )
    writer.to_db_file(path)


if __name__ == "__main__":
    workbook(os.path.join(HERE, "ukg-roster.xlsx"))
    database(os.path.join(HERE, "contractors.sqlite"))
    networks(os.path.join(HERE, "sites.mmdb"))
