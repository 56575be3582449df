"""What a person looks at: pages of HTML, as pure functions of what the store keeps.

`podium serve` sends them under `/ui`, `podium view` shows a store without a service, and
`podium export` writes them into files. None of them needs JavaScript.

To add a page: write `x.py` with a function that turns models into the values of a template, write
`templates/x.html.jinja`, and add a route in `http/ui/`.
"""
