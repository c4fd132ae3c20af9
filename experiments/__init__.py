"""The replication of the poster: profiles, records, Table 1, and the variants of its "future research".

The notebooks and ``tools/replicate.py`` import it beside the library. The library, ``nstlib``, does not know it, and its wheel
does not hold it. Modules: ``profiles`` has sizes and counts; ``records`` the files of measured values; ``table1`` the poster's
Table 1; ``variants`` says what is trained, ``runs`` how, ``report`` what came out; ``plots`` has figures in general and
``figures`` the poster's own. ``python -m experiments --list`` shows the variants.
"""
