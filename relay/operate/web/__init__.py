"""The page for a browser, and the tree that the API, the metrics and the health hang on too.

    site.py      the web server: its limits, its headers, its tree
    entry.py     who may come in
    page.py      what all pages have in common: a question, an answer, a template
    pages/       one file for each page
    words.py     ages, sizes and states in words
    charts.py    numbers as lines and bars
    templates/   Jinja2, escaped by itself wherever something is filled in
    assets/      one style sheet, one script, one picture

Everything that is shown was asked of the control sockets of all shards (relay.operate.inquirer), as the command line
does it.  The rule that must not be broken: nothing that a peer or a message said is ever HTML.
"""
