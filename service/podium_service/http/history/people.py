"""The routes for what people say about a group: notes, and orders of their own.

The pages do the same by `store.people`. Every key with the scope `read` sees all of it; a key with
the scope `rank` adds to it, and deletes what it added.
"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from podium_service.errors import NotFound
from podium_service.http.access.person import person_of
from podium_service.http.history.stored import read_known
from podium_service.http.openapi import people_examples as examples
from podium_service.http.openapi.document import json_body, json_response, problem_responses
from podium_service.http.requests.body import read_json, validate
from podium_service.http.service import Service
from podium_service.pages.operation.people import list_said
from podium_service.schemas import people
from podium_service.store.history.reader import HistoryReader
from podium_service.store.people.gold import GoldOrder, GoldOrders
from podium_service.store.people.notes import Note, Notes
from podium_service.telemetry import routes

_MAX_BODY_BYTES = 65_536
_OF_ONE = problem_responses(404, 422)
_OF_BODY = problem_responses(400, 404, 408, 413, 415, 422, 429, 431)


def people_routes(service: Service) -> APIRouter:
    """Return the routes under `/rankings/{ranking_id}` for notes and orders."""
    router = APIRouter(responses=problem_responses(401, 403, 503))
    reader = HistoryReader(service.store)
    _add_notes(router, reader, Notes(service.store))
    _add_orders(router, reader, GoldOrders(service.store))
    return router


def _add_notes(router: APIRouter, reader: HistoryReader, notes: Notes) -> None:
    @router.get(routes.RANKING_NOTES, responses=_OF_ONE | json_response(200, examples.NOTE_LIST))
    async def list_notes(ranking_id: str) -> people.NoteList:
        """Return what people wrote about a ranking, oldest first."""
        summary = (await read_known(reader, ranking_id)).summary
        return people.NoteList(notes=[_note(each) for each in await notes.list_of(summary.id)])

    @router.post(
        routes.RANKING_NOTES,
        status_code=201,
        openapi_extra=json_body(people.NoteRequest, examples.NOTE_REQUEST),
        responses=_OF_BODY | json_response(201, examples.NOTE),
    )
    async def write_note(ranking_id: str, request: Request) -> people.NoteView:
        """Write a note about a ranking, for all who may read it."""
        person = person_of(request)
        sent = validate(people.NoteRequest, await read_json(request, _MAX_BODY_BYTES))
        summary = (await read_known(reader, ranking_id)).summary
        return _note(await notes.add(summary.id, sent.text, person))

    @router.delete(routes.RANKING_NOTE, status_code=204, response_class=Response, responses=_OF_ONE)
    async def remove_note(ranking_id: str, note_id: str, request: Request) -> Response:
        """Delete a note of one's own; a key with the scope `admin` deletes any."""
        person = person_of(request)
        summary = (await read_known(reader, ranking_id)).summary
        owner = None if request.state.key.may("admin") else person
        if not await notes.remove(summary.id, note_id, owner):
            raise NotFound(f"no note {note_id[:64]!r} of this key: see the list of notes")
        return Response(status_code=204)


def _add_orders(router: APIRouter, reader: HistoryReader, gold: GoldOrders) -> None:
    @router.get(routes.RANKING_ORDERS, responses=_OF_ONE | json_response(200, examples.ORDER_LIST))
    async def list_orders(ranking_id: str) -> people.OrderList:
        """Return how people ordered a group, under whatever ids it was sent."""
        detail = await read_known(reader, ranking_id)
        said = list_said(await gold.list_of(detail.summary.ask), detail.ranking, None)
        return people.OrderList(orders=[_order(each.order, each.tau) for each in said])

    @router.post(
        routes.RANKING_ORDERS,
        status_code=201,
        openapi_extra=json_body(people.OrderRequest, examples.ORDER_REQUEST),
        responses=_OF_BODY | json_response(201, examples.ORDER),
    )
    async def keep_order(ranking_id: str, request: Request) -> people.OrderView:
        """Keep an order of one's own as gold, in place of an earlier one of the same key.

        `podium calibrate --gold` measures judges by it.
        """
        person = person_of(request)
        sent = validate(people.OrderRequest, await read_json(request, _MAX_BODY_BYTES))
        detail = await read_known(reader, ranking_id)
        order = await gold.put(detail.summary.ask, sent.tiers, person, is_blind=sent.is_blind)
        [said] = list_said([order], detail.ranking, person)
        return _order(order, said.tau)

    @router.delete(
        routes.RANKING_ORDERS, status_code=204, response_class=Response, responses=_OF_ONE
    )
    async def remove_order(ranking_id: str, request: Request) -> Response:
        """Delete one's own order of a group."""
        person = person_of(request)
        summary = (await read_known(reader, ranking_id)).summary
        if not await gold.remove(summary.ask, person):
            raise NotFound("this key has no order of this group: see the list of orders")
        return Response(status_code=204)


def _note(note: Note) -> people.NoteView:
    return people.NoteView(
        id=note.id,
        at=note.at,
        person=note.person.name,
        api_key_id=note.person.api_key_id or None,
        text=note.text,
    )


def _order(order: GoldOrder, tau: float | None) -> people.OrderView:
    return people.OrderView(
        at=order.at,
        person=order.person.name,
        api_key_id=order.person.api_key_id or None,
        tiers=order.tiers,
        is_blind=order.is_blind,
        tau=tau,
    )
