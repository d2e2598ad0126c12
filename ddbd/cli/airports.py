"""A small sample of real data for the demo: airports whose names need more than ASCII, some high, some far south."""

from __future__ import annotations

import importlib
from typing import Any

COLUMNS = ["icao", "iata", "name", "city", "country", "elevation", "lat", "lon", "tz"]


def sample() -> list[dict[str, Any]]:
    """One object for each airport, by the package `airportsdata` where it is installed, else from the list below."""
    try:
        everything = importlib.import_module("airportsdata").load("ICAO").values()
    except ImportError:
        return [dict(zip(COLUMNS, values, strict=True)) for values in _FEW]
    known = {values[0] for values in _FEW}
    some = [row for row in everything if row["icao"] in known or (row["iata"] and not f"{row['name']}{row['city']}".isascii())]
    return [{column: row[column] for column in COLUMNS} for row in some]


_FEW: list[tuple[Any, ...]] = [
    ("BIKF", "KEF", "Keflavik International Airport", "Reykjavik", "IS", 171.0, 63.985, -22.6056, "Atlantic/Reykjavik"),
    ("ENTC", "TOS", "Tromsø Airport", "Tromsø", "NO", 31.0, 69.6833, 18.9189, "Europe/Oslo"),
    ("ESGG", "GOT", "Gothenburg-Landvetter Airport", "Gothenburg", "SE", 506.0, 57.6628, 12.2798, "Europe/Stockholm"),
    ("LSZH", "ZRH", "Zurich Airport", "Zurich", "CH", 1416.0, 47.4647, 8.54917, "Europe/Zurich"),
    ("LFPG", "CDG", "Charles de Gaulle International Airport", "Paris", "FR", 392.0, 49.0128, 2.55, "Europe/Paris"),
    ("EDDM", "MUC", "Munich International Airport", "Munich", "DE", 1487.0, 48.3538, 11.7861, "Europe/Berlin"),
    ("LSGG", "GVA", "Geneva Cointrin International Airport", "Geneva", "CH", 1411.0, 46.2381, 6.10895, "Europe/Zurich"),
    ("LFMN", "NCE", "Nice-Cote d'Azur Airport", "Nice", "FR", 12.0, 43.6584, 7.21587, "Europe/Paris"),
    (
        "MMGL",
        "GDL",
        "Don Miguel Hidalgo Y Costilla International Airport",
        "Guadalajara",
        "MX",
        5016.0,
        20.5218,
        -103.311,
        "America/Mexico_City",
    ),
    ("SKBO", "BOG", "El Dorado International Airport", "Bogota", "CO", 8361.0, 4.70159, -74.1469, "America/Bogota"),
    (
        "SBGR",
        "GRU",
        "Guarulhos - Governador Andre Franco Montoro International Airport",
        "Sao Paulo",
        "BR",
        2459.0,
        -23.43556,
        -46.47306,
        "America/Sao_Paulo",
    ),
    ("SAEZ", "EZE", "Ministro Pistarini International Airport", "Ezeiza", "AR", 67.0, -34.8222, -58.5358, "America/Argentina/Buenos_Aires"),
    ("LPPT", "LIS", "Lisbon Portela Airport", "Lisbon", "PT", 355.0, 38.7813, -9.13592, "Europe/Lisbon"),
    ("LPPR", "OPO", "Francisco de Sá Carneiro Airport", "Porto", "PT", 227.0, 41.2481, -8.68139, "Europe/Lisbon"),
    ("LEMD", "MAD", "Madrid Barajas International Airport", "Madrid", "ES", 2001.0, 40.4936, -3.56676, "Europe/Madrid"),
    ("EPKK", "KRK", "John Paul II International Airport Kraków-Balice Airport", "Kraków", "PL", 791.0, 50.0777, 19.7848, "Europe/Warsaw"),
    ("ESSA", "ARN", "Stockholm-Arlanda Airport", "Stockholm", "SE", 137.0, 59.6519, 17.9186, "Europe/Stockholm"),
    ("EKCH", "CPH", "Copenhagen Kastrup Airport", "Copenhagen", "DK", 17.0, 55.6179, 12.656, "Europe/Copenhagen"),
    ("EFHK", "HEL", "Helsinki Vantaa Airport", "Helsinki", "FI", 179.0, 60.3172, 24.9633, "Europe/Helsinki"),
    ("LTFM", "IST", "Istanbul Airport", "Arnavutköy, Istanbul", "TR", 325.0, 41.27533, 28.752, "Europe/Istanbul"),
    ("LKPR", "PRG", "Václav Havel Airport", "Prague", "CZ", 1247.0, 50.1008, 14.26, "Europe/Prague"),
    ("LHBP", "BUD", "Budapest Ferenc Liszt International Airport", "Budapest", "HU", 495.0, 47.4369, 19.2556, "Europe/Budapest"),
    ("VVNB", "HAN", "Noi Bai International Airport", "Hanoi", "VN", 39.0, 21.2212, 105.807, "Asia/Ho_Chi_Minh"),
    ("RJBB", "KIX", "Kansai International Airport", "Osaka", "JP", 26.0, 34.4273, 135.244, "Asia/Tokyo"),
    ("HECA", "CAI", "Cairo International Airport", "Cairo", "EG", 382.0, 30.1219, 31.4056, "Africa/Cairo"),
    ("YSSY", "SYD", "Sydney Kingsford Smith International Airport", "Sydney", "AU", 21.0, -33.9461, 151.177, "Australia/Sydney"),
    ("KJFK", "JFK", "John F Kennedy International Airport", "New York", "US", 13.0, 40.639928, -73.778692, "America/New_York"),
    ("CYUL", "YUL", "Montréal-Pierre Elliott Trudeau International Airport", "Dorval", "CA", 118.0, 45.4706, -73.7408, "America/Toronto"),
    (
        "SCEL",
        "SCL",
        "Comodoro Arturo Merino Benitez International Airport",
        "Santiago",
        "CL",
        1555.0,
        -33.393,
        -70.7858,
        "America/Santiago",
    ),
    ("SEQM", "UIO", "Nuevo Aeropuerto Internacional Mariscal Sucre", "Quito", "EC", 9200.0, -0.12917, -78.3575, "America/Guayaquil"),
    ("EPGD", "GDN", "Gdańsk Lech Wałęsa Airport", "Gdańsk", "PL", 489.0, 54.3776, 18.4662, "Europe/Warsaw"),
    ("EPWR", "WRO", "Copernicus Wrocław Airport", "Wrocław", "PL", 404.0, 51.1027, 16.8858, "Europe/Warsaw"),
]
