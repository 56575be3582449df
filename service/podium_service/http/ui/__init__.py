"""The routes of the pages for people, under `/ui`; `podium_service.pages` makes their HTML."""
